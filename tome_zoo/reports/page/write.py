"""Write the page: results, charts, tables and samples in one file."""

from importlib.resources import files
from pathlib import Path

from tome_zoo.evaluation.results import Result
from tome_zoo.reports.comparison import compare, find_results
from tome_zoo.reports.page.sections import build_section
from tome_zoo.reports.tables import group_results
from tome_zoo.system.files import atomic_write

PICTURES = 2_000_000  # bytes that all pictures of a page may take together


def write_page(folder: str | Path, output: str | Path) -> Path:
    """Write the report of a folder of results as one page of HTML that asks nothing of the network.

    Args:
        folder: Of results, or several of them below it, as `find_results` takes it. Where the scores of single samples,
            their data and the weights still lie where they lay, the page has intervals, classes and drawn samples.
        output: The file.

    Raises:
        DataError: If there are no results.
    """
    return write_results_page(find_results(folder), folder, output)


def write_results_page(results: list[Result], folder: str | Path, output: str | Path) -> Path:
    """The page of `write_page` for some of a folder's results."""
    from jinja2 import Environment, StrictUndefined

    groups = group_results(results)
    room, sections = PICTURES, []
    for number, group in enumerate(groups):
        section, taken = build_section(f"g{number}", Path(folder), compare(group), room // (len(groups) - number))
        room -= taken
        sections.append(section)
    parts = files("tome_zoo.reports.page")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((parts / "page.html.j2").read_text(encoding="utf-8"))
    text = template.render(
        sections=sections,
        style=(parts / "page.css").read_text(encoding="utf-8"),
        script=(parts / "page.js").read_text(encoding="utf-8"),
        date=max(result.date for result in results),
        version=next((result.versions["tome-zoo"] for result in results if "tome-zoo" in result.versions), ""),
    )
    output = Path(output)
    with atomic_write(output) as file:
        file.write(text)
    return output

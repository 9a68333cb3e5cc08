"""The demonstration: three small data sets, the three embedded models, accuracy against speed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tome_zoo import cards
from tome_zoo.demo import MODELS, with_description, write_data
from tome_zoo.evaluation import evaluator
from tome_zoo.evaluation.results import RESULTS, Result
from tome_zoo.reports import plot, tables
from tome_zoo.reports.page.write import write_results_page

DemoProgress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Demo:
    """What a demonstration left.

    Attributes:
        results: One for each model and r.
        results_file: `results.jsonl`; a later run into the same folder appends to it.
        csv_file: The results of this run as a table with speed-ups.
        plot_file: Their plot.
        page_file: The report as a page to explore.
        seconds: What it took, data included.
    """

    results: list[Result]
    results_file: Path
    csv_file: Path
    plot_file: Path
    page_file: Path
    seconds: float


def run_demo(
    output: str | Path = "tome-zoo-demo",
    *,
    models: Sequence[str] = tuple(MODELS),
    device: str | None = None,
    batch_size: int = 32,
    limit: int | None = None,
    progress: DemoProgress | None = None,
) -> Demo:
    """Write the validation data, evaluate each model at every r of its card, draw the trade-off, and write a page.

    timm's unmerged model with the same weights is timed in turn with the r's, batch by batch, in the same run.

    Args:
        output: Folder of data, results, plot and page.
        models: Names of embedded models.
        device: None means CUDA where there is a device, else the CPU.
        batch_size: Views a forward.
        limit: At most that many samples of each data set.
        progress: Called with (done, of how many, doing what).

    Raises:
        TomeZooError: If an embedded model or its data cannot be used; see `evaluation.evaluate`.
    """
    begin, output = time.monotonic(), Path(output)
    results: list[Result] = []
    for name in models:
        card = cards.model_card(name)
        root = write_data(
            card.dataset, output / "data" / card.dataset, progress=with_description(progress, f"{card.dataset}: data")
        )
        results += evaluator.evaluate(
            name,
            root,
            r=card.merging.r,
            batch_size=batch_size,
            device=device,
            limit=limit,
            output=output,
            resume=False,  # a demonstration shows speeds of now
            time_timm=True,
            progress=with_description(progress, name),
        )
    return Demo(
        results=results,
        results_file=output / RESULTS,
        csv_file=tables.write_csv(results, output / "tradeoff.csv"),
        plot_file=plot.plot_tradeoff(results, output / "tradeoff.png"),
        page_file=write_results_page(results, output, output / "report.html"),
        seconds=time.monotonic() - begin,
    )

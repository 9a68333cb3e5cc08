"""Results as people and machines read them: tables in a terminal, and CSV. The picture is in `reports/plot.py`."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from tome_zoo.evaluation.results import Result
from tome_zoo.merge import DEFAULT_REDUCER
from tome_zoo.reports.folding_table import FoldingTable
from tome_zoo.reports.numbers import format_number, format_ratio
from tome_zoo.system import files

COLUMNS = (
    "model", "modality", "dataset", "split", "protocol", "weights", "r", "metric", "score", "top5", "classes_scored",
    "gmacs", "gmacs_ratio", "tokens_out", "samples_per_second", "timm_samples_per_second", "speedup_over_r0",
    "speedup_over_timm", "n_expected", "n_scored", "n_failed", "views", "batch_size", "dtype", "device",
)  # fmt: skip


def conditions(result: Result) -> tuple[Any, ...]:
    """All that results must share for their scores, GMACs and speeds to be compared: everything but r."""
    model = (result.model, result.weights, result.prop_attn, result.reducer)
    data = (result.dataset, result.split, result.protocol, result.limit)
    return *model, *data, result.dtype, result.batch_size, result.device, result.ranks


def group_results(results: Iterable[Result]) -> list[list[Result]]:
    """Results that may be compared, those of equal `conditions`; in order of coming."""
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        groups.setdefault(conditions(result), []).append(result)
    return list(groups.values())


def rows(results: Iterable[Result]) -> list[dict[str, Any]]:
    """One flat record a result with the keys of `COLUMNS`; None where a figure does not exist.

    `gmacs_ratio` and `speedup_over_r0` compare with r = 0 of the same group, if it was run: 2.0 is half the
    multiply-accumulates, twice the speed. `speedup_over_timm` compares with timm's unmerged model of the same run.
    """
    records = []
    for members in group_results(results):
        base = next((result for result in members if result.r == "0"), None)
        for result in members:
            record = {column: getattr(result, column, None) for column in COLUMNS}
            record["tokens_out"] = result.tokens[-1] if result.tokens else None
            if base is not None:
                record["gmacs_ratio"] = base.gmacs / result.gmacs
                record["speedup_over_r0"] = result.samples_per_second / base.samples_per_second
            if result.timm_samples_per_second is not None:
                record["speedup_over_timm"] = result.samples_per_second / result.timm_samples_per_second
            records.append(record)
    return records


def results_table(results: Sequence[Result]) -> Table:
    """The results of one group as a table: a row for each r."""
    first = results[0]
    records = rows(results)
    with_timm = first.timm_samples_per_second is not None
    counts = sorted({(result.n_scored, result.n_expected) for result in results})
    scored = ", ".join(f"{done:,} of {of:,}" if done != of else f"{of:,}" for done, of in counts)
    caption = (
        f"{first.dataset} ({first.split}), {scored} samples scored, {first.protocol}, "
        f"{first.dtype}, batch {first.batch_size}, {first.device}"
    )
    if with_timm:
        caption += f"; timm's unmerged model: {format_number(first.timm_samples_per_second)} samples/s"
    table = FoldingTable(
        title=Text(first.model + f", {first.reducer}" * (first.reducer != DEFAULT_REDUCER), style="bold"),
        caption=Text(caption),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    scores = ["top-1\n%", "top-5\n%"] if first.metric == "top1" else ["mAP\n%"]
    speeds = ["samples\n/s", "speed-up\nover r=0", *(["speed-up\nover timm"] if with_timm else [])]
    widest = max(len(result.r) for result in results)
    table.add_column("\nr", justify="right", overflow="fold", min_width=min(widest, 8))  # r block by block may be long
    for name in ("tokens\nleft", "\nGMACs", "fewer\nMACs", *scores, *speeds):
        table.add_column(name, justify="right", no_wrap=True)
    for record, result in zip(records, results, strict=True):
        cells = [result.r, str(record["tokens_out"]), format_number(result.gmacs), format_ratio(record["gmacs_ratio"])]
        cells.append(f"{result.score:.2f}")
        if result.metric == "top1":
            cells.append(f"{result.top5:.2f}")
        cells += [format_number(result.samples_per_second), format_ratio(record["speedup_over_r0"])]
        if with_timm:
            cells.append(format_ratio(record["speedup_over_timm"]))
        table.add_row(*cells)
    return table


def failures(results: Iterable[Result], shown: int = 10) -> list[str]:
    """A line for each sample that could not be scored, with its reason; at most `shown`, then how many more."""
    reasons: dict[str, str] = {}
    for result in results:
        for failure in result.failed:
            reasons.setdefault(failure.id, failure.reason)
    lines = [f"{sample}: {reason}" for sample, reason in reasons.items()]
    return lines if len(lines) <= shown else [*lines[:shown], f"... and {len(lines) - shown} more"]


def to_csv(results: Iterable[Result]) -> str:
    """The records of `rows` as CSV: a header, then one line a result; numbers in full, nothing where None."""
    text = io.StringIO()
    files.write_csv(text, COLUMNS, rows(results))
    return text.getvalue()


def write_csv(results: Iterable[Result], path: str | Path) -> Path:
    """Write `to_csv` to a file, whose folder is made if need be."""
    path = Path(path)
    with files.atomic_write(path) as file:
        file.write(to_csv(results))
    return path

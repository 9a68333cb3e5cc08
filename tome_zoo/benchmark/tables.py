"""The records of a benchmark in a terminal: a table for each model, dtype and batch size."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from tome_zoo.benchmark.records import Record
from tome_zoo.merge import DEFAULT_REDUCER
from tome_zoo.reports.folding_table import FoldingTable
from tome_zoo.reports.numbers import format_number, format_percent, format_ratio

METRICS = {"top1": "top-1", "map": "mAP"}


def table(records: Sequence[Record]) -> Table:
    """The records of one cell, timm's unmerged model first."""
    first = records[0]
    compiled = any(record.first_call_seconds is not None for record in records)
    scored = any(record.score is not None for record in records)
    shared = any(record.reduction_share is not None for record in records)
    made = FoldingTable(
        title=Text(f"{first.title}: {first.setting}", style="bold"),
        caption=Text(caption(records)),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    made.add_column("\nmodel", overflow="fold")
    names = ["tokens\nleft", "\nGMACs", "ms\na batch", "\nspread", "samples\n/s", "speed-\nup", "\nspread"]
    names += ["MACs\nlimit", "of the\nlimit", "peak\nMiB"]
    names += ["reducing\n% of ms"] * shared + ["first\ncall s"] * compiled + [f"card's\n{_metrics(records)} %"] * scored
    for name in names:
        made.add_column(name, justify="right", no_wrap=True)
    for record in records:
        cells = [
            "-" if record.tokens_out is None else str(record.tokens_out),
            format_number(record.gmacs),
            format_number(record.latency_ms) if record.ok else record.status,
            format_percent(record.latency_spread, 1),
            format_number(record.samples_per_second),
            format_ratio(record.speedup),
            format_percent(None if record.r is None else record.speedup_spread, 1),
            format_ratio(record.limit),
            format_percent(record.of_limit),
            "-" if record.peak_mib is None else f"{record.peak_mib:,.0f}",
        ]
        cells += [format_percent(record.reduction_share)] * shared
        cells += [format_number(record.first_call_seconds)] * compiled
        cells += ["-" if record.score is None else f"{record.score:.2f}"] * scored
        explicit = ", explicit" * (record.variant == "explicit")
        explicit += f", {record.reducer}" * (record.reducer != DEFAULT_REDUCER)
        owner = "timm" if record.source == "tome-zoo" else record.source
        made.add_row(f"{owner}, unmerged" if record.r is None else f"r = {record.r}{explicit}", *cells)
    return made


def caption(records: Sequence[Record]) -> str:
    """Where and how the records were made."""
    first = records[0]
    facts = []
    if first.input is not None and first.parameters is not None:
        facts.append(f"inputs {' x '.join(map(str, first.input))}, {first.parameters / 1e6:,.1f} M parameters")
    facts.append(first.device + ("" if not first.device.startswith("cpu") else f", {_count(first.threads, 'thread')}"))
    rounds = {record.rounds for record in records if record.rounds is not None}
    facts += [_count(count, "round") for count in sorted(rounds)]
    kernels = list(dict.fromkeys(record.attention for record in records if record.attention is not None))
    if kernels:
        facts.append(f"attention {' / '.join(kernels)}")
    paths = dict.fromkeys(record.fast_path for record in records if record.fast_path is not None)
    facts += [f"fast path: {path}" for path in paths]
    if any(record.macs_counter not in (None, "closed form") for record in records):
        facts.append("MACs by torch.utils.flop_counter / 2 (matrix products and convolutions only)")
    if sources := {record.score_source: None for record in records if record.score_source is not None}:
        facts.append(f"{_metrics(records)}: {' and '.join(sources)} by the card; the weights timed here are random")
    return "; ".join([*facts, f"torch {first.torch}, timm {first.timm}"])


def failures(records: Iterable[Record]) -> list[str]:
    """A line for each reason why there are no times, with the forms and settings that it holds for."""
    found: dict[tuple[str, str, str], tuple[dict[str, None], dict[str, None]]] = {}
    for record in records:
        if not record.ok:
            forms, settings = found.setdefault((record.title, record.status, record.reason), ({}, {}))
            forms["unmerged" if record.r is None else f"r = {record.r}"] = None
            settings[record.setting] = None
    return [
        f"{title}, {', '.join(forms)} ({'; '.join(settings)}): {status}: {reason}"
        for (title, status, reason), (forms, settings) in found.items()
    ]


def _metrics(records: Iterable[Record]) -> str:
    return " / ".join({METRICS[record.metric]: None for record in records if record.metric is not None})


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

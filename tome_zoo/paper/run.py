"""Cells scored and timed: each configuration is evaluated once; both go on where they stopped."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tome_zoo import registry
from tome_zoo.benchmark import benchmark, records
from tome_zoo.benchmark.records import Record
from tome_zoo.errors import LostRankError, TomeZooError
from tome_zoo.evaluation.evaluator import evaluate
from tome_zoo.evaluation.results import Result
from tome_zoo.merge import DEFAULT_REDUCER
from tome_zoo.paper.cells import Cell, changed_fields
from tome_zoo.paper.entries import Entry
from tome_zoo.schedule import R
from tome_zoo.system.devices import choose_device

Progress = Callable[[int, int, str], None]
Config = tuple[str, Path | None, str, bool | None, str | None]  # model, weights, reducer, prop_attn, protocol


def score_cells(
    cells: Sequence[Cell], data: Mapping[str, Path], output: Path, *, progress: Progress | None = None, **options: Any
) -> dict[tuple[Config, str], Result | str]:
    """The result of each configuration at each r that a cell asks for, or why there is none.

    Args:
        cells: Those without a `reason` are scored.
        data: Folder of the data by model.
        output: Folder of the results; what is scored there already is not scored again.
        progress: Called with (configurations done, in all, which one is next).
        **options: Further arguments of `evaluation.evaluate`.
    """
    wanted: dict[Config, dict[str, R]] = {}
    for cell in cells:
        for config in _configs(cell):
            wanted.setdefault(config, {})[cell.text] = cell.r or 0
    found: dict[tuple[Config, str], Result | str] = {}
    for done, (config, schedules) in enumerate(wanted.items()):
        model, weights, reducer, prop_attn, protocol = config
        if progress is not None:
            progress(done, len(wanted), f"{model}, {reducer}")
        try:
            results = evaluate(
                model, data[model], r=list(schedules.values()), reducer=reducer, prop_attn=prop_attn,
                protocol=protocol, weights=weights, output=output, **options,
            )  # fmt: skip
        except LostRankError:
            raise
        except TomeZooError as error:
            found |= {(config, text): str(error) for text in schedules}
        else:
            found |= {(config, result.r): result for result in results}
    return found


def time_cells(
    cells: Sequence[Cell], output: Path, *, progress: Progress | None = None, **settings: Any
) -> list[Record]:
    """Times of each model's reducers at its r, and of baselines; a model that is so timed in `output` already is left.

    Args:
        cells: Of a table; unmerged models are timed beside. What a model's first file of weights says of its
            architecture holds for its times too.
        output: Folder of `bench.jsonl`.
        progress: As that of `benchmark`.
        **settings: Fields of `BenchmarkSettings`, and `device`.
    """
    path = output / records.JSONL
    before = records.read(path) if path.exists() else []
    device = records.environment(choose_device(settings.get("device")))["device"]
    batch_size, dtype = settings.get("batch_sizes", (1,))[0], settings.get("dtypes", ("float32",))[0]
    found: list[Record] = []
    for model in dict.fromkeys(cell.model for cell in cells if cell.model is not None):
        mine = [cell for cell in cells if cell.model == model and (cell.row.baseline or cell.r is not None)]
        merging = [cell for cell in mine if cell.r is not None and cell.r != 0]
        asked = {(cell.text, cell.row.reducer) for cell in merging}
        changed = changed_fields(next((file for cell in mine for file in cell.weights), None))
        wanted = (model, changed, batch_size, dtype, device)
        stored = [old for old in before if (old.model, old.overrides, old.batch_size, old.dtype, old.device) == wanted]
        if stored and asked <= {(old.r, old.reducer) for old in stored}:
            found += stored
            continue
        schedules = list({cell.text: cell.r for cell in merging}.values())
        reducers = list(dict.fromkeys(cell.row.reducer for cell in merging)) or [DEFAULT_REDUCER]
        subject = registry.create_model(model, **changed) if changed else model
        for made in benchmark(
            [subject], r=schedules or [0], reducers=reducers, reduction_share=bool(merging), progress=progress,
            **settings,
        ):  # fmt: skip
            records.append(output, made)
            found += made
    return found


def entries(
    cells: Sequence[Cell],
    scored: Mapping[tuple[Config, str], Result | str],
    timed: Sequence[Record],
    metric: str,
    no_data: str = "",
) -> list[Entry]:
    """What was found for each cell."""
    whole = {cell.model: result.gmacs for cell in cells for result in _results(cell, scored) if result.r == "0"}
    made = []
    for cell in cells:
        results = _results(cell, scored)
        reasons = [value for config in _configs(cell) if isinstance(value := scored.get((config, cell.text)), str)]
        reason = cell.reason or next(iter(reasons), "") or ("" if results else no_data)
        entry = Entry(cell, metric, reason=reason)
        if results:
            first = results[0]
            full = whole.get(cell.model)
            entry = replace(
                entry, metric=first.metric, scores=tuple(result.score for result in results), gmacs=first.gmacs,
                n_scored=first.n_scored, samples_per_second=first.samples_per_second,
                macs_left=None if full is None else first.gmacs / full,
            )  # fmt: skip
        made.append(_with_times(entry, timed))
    return made


def _with_times(entry: Entry, timed: Sequence[Record]) -> Entry:
    cell = entry.cell
    for record in timed:
        unmerged = record.variant == "unmerged" and cell.text in ("", "0")
        merging = record.variant == "merging" and (record.r, record.reducer) == (cell.text, cell.row.reducer)
        if record.model == cell.model and record.ok and (unmerged or merging):
            return replace(
                entry, samples_per_second=record.samples_per_second, speedup=record.speedup,
                gmacs=record.gmacs if entry.gmacs is None else entry.gmacs,
                macs_left=1 / record.limit if entry.macs_left is None and record.limit else entry.macs_left,
                reduction_share=record.reduction_share,
            )  # fmt: skip
    return entry


def _configs(cell: Cell) -> list[Config]:
    """What has to be evaluated for a cell, once for each file of weights."""
    if cell.reason or cell.model is None or cell.r is None:
        return []
    reducer = DEFAULT_REDUCER if cell.r == 0 else cell.row.reducer
    prop_attn = None if cell.r == 0 else cell.prop_attn
    return [(cell.model, weights, reducer, prop_attn, cell.protocol) for weights in cell.weights]


def _results(cell: Cell, scored: Mapping[tuple[Config, str], Result | str]) -> list[Result]:
    found = [scored.get((config, cell.text)) for config in _configs(cell)]
    return [result for result in found if isinstance(result, Result)]

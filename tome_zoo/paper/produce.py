"""A table from its card to its files: cells, scores, times, CSV and picture."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from tome_zoo import cards
from tome_zoo.cards import TableCard, TableRow
from tome_zoo.demo import MODELS, write_missing_data
from tome_zoo.errors import TomeZooError
from tome_zoo.paper.cells import Cell, cells_on, own_cells, weights_by_model
from tome_zoo.paper.entries import COLUMNS, Entry
from tome_zoo.paper.plot import plot_table
from tome_zoo.paper.run import Progress, entries, score_cells, time_cells
from tome_zoo.paper.tables import EQUAL_COLUMNS, EqualTime, equal_time
from tome_zoo.system import distributed
from tome_zoo.system.files import atomic_write, write_csv


@dataclass(frozen=True)
class Produced:
    """What became of a table."""

    card: TableCard
    entries: list[Entry]
    equal_time: list[EqualTime]
    files: list[Path]

    @property
    def groups(self) -> list[list[Entry]]:
        """The rows to print together: all of the table's own, or those of each model that stands in."""
        if not any(entry.cell.substituted for entry in self.entries):
            return [self.entries]
        return [list(group) for _, group in groupby(self.entries, key=lambda entry: entry.cell.model)]

    @property
    def equal_time_groups(self) -> list[list[EqualTime]]:
        """By model."""
        return [list(group) for _, group in groupby(self.equal_time, key=lambda item: item.model)]


def produce(
    card: TableCard,
    data: Path | None,
    output: Path,
    *,
    demo: bool = False,
    models: Sequence[str] = (),
    weights: Iterable[str] = (),
    fetch: bool = False,
    bench: bool = False,
    seconds: float = 30.0,
    rounds: int | None = None,
    batch_size: int = 32,
    limit: int | None = None,
    dtype: str = "float32",
    workers: int | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> Produced:
    """Run a table as far as data and weights allow; the same call goes on where it stopped.

    Under `torchrun` the ranks share every evaluation, and rank 0 alone writes files.

    Args:
        card: Of the table.
        data: Folder of the data set; with `demo` a folder with `shapes`, `motions` and `sounds`, None writes them.
        output: Folder for scores, times, `TABLE.csv` and `TABLE.png`.
        demo: Run the grid on the embedded models; likewise `models`, on those.
        weights: "NAME=FILE" or FILE, instead of the models' own; several of one model give a spread.
        fetch: Fetch weights that are not at hand.
        bench: Time every row and baseline, on random weights.
        seconds: Of the benchmark, for each model; `rounds` instead, exactly so many.
        batch_size: Views a forward.
        limit: At most that many samples.
        dtype: Of weights and activations.
        workers: Processes that decode.
        device: None means CUDA where there is a device.
        progress: Called with (done, of how many, doing what).

    Raises:
        TomeZooError: If the table has no model of its own and none is given, a file of weights is not there, or several
            ranks are to take times.
    """
    with distributed.process_group() as rank:
        with distributed.raise_together():
            if bench and rank.world_size > 1:
                raise TomeZooError("times are taken by one process: leave out --bench, and take them without torchrun")
            files = weights_by_model(weights)
            instead = tuple(MODELS) if demo else tuple(cards.model_card(name).name for name in models)
            cells = cells_on(card, instead, files, fetch=fetch) if instead else own_cells(card, files, fetch=fetch)
            cells = [*_unmerged(card, cells), *cells]
            roots = _demo_data(data, output) if demo else {} if data is None else _everywhere(data, cells)
        with distributed.raise_together():
            if demo and rank.rank == 0:
                for name, root in roots.items():
                    write_missing_data(MODELS[name], root, "val", progress=progress)
        scored = {}
        if roots:
            options: dict[str, Any] = {"batch_size": batch_size, "limit": limit, "dtype": dtype, "workers": workers}
            scored = score_cells(cells, roots, output, device=device, progress=progress, **options)
        timed = []
        if bench:
            timed = time_cells(
                cells, output, device=device, batch_sizes=(batch_size,), dtypes=(dtype,), seconds=seconds,
                rounds=rounds, progress=progress,
            )  # fmt: skip
        made = entries(cells, scored, timed, card.metric, no_data="" if roots else "no data: --data ROOT")
        with distributed.raise_together():
            return _produced(card, made, output, write=rank.rank == 0)


def _unmerged(card: TableCard, cells: Sequence[Cell]) -> list[Cell]:
    """A cell of r = 0 for each model that stands in and has none."""
    found = []
    for model in dict.fromkeys(cell.model for cell in cells if cell.substituted):
        mine = [cell for cell in cells if cell.model == model]
        if not any(cell.text == "0" for cell in mine):
            reason = next((cell.reason for cell in mine if all(cell.reason for cell in mine)), "")
            row = TableRow(part="unmerged", r=0)
            found.append(Cell(row, model, mine[0].weights, 0, substituted=True, reason=reason))
    return found


def _everywhere(data: Path, cells: Sequence[Cell]) -> dict[str, Path]:
    return {cell.model: data for cell in cells if cell.model is not None}


def _demo_data(data: Path | None, output: Path) -> dict[str, Path]:
    """Where the data set of each embedded model lies, or is written."""
    return {model: (output / "data" if data is None else data) / name for model, name in MODELS.items()}


def _produced(card: TableCard, made: list[Entry], output: Path, *, write: bool) -> Produced:
    models = list(dict.fromkeys(entry.cell.model for entry in made))
    made = sorted(made, key=lambda entry: models.index(entry.cell.model) if entry.cell.substituted else 0)
    times = equal_time(made)
    return Produced(card, made, times, _files(card, made, times, output) if write else [])


def _files(card: TableCard, made: list[Entry], times: list[EqualTime], output: Path) -> list[Path]:
    files = [output / f"{card.name}.csv"]
    with atomic_write(files[0]) as file:
        write_csv(file, COLUMNS, (entry.to_json() for entry in made))
    if times:
        files.append(output / f"{card.name}_equal_time.csv")
        with atomic_write(files[-1]) as file:
            write_csv(file, EQUAL_COLUMNS, map(asdict, times))
    if any(entry.score is not None or entry.printed is not None for entry in made):
        files.append(plot_table(card, made, output / f"{card.name}.png"))
    return files

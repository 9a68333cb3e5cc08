"""A table that stays readable in a narrow terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Column, Table

TEXT = 40  # characters that a column of texts, which may be wrapped, needs at most
UNLIMITED = 10_000


class FoldingTable(Table):
    """A table of rich that is drawn as several, one below the other, where its columns do not fit side by side.

    Each of them begins with the columns that say what a row is, so that these never vanish, and no figure is cut.
    """

    def __init__(self, *args: Any, keys: int = 1, **kwargs: Any) -> None:
        """Take rich's arguments.

        Args:
            *args: As of `rich.table.Table`.
            keys: How many columns say what a row is, from the left.
            **kwargs: As of `rich.table.Table`.
        """
        super().__init__(*args, **kwargs)
        self.keys = keys

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Draw it in as many parts as the width asks for."""
        groups = self._groups(console, options)
        for number, group in enumerate(groups, start=1):
            part = self._part(group, options.max_width, with_texts=False)
            part.title = self.title if number == 1 else None
            part.caption = self.caption if number == len(groups) else None
            yield part

    def _groups(self, console: Console, options: ConsoleOptions) -> list[list[Column]]:
        """The columns of each part, those that say what a row is left out."""
        without_end = options.update(width=UNLIMITED)

        def fits(columns: Sequence[Column]) -> bool:
            tried = self._part(columns, options.max_width, with_texts=True)
            return Measurement.get(console, without_end, tried).maximum <= options.max_width

        others = self.columns[self.keys :]
        if fits(others):
            return [others]
        groups: list[list[Column]] = [[]]
        for column in others:
            if groups[-1] and not fits([*groups[-1], column]):
                groups.append([])
            groups[-1].append(column)
        return groups

    def _part(self, others: Sequence[Column], width: int, *, with_texts: bool) -> Table:
        """A plain table of the key columns and some others; keys, and if asked for texts, no wider than need be."""
        part = Table(
            box=self.box, pad_edge=self.pad_edge, title_justify=self.title_justify,
            caption_justify=self.caption_justify,
        )  # fmt: skip
        keys = [replace(column, max_width=max(8, width // 2 // self.keys)) for column in self.columns[: self.keys]]
        for index, column in enumerate([*keys, *others]):
            limit = TEXT if with_texts and not column.no_wrap and index >= self.keys else column.max_width
            part.columns.append(replace(column, _index=index, max_width=limit))
        part.rows = list(self.rows)
        return part

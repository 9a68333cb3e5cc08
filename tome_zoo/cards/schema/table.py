"""What a card of a table may say: rows of a paper's table or sweep, or a grid of one's own, that can be run again."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tome_zoo.cards.schema.fields import Amount, Card, Name, Percent, R
from tome_zoo.modalities.inputs import Modality

Share = Annotated[float, Field(gt=0, le=1)]


class TableRow(Card):
    """One observation: what is run, and what was printed of it.

    Attributes:
        part: Heading under which it stands: an axis, a model, a kind of method.
        choice: What it is there.
        model: Name of a model of the zoo or of timm; None takes the table's.
        r: Merging schedule; None takes the table's.
        macs: Instead of r: the part of the model's multiply-accumulates to leave, as near as a constant r comes.
        slope: With `macs`: of a linear schedule, -1.0 decreasing, 1.0 increasing.
        reducer: How tokens are reduced.
        prop_attn: Whether attention weighs tokens by size; None takes the table's, then the model's.
        protocol: Name of the protocol that scores; None takes the table's, then the model's.
        baseline: Name of a baseline, which is timed alone.
        score: Printed, in per cent; `reproduced` is another group's figure of the same.
        gmacs: Printed, 10^9 multiply-accumulates of one view.
        speed: Printed, samples a second.
        unavailable: Why nobody can run it.
    """

    part: str
    choice: str = ""
    model: Name | None = None
    r: R | None = None
    macs: Share | None = None
    slope: Annotated[float, Field(ge=-1, le=1)] | None = None
    reducer: str = "bipartite"
    prop_attn: bool | None = None
    protocol: Name | None = None
    baseline: Name | None = None
    score: Percent | None = None
    reproduced: Percent | None = None
    gmacs: Amount | None = None
    speed: Amount | None = None
    unavailable: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> "TableRow":
        if self.r is not None and self.macs is not None:
            raise ValueError("give r or macs, not both")
        if self.baseline is not None and (self.model is not None or self.r is not None):
            raise ValueError("a baseline does not merge: leave out model and r")
        return self


class TableCard(Card):
    """A table or sweep.

    Attributes:
        name: As `tome-zoo paper` takes it.
        title: One line.
        source: Where its figures are printed; nothing for a grid of one's own.
        device: On what the printed speeds were measured.
        model: Of the rows that name none; with no model anywhere the user brings one. Likewise `r`, `prop_attn` and
            `protocol`.
        macs: Parts of the multiply-accumulates at which every row without r and macs of its own is run.
        picture: "dots": a line a row; "curves": score over GMACs, a line a part.
    """

    name: Name
    title: str
    modality: Modality | None = None
    metric: Literal["top1", "map"] = "top1"
    summary: str = ""
    source: str = ""
    device: str = ""
    model: Name | None = None
    r: R | None = None
    macs: tuple[Share, ...] = ()
    prop_attn: bool | None = None
    protocol: Name | None = None
    picture: Literal["dots", "curves"] = "dots"
    rows: Annotated[tuple[TableRow, ...], Field(min_length=1)]

    @property
    def filled_rows(self) -> tuple[TableRow, ...]:
        """The rows with what the table says for all of them; those with neither r nor macs once for each of `macs`."""
        found: list[TableRow] = []
        for row in self.rows:
            if row.unavailable or row.baseline is not None:
                found.append(row)
                continue
            given = {
                name: getattr(self, name)
                for name in ("model", "prop_attn", "protocol")
                if getattr(row, name) is None and getattr(self, name) is not None
            }
            own = row.r is not None or row.macs is not None
            settings: list[dict[str, object]] = [{}] if own else [{"macs": share} for share in self.macs]
            found += [row.model_copy(update={**given, **one}) for one in settings or [{"r": self.r or 0}]]
        return tuple(found)

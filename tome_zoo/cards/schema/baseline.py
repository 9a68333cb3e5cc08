"""What a card of a baseline may say: a model that does not merge, of another library, to compare with."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tome_zoo.cards.schema.fields import Card, Name
from tome_zoo.cards.schema.model import Reported
from tome_zoo.modalities.inputs import Modality

Count = Annotated[int, Field(gt=0, strict=True)]


class BaselineCard(Card):
    """A model without merging whose architecture another library builds; `tome-zoo bench` times it.

    Attributes:
        name: As the library calls it; weights of the same architecture that were reported apart have their own tag.
        library: Who builds it: "timm", or "torchvision" (its video models).
        builder: Name of the architecture there.
        input: Shape of one input: channels, frames of a clip, height, width.
        parameters: Of the model.
        num_classes: Outputs of its classifier.
        dataset: Name of the data set card on which the figures were reported.
        license: Of the weights that the library publishes.
        reported: Published figures, each with its source.
    """

    name: Name
    modality: Modality
    library: Literal["timm", "torchvision"]
    builder: str
    input: tuple[Count, ...]
    parameters: Count
    num_classes: Count
    dataset: Name
    license: str
    summary: str = ""
    reported: tuple[Reported, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> "BaselineCard":
        wanted = 4 if self.modality == "video" else 3
        if len(self.input) != wanted:
            raise ValueError(f"input of {self.modality} has {wanted} sizes, got {list(self.input)}")
        if self.library == "torchvision" and self.modality != "video":
            raise ValueError("of torchvision only video models are built; timm has those of images")
        if any(figure.r != 0 for figure in self.reported):
            raise ValueError("a baseline does not merge: its reported figures have no r")
        return self

    @property
    def score(self) -> float | None:
        """The first reported accuracy, in per cent."""
        return next((figure.top1 for figure in self.reported if figure.top1 is not None), None)

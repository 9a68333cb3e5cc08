"""What a drawing offers to those who write it to a file or a page."""

from typing import Protocol

from PIL import Image
from torch import Tensor

from tome_zoo.visualize.paint import Fill
from tome_zoo.visualize.sheet import Panel
from tome_zoo.visualize.subject import DrawnView, Subject
from tome_zoo.visualize.token_groups import Groups


class Pictures(Protocol):
    """A file with its groups, drawn; `drawing.Drawing` is one."""

    @property
    def subject(self) -> Subject:
        """The model."""

    @property
    def sample(self) -> DrawnView:
        """The drawn view of the file."""

    @property
    def groups(self) -> tuple[Groups, ...]:
        """At each schedule and block."""

    @property
    def fill(self) -> Fill:
        """What a group is filled with."""

    @property
    def image(self) -> Image.Image:
        """All of it in one picture."""

    @property
    def frames(self) -> list[Image.Image]:
        """The frames of a clip, none for images and sounds."""

    @property
    def rows(self) -> list[list[Panel]]:
        """The panels of `image`, for images and videos."""

    @property
    def scale(self) -> int | None:
        """By how much `image` enlarges the input; None: as fits."""

    @property
    def sounds(self) -> dict[str, Tensor]:
        """What is heard, none for images and videos."""

"""`draw`: a file and what merges in it, as pictures to look at, to save and to show in a notebook."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from torch import Tensor, nn

from tome_zoo import schedule
from tome_zoo.errors import TomeZooError
from tome_zoo.registry import resolve_model
from tome_zoo.schedule import R
from tome_zoo.visualize.files import save
from tome_zoo.visualize.image import image_panels
from tome_zoo.visualize.page import section
from tome_zoo.visualize.paint import Fill, legend
from tome_zoo.visualize.sheet import Panel, sheet
from tome_zoo.visualize.subject import DrawnView, Subject, read_sample, subject_of
from tome_zoo.visualize.token_groups import Groups, groups_by_block
from tome_zoo.visualize.video import clip_panels, strip_scale, strips

TOP_K = 3


@dataclass(frozen=True, eq=False)
class Drawing:
    """One file with the groups of its tokens; shows itself at the end of a notebook's cell.

    Attributes:
        subject: The model.
        sample: The drawn view of the file.
        groups: At each schedule and block, in the order asked for.
        fill: What a group is filled with.
    """

    subject: Subject
    sample: DrawnView
    groups: tuple[Groups, ...]
    fill: Fill

    @cached_property
    def image(self) -> Image.Image:
        """One picture: columns (image), a contact sheet (video) or spectrograms below each other (sound)."""
        if self.subject.modality == "audio":
            from tome_zoo.visualize.audio import render_sound

            return render_sound(self.subject, self.sample, self.groups, self.fill)
        return sheet(self.rows, self.scale)

    @cached_property
    def frames(self) -> list[Image.Image]:
        """The frames of a clip, the original beside the groups; none for images and sounds."""
        if self.subject.modality != "video":
            return []
        return [sheet([row, *self._legend()]) for row in clip_panels(*self._drawn)]

    @property
    def rows(self) -> list[list[Panel]]:
        """The panels of `image`, row by row, for images and videos."""
        video = self.subject.modality == "video"
        panels = strips(clip_panels(*self._drawn)) if video else [image_panels(*self._drawn)]
        words = (self.sample.coverage,) if self.sample.coverage else ()
        named = replace(panels[0][0], title=self.sample.name, lines=words)
        return [[named, *panels[0][1:]], *panels[1:], *self._legend()]

    @property
    def scale(self) -> int | None:
        """By how much `image` enlarges the input; None: as fits."""
        return strip_scale(self.sample.view) if self.subject.modality == "video" else None

    @cached_property
    def sounds(self) -> dict[str, Tensor]:
        """What is heard: "original", and what is left at each schedule; float32 `[samples]` at the model's rate.

        Empty for images and videos.
        """
        if self.sample.waveform is None:
            return {}
        from tome_zoo.visualize.listen import heard, left_over

        found = {"original": heard(self.subject, self.sample)}
        for groups in self.groups:
            found[name_of(groups)] = left_over(self.subject, self.sample, groups)
        return found

    def save(self, path: str | Path) -> Path:
        """Write it: .png, .svg, .html, and for videos .mp4 and .gif.

        Raises:
            TomeZooError: If the file's suffix is none of these.
        """
        return save([self], path)

    def _repr_html_(self) -> str:
        return section(self)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.image.save(buffer, "PNG")
        return buffer.getvalue()

    @property
    def _drawn(self) -> tuple[Subject, Tensor, tuple[Groups, ...], Fill]:
        return self.subject, self.sample.view, self.groups, self.fill

    def _legend(self) -> list[list[Panel]]:
        if self.fill == "mean":
            return []
        largest = int(self.groups[0].tokens.size)
        return [[Panel(legend(largest), "Tokens in a group", (f"1 (violet) to {largest} (yellow), by doublings",))]]


def draw(
    model: nn.Module | str,
    source: Any,
    r: R | Sequence[R] | None = None,
    block: int | Literal["all"] | None = None,
    fill: Fill = "mean",
    *,
    rate: float | None = None,
) -> Drawing:
    """Draw which tokens of an image, a video or a sound merge with which.

    Args:
        model: A model of the zoo, or a vision transformer of timm, which is not changed; or a name, whose weights are
            loaded.
        source: A path, an open binary file, a Pillow image, or an array or tensor, as `predict` takes it. Drawn is one
            view of it: its centre crop, the clip in its middle, or its beginning.
        r: A schedule, or a list of several, so that a block-by-block one is written [[9, 0, 4]]; None takes the
            model's own.
        block: Behind which block, from 1; "all" draws every block, None the last.
        fill: "mean" fills each group with its mean colour, "size" with a heat map of how many tokens it holds, which
            is what attention weighs it by.
        rate: Frames a second, or Hz, of a video or sound that is an array or tensor.

    Raises:
        MediaError: If the source cannot be read.
        UnsupportedModelError: If the model cannot be merged.
        ScheduleError: If an `r` is no schedule for the model.
        TomeZooError: If there is no such block or fill.
    """
    if fill not in ("mean", "size"):
        raise TomeZooError(f"fill should be 'mean' or 'size', got {fill!r}")
    if isinstance(model, str):
        model = resolve_model(model)
    subject = subject_of(model)
    sample = read_sample(subject, source, rate)
    schedules: list[Any] = list(r) if isinstance(r, list) else [r]
    if not schedules:
        raise TomeZooError("expected at least one r, got an empty list")
    found: list[Groups] = []
    for wanted in schedules:
        blocks = groups_by_block(model, sample.view, wanted, TOP_K)
        found += blocks if block == "all" else [_chosen(blocks, block)]
    return Drawing(subject, sample, tuple(found), fill)


def name_of(groups: Groups) -> str:
    """A name for files and players: "r8", "r8-block3"."""
    text = "r" + schedule.format(groups.r).replace(":", "_")
    return text if groups.block == groups.depth else f"{text}-block{groups.block}"


def _chosen(blocks: Sequence[Groups], block: int | str | None) -> Groups:
    if block is None:
        return blocks[-1]
    if isinstance(block, str) or not 1 <= block <= len(blocks):
        raise TomeZooError(f"block should be 1 to {len(blocks)} or 'all', got {block!r}")
    return blocks[block - 1]

"""Pictures of samples for the page: the input, and its groups at each r, small enough to travel in it."""

import base64
import io
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from tome_zoo import cards, registry, schedule
from tome_zoo.errors import TomeZooError
from tome_zoo.evaluation.results import Result
from tome_zoo.visualize.image import image_panels
from tome_zoo.visualize.subject import DrawnView, read_sample, subject_of
from tome_zoo.visualize.token_groups import Groups, groups
from tome_zoo.visualize.video import clip_panels
from tome_zoo.weights.fetch import find_cached
from tome_zoo.weights.load import weights_digest

log = logging.getLogger(__name__)

COLUMNS = 4  # frames of a clip in a row
LONG_SIDE = 384  # pixels of a picture of an image, at least; a spectrogram has twice as many


class Picture(NamedTuple):
    """A picture as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int


class Illustrator:
    """Draws samples as one model sees them, as long as there is room on the page.

    Attributes:
        room: Bytes that pictures may still take.
    """

    def __init__(self, model: registry.ZooModel, room: int) -> None:
        """Draw for a model of the zoo, `room` bytes at most."""
        self.model, self.room = model, room
        self.subject = subject_of(model)

    def draw(self, path: Path, schedules: Sequence[str]) -> tuple[Picture, list[tuple[Picture, int]]] | None:
        """The input, and at each r its groups with the tokens left; None if it cannot be read or there is no room."""
        try:
            sample = read_sample(self.subject, path)
            found = [groups(self.model, sample.view, schedule.parse(r)[0]) for r in schedules]
        except (TomeZooError, OSError) as error:
            log.warning("%s is not drawn: %s", path, error)
            return None
        images = self._images(sample, found)
        pictures = [_encode(image) for image in images]
        size = sum(len(picture.uri) for picture in pictures)
        if size > self.room:
            return None
        self.room -= size
        left = [item.n_tokens for item in found]
        return pictures[0], list(zip(pictures[1:], left, strict=True))

    def _images(self, sample: DrawnView, found: Sequence[Groups]) -> list[Image.Image]:
        """The input and the groups at each r."""
        if self.subject.modality == "audio":
            from tome_zoo.visualize.audio import spectrogram_panels

            pictures = [picture for picture, *_ in spectrogram_panels(self.subject, sample, found)]
            return [_at_size(picture.image(1), 2 * LONG_SIDE) for picture in pictures]
        if self.subject.modality == "video":
            frames = clip_panels(self.subject, sample.view, found)
            step = max(1, math.ceil(len(frames) / (2 * COLUMNS)))
            columns = list(zip(*frames[::step], strict=True))
            return [_tiled([panel.picture.image(1) for panel in column]) for column in columns]
        panels = image_panels(self.subject, sample.view, found)
        scale = math.ceil(LONG_SIDE / max(sample.view.shape[-2:]))
        return [panel.picture.image(scale) for panel in panels]


def load_for_pictures(result: Result) -> registry.ZooModel | None:
    """The model of a result, where its weights lie on this machine and are those that were evaluated; else None."""
    try:
        card = cards.model_card(result.model)
        if card.weights is None or find_cached(card.weights) is None:
            log.warning("%s: its weights are not on this machine, samples are not drawn", result.model)
            return None
        model = registry.create_model(result.model, pretrained=True, prop_attn=result.prop_attn, reducer=result.reducer)
    except TomeZooError as error:
        log.warning("%s: samples are not drawn: %s", result.model, error)
        return None
    if weights_digest(model) != result.weights:
        log.warning("%s: other weights were evaluated than those of its card, samples are not drawn", result.model)
        return None
    return model


def _tiled(images: Sequence[Image.Image]) -> Image.Image:
    """Frames in rows of four."""
    width, height = images[0].size
    columns = min(COLUMNS, len(images))
    sheet = Image.new("RGB", (columns * (width + 2) - 2, math.ceil(len(images) / columns) * (height + 2) - 2), "white")
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        sheet.paste(image, (column * (width + 2), row * (height + 2)))
    return sheet


def _at_size(image: Image.Image, width: int) -> Image.Image:
    if image.width <= width:
        return image
    return image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.BOX)


def _encode(image: Image.Image) -> Picture:
    """WebP, or PNG where that is smaller."""
    files = []
    for kind, options in (("webp", {"quality": 80, "method": 4}), ("png", {"optimize": True})):
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        files.append((buffer.getvalue(), kind))
    data, kind = min(files, key=lambda file: len(file[0]))
    return Picture(f"data:image/{kind};base64,{base64.b64encode(data).decode()}", *image.size)

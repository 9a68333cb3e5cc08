"""Batches of augmented views, streamed from disk; a file that cannot be read is named, and another takes its place."""

import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from tome_zoo import modalities
from tome_zoo.cards.schema import ModelCard, RecipeCard
from tome_zoo.data.dataset import Dataset
from tome_zoo.data.decode import TIMEOUT
from tome_zoo.data.workers import StartError, WorkerPool
from tome_zoo.errors import CardError, DataError, MediaError
from tome_zoo.training.augment import training_views
from tome_zoo.training.augment.audio import mix
from tome_zoo.training.draws import Draw
from tome_zoo.training.seeds import derive, seeded

ATTEMPTS = 16  # files that may be unreadable in a row before something else must be wrong

_log = logging.getLogger(__name__)

Parts = tuple[tuple[int, float], ...]
"""Samples in a view, each with its weight; several only where waveforms were mixed."""


@dataclass(frozen=True)
class UnreadableFile:
    """A sample that could not be read, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class TrainingBatch:
    """What one forward takes.

    Attributes:
        views: `[batch, channels, ...]`, float32.
        targets: Class indices `[batch]`, int64, or weights of classes `[batch, classes]`, float32.
        ids: The samples of each view.
        failures: Samples whose place others took.
    """

    views: Tensor
    targets: Tensor
    ids: tuple[tuple[str, ...], ...]
    failures: tuple[UnreadableFile, ...]


class ViewLoader:
    """Draw -> ((parts, failures), views `[repeats, channels, ...]`); what processes that decode are given."""

    def __init__(self, data: Dataset, card: ModelCard, recipe: RecipeCard) -> None:
        """Load samples of `data` for the model of `card` by `recipe`."""
        self.paths = [sample.path for sample in data.samples]
        self.spans = [sample.span for sample in data.samples]
        self.card, self.recipe = card, recipe

    def __call__(self, draw: Draw) -> tuple[tuple[Parts, list[tuple[int, str]]], Tensor]:
        """Read, mix and augment; the result depends on the draw alone.

        Raises:
            DataError: If one file after the other cannot be read.
        """
        failed: list[tuple[int, str]] = []
        for attempt in range(ATTEMPTS):
            index = draw.sample if attempt == 0 else self._another(draw, "instead", attempt)
            try:
                with seeded(draw.seed):
                    parts, media = self._media(draw, index, failed)
                    views = training_views(self.card.modality)(media, self.card, self.recipe)
                return (parts, failed), views
            except CardError:
                raise
            except (MediaError, OSError) as error:
                failed.append((index, str(error)))
            except Exception as error:  # decoders raise nearly anything on damaged files
                _log.debug("%s: unexpected failure", self.paths[index], exc_info=True)
                failed.append((index, f"{self.paths[index]}: cannot be decoded ({type(error).__name__}: {error})"))
        raise DataError(f"{ATTEMPTS} files in a row cannot be read, the last: {failed[-1][1]}")

    def _media(self, draw: Draw, index: int, failed: list[tuple[int, str]]) -> tuple[Parts, Any]:
        modality = modalities.get(self.card.modality)
        media = modality.read(self.paths[index], self.card, span=self.spans[index])
        if self.card.modality != "audio" or torch.rand(()).item() >= self.recipe.waveform_mixup:
            return ((index, 1.0),), media
        other = self._another(draw, "mixed", 0)
        alpha = torch.tensor(self.recipe.waveform_mixup_alpha)
        weight = torch.distributions.Beta(alpha, alpha).sample().item()
        try:
            added = modality.read(self.paths[other], self.card, span=self.spans[other])
        except (MediaError, OSError) as error:
            failed.append((other, str(error)))
            return ((index, 1.0),), media
        return ((index, weight), (other, 1 - weight)), mix(media, added, weight)

    def _another(self, draw: Draw, purpose: str, attempt: int) -> int:
        return derive(draw.seed, purpose, attempt) % len(self.paths)


def training_batches(
    data: Dataset,
    card: ModelCard,
    recipe: RecipeCard,
    draws: Sequence[Draw],
    *,
    size: int,
    workers: int,
    pin_memory: bool = False,
) -> Iterator[TrainingBatch]:
    """Batches of `size` draws each, in their order.

    Args:
        data: The samples.
        card: The model's.
        recipe: How they are augmented.
        draws: Those of this rank.
        size: Draws a batch; a batch has that times `repeats_per_decode` views.
        workers: Processes that decode; 0 decodes in this one.
        pin_memory: Put views where a GPU can fetch them.

    Raises:
        DataError: If one file after the other cannot be read.
    """
    loaded = _load(ViewLoader(data, card, recipe), draws, workers, pin_memory)
    dense = data.card.multi_label or recipe.loss == "binary_cross_entropy"
    while items := list(itertools.islice(loaded, size)):
        parts = [part for part, _, _ in items for _ in range(recipe.repeats_per_decode)]
        failed = {index: reason for _, failures, _ in items for index, reason in failures}
        targets = _dense_targets(data, parts) if dense else torch.tensor([data.samples[p[0][0]].target for p in parts])
        yield TrainingBatch(
            torch.cat([views for _, _, views in items]),
            targets,
            tuple(tuple(data.samples[index].id for index, _ in part) for part in parts),
            tuple(UnreadableFile(data.samples[index].id, reason) for index, reason in failed.items()),
        )


def _load(
    loader: ViewLoader, draws: Sequence[Draw], workers: int, pin_memory: bool
) -> Iterator[tuple[Parts, list[tuple[int, str]], Tensor]]:
    done = 0
    if workers > 0:
        try:
            pool = WorkerPool(cast(Any, loader), min(workers, len(draws)), timeout=TIMEOUT, pin_memory=pin_memory)
            for done, outcome in enumerate(pool.imap(cast(Any, draws)), 1):
                if outcome.lost is None and outcome.tensor is not None:
                    yield *outcome.result, outcome.tensor
                    continue
                draw = draws[done - 1]  # a decoder crashed on it: another one in its place
                (parts, failed), views = loader(Draw(derive(draw.seed, "lost") % len(loader.paths), draw.seed))
                yield parts, [(draw.sample, str(outcome.lost)), *failed], views
            return
        except StartError as error:
            _log.warning("no processes for decoding (%s): this one decodes, which takes longer", error)
    for position in range(done, len(draws)):
        (parts, failed), views = loader(draws[position])
        yield parts, failed, views


def _dense_targets(data: Dataset, parts: Sequence[Parts]) -> Tensor:
    """Weights of the classes of mixed samples, float32 `[batch, classes]`."""
    table = torch.zeros(len(parts), data.num_classes)
    for row, part in zip(table, parts, strict=True):
        for index, weight in part:
            target = data.samples[index].target
            row[[target] if isinstance(target, int) else list(target)] += weight
    return table.clamp_(max=1)

"""Samples of a data set, decoded: the one loop of evaluation, check and training."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tome_zoo import modalities
from tome_zoo.data.dataset import Dataset
from tome_zoo.data.stamp import Stamp, stamp
from tome_zoo.data.workers import StartError, WorkerPool
from tome_zoo.errors import CardError, MediaError, printable
from tome_zoo.modalities._notes import collected_notes
from tome_zoo.modalities.inputs import Span, Spec, ViewProtocol

TIMEOUT = 900.0  # s, for one file; more than an hour of video at 10 x 3 views takes

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of a sample.

    Attributes:
        index: Which one.
        views: [views, channels, ...], float32; None where it cannot be decoded, or where views were not kept.
        reason: Why it cannot be decoded; None where it can.
        stamp: Of the file, taken before it was read.
        notes: What was left out or stood in for where it is damaged.
    """

    index: int
    views: Tensor | None
    reason: str | None
    stamp: Stamp
    notes: tuple[str, ...] = ()


def decode(
    dataset: Dataset,
    indices: Sequence[int],
    spec: Spec | None,
    protocol: ViewProtocol | None,
    *,
    workers: int = 0,
    timeout: float = TIMEOUT,
    keep_views: bool = True,
    pin_memory: bool = False,
) -> Iterator[Decoded]:
    """Decode samples, in the order of the indices; one bad file does not stop the others.

    How many of them have damaged parts that were left out or stood in for is logged at the end.

    Args:
        dataset: Whose samples.
        indices: Which of them.
        spec: The model (a model card) by whose preprocessing; None only reads the files (of a video three frames).
        protocol: Which views; needed with `spec`.
        workers: Processes that decode; 0 decodes in this one. Where they cannot be started, this one decodes.
        timeout: Seconds that a process may take for a file, after which it goes on without it.
        keep_views: False throws the views away where they were decoded.
        pin_memory: Put the views where a GPU can fetch them.

    Raises:
        CardError: If model, data set and protocol do not belong together, which no other file would mend.
    """
    modalities.get(dataset.card.modality)
    noted: list[str] = []
    try:
        for item in _decoded(dataset, indices, spec, protocol, workers, timeout, keep_views, pin_memory):
            if item.notes and item.reason is None:
                noted.append(item.notes[0])
            yield item
    finally:
        if noted:
            _log.warning("%d files are damaged in parts, which were left out or stood in for; %s", len(noted), noted[0])


def _decoded(
    dataset: Dataset, indices: Sequence[int], spec: Spec | None, protocol: ViewProtocol | None, workers: int,
    timeout: float, keep_views: bool, pin_memory: bool,
) -> Iterator[Decoded]:  # fmt: skip
    decoder = _Decoder(dataset, spec, protocol, keep_views)
    done = 0
    if workers > 0:
        try:
            pool = WorkerPool(decoder, min(workers, max(1, len(indices))), timeout=timeout, pin_memory=pin_memory)
            for done, outcome in enumerate(pool.imap(indices), 1):
                index = indices[done - 1]
                if outcome.lost is None:
                    yield Decoded(index, outcome.tensor, *outcome.result)
                else:
                    path = dataset.samples[index].path
                    yield Decoded(index, None, printable(f"{path}: {outcome.lost}"), stamp(path))
            return
        except StartError as error:
            _log.warning("no processes for decoding (%s): this one decodes, which takes longer", error)
    for index in indices[done:]:
        told, views = decoder(index)
        yield Decoded(index, views.pin_memory() if pin_memory and views is not None else views, *told)


class _Decoder:
    """Index -> ((reason, stamp, notes), views); what processes that decode are given."""

    def __init__(self, dataset: Dataset, spec: Spec | None, protocol: ViewProtocol | None, keep_views: bool) -> None:
        self.paths = [sample.path for sample in dataset.samples]
        self.spans = [sample.span for sample in dataset.samples]
        self.modality = dataset.card.modality
        self.spec, self.protocol, self.keep_views = spec, protocol, keep_views

    def __call__(self, index: int) -> tuple[tuple[str | None, Stamp, tuple[str, ...]], Tensor | None]:
        with collected_notes() as notes:
            reason, before, views = self._read(index)
        return (reason, before, tuple(map(printable, notes))), views

    def _read(self, index: int) -> tuple[str | None, Stamp, Tensor | None]:
        path = self.paths[index]
        before = stamp(path)
        try:
            views = self._views(path, self.spans[index])
        except CardError:
            raise
        except (MediaError, OSError) as error:
            return printable(str(error)), before, None
        except Exception as error:  # a decoder surprised by a damaged file must not end an evaluation of thousands
            _log.debug("%s: unexpected failure", path, exc_info=True)
            return printable(f"{path}: cannot be decoded ({type(error).__name__}: {error})"), before, None
        return None, before, views if self.keep_views else None

    def _views(self, path: Path, span: Span | None) -> Tensor | None:
        modality = modalities.get(self.modality)
        if self.spec is None or self.protocol is None:
            media = modality.read(path, span=span)
            if self.modality == "video":
                media.frames(sorted({0, media.num_frames // 2, media.num_frames - 1}))
            return None
        if span is None:
            return modality.load(path, self.spec, self.protocol)
        return modality.views(modality.read(path, self.spec, span=span), self.spec, self.protocol)

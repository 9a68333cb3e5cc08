"""One file at r = 0 and at r: probabilities, groups, tokens and time."""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from tome_zoo.app.limits import check_file
from tome_zoo.registry import ZooModel
from tome_zoo.schedule import R
from tome_zoo.transformer.macs import count_macs
from tome_zoo.visualize.drawing import draw
from tome_zoo.visualize.subject import central_view, subject_of
from tome_zoo.visualize.token_groups import groups

TOP_K = 5
ROUNDS = 5  # timed forwards of each


@dataclass(frozen=True)
class AtR:
    """What a model makes of a view at one r.

    Attributes:
        probabilities: Of the most probable classes, by label.
        n_tokens: Tokens left.
        gmacs: 10^9 multiply-accumulates of the view.
        milliseconds: Of a forward of this one view, median of five.
    """

    probabilities: dict[str, float]
    n_tokens: int
    gmacs: float
    milliseconds: float


@dataclass(frozen=True)
class AtBothR:
    """The same view unmerged and merged, and a picture of the groups of both."""

    unmerged: AtR
    merged: AtR
    picture: Image.Image


def compare(model: ZooModel, path: Path, r: R, prop_attn: bool) -> AtBothR:
    """Look at one view of a file (its centre crop, the clip in its middle, its beginning) at r = 0 and at r.

    Args:
        model: With a classifier; its `r` and `prop_attn` are set.
        path: Image, video or sound.
        r: Merging schedule.
        prop_attn: Whether attention weighs merged tokens by size.

    Raises:
        MediaError: If the file is too large, too long, damaged or of another kind.
        ScheduleError: If `r` is no schedule for the model.
    """
    subject = subject_of(model)
    check_file(path, subject.modality)
    model.prop_attn = prop_attn
    schedules: list[R] = [0, r]
    view = central_view(subject, path)
    found = [groups(model, view, item, top_k=TOP_K) for item in schedules]
    times = _time(model, view, schedules)
    unmerged, merged = (
        AtR(
            {item.label: item.probability for item in at.prediction},
            at.n_tokens,
            count_macs(model, at.r).gmacs,
            milliseconds,
        )
        for at, milliseconds in zip(found, times, strict=True)
    )
    return AtBothR(unmerged, merged, draw(model, path, r=schedules).image)


def _time(model: ZooModel, view: torch.Tensor, schedules: list[R]) -> list[float]:
    """Milliseconds of a forward at each schedule: taken in turn, once to warm up, the median of the rest."""
    parameter = next(model.parameters())
    x = view.unsqueeze(0).to(parameter.device, parameter.dtype)
    times: list[list[float]] = [[] for _ in schedules]
    with torch.inference_mode():
        for _ in range(ROUNDS + 1):
            for taken, r in zip(times, schedules, strict=True):
                model.r = r
                _synchronize(x)
                begin = time.perf_counter()
                model(x)
                _synchronize(x)
                taken.append(1000 * (time.perf_counter() - begin))
    return [statistics.median(taken[1:]) for taken in times]


def _synchronize(x: torch.Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)

"""Speed and memory, merged against unmerged, in one process: what `tome-zoo bench` runs."""

import gc
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from tome_zoo import schedule
from tome_zoo.benchmark import models, timing, variants
from tome_zoo.benchmark.models import ModelPair, Subject
from tome_zoo.benchmark.records import Record, environment
from tome_zoo.benchmark.settings import COMPILE_MODES, BenchmarkSettings
from tome_zoo.benchmark.timing import StepTiming
from tome_zoo.benchmark.variants import Variant
from tome_zoo.errors import TomeZooError
from tome_zoo.merge import DEFAULT_REDUCER
from tome_zoo.system.devices import DTYPES, choose_device

__all__ = ["COMPILE_MODES", "BenchmarkSettings", "Record", "benchmark"]

_RECOMPILATIONS = 256  # every model, r and batch size is a program of its own

BenchmarkProgress = Callable[[int, int, str], None]  # cells done, of how many, which one is next


def benchmark(
    names: Sequence[str | nn.Module],
    *,
    overrides: Sequence[Mapping[str, Any]] = ({},),
    device: torch.device | str | None = None,
    progress: BenchmarkProgress | None = None,
    **fields: Any,
) -> Iterator[list[Record]]:
    """Time models unmerged and merging, on random weights and synthetic inputs of their own shape.

    Nothing is fetched: how long a forward takes depends neither on what the weights say nor, all but unmeasurably, on
    which tokens merge. The unmerged form is timm's own model with fused attention on the very same parameters; a timm
    model that cannot merge is timed alone. Whatever fails (memory, a schedule too long for a model) becomes a record
    that says so, and the rest goes on.

    Args:
        names: Models of the zoo, its baselines, or any that `timm.create_model` knows; or models from `create_model`
            and timm models after `tome_zoo.patch`, which are copied.
        overrides: Fields of `Architecture`; every model is timed with each of these settings, in turn.
        device: None means CUDA where there is a device, else the CPU.
        progress: Called with (cells done, cells in all, what comes next).
        **fields: Fields of `BenchmarkSettings`: r, batch_sizes, dtypes, threads, compile, train, checkpointing,
            explicit, reduction_share, seconds, rounds.

    Returns:
        As they are done, the records of each model, setting, dtype and batch size: "unmerged" first, then each r.

    Raises:
        TomeZooError: At once, if a setting makes no sense, a name is unknown or an override does not fit.
    """
    settings = BenchmarkSettings(device=choose_device(device), **fields)
    if not names:
        raise TomeZooError("expected at least one model, got none; `tome-zoo list` names them")
    found = [models.find_subject(name, setting) for name, setting in itertools.product(names, overrides)]
    return _run(found, settings, progress)


def _run(
    found: Sequence[Subject], settings: BenchmarkSettings, progress: BenchmarkProgress | None
) -> Iterator[list[Record]]:
    total, done = len(found) * len(settings.dtypes) * len(settings.batch_sizes), 0
    for subject, dtype in itertools.product(found, settings.dtypes):
        models: ModelPair | None = None
        forms: list[Variant] = []
        for batch_size in settings.batch_sizes:
            if progress is not None:
                progress(done, total, f"{subject.name}, {dtype}, batch {batch_size}")
            with _threads(settings.threads), _recompilation_limit(settings):
                if not forms:
                    models, forms = variants.prepare(subject, dtype, settings)
                records = _cell(subject, models, forms, dtype, batch_size, settings)
            done += 1
            yield records
        del models, forms
        gc.collect()
        if settings.compile is not None:
            torch.compiler.reset()
        if settings.device.type == "cuda":
            torch.cuda.empty_cache()
    if progress is not None:
        progress(total, total, "done")


def _cell(
    subject: Subject,
    models: ModelPair | None,
    forms: list[Variant],
    dtype: str,
    batch_size: int,
    settings: BenchmarkSettings,
) -> list[Record]:
    """Time all forms of a model at one batch size."""
    timings = [StepTiming(status=form.status, reason=form.reason) for form in forms]
    timed = [index for index, form in enumerate(forms) if form.model is not None]
    if models is not None:
        try:
            steps = variants.steps(models, [forms[index] for index in timed], DTYPES[dtype], batch_size, settings)
        except Exception as error:  # the inputs alone may be too large
            for index in timed:
                timings[index].fail(error)
        else:
            measured = timing.time_in_turn(steps, settings.device, seconds=settings.seconds, rounds=settings.rounds)
            for index, seen in zip(timed, measured, strict=True):
                timings[index] = seen
    facts: dict[str, Any] = {
        "model": subject.name, "source": subject.source,
        "overrides": dict(subject.overrides), "input": None if models is None else models.shape,
        "parameters": None if models is None else sum(p.numel() for p in models.unmerged.parameters()),
        "batch_size": batch_size, "dtype": dtype, "mode": settings.mode, "compile": settings.compile,
        **environment(settings.device),
    }  # fmt: skip
    records = []
    least = {
        schedule.format(form.r): seen
        for form, seen in zip(forms, timings, strict=True)
        if form.r is not None and form.reducer == variants.DROP_LAST.name
    }
    for form, seen in zip(forms, timings, strict=True):
        figures = _figures(subject, form, forms[0], seen, timings[0], batch_size)
        figures["reduction_share"] = _reduction_share(form, seen, least)
        records.append(Record(**facts, **figures, first_call_seconds=seen.first if settings.compile else None))
    return records


def _figures(
    subject: Subject, form: Variant, base: Variant, seen: StepTiming, unmerged: StepTiming, batch_size: int
) -> dict[str, Any]:
    """The fields of a record that belong to one form."""
    score = subject.score(form.r) if form.reducer == DEFAULT_REDUCER else None
    kind = "dropping" if form.reducer == variants.DROP_LAST.name else "explicit" if form.explicit else "merging"
    found: dict[str, Any] = {
        "variant": "unmerged" if form.r is None else kind,
        "r": None if form.r is None else schedule.format(form.r), "reducer": form.reducer,
        "status": seen.status, "reason": seen.reason, "attention": form.attention,
        "fast_path": form.fast_path,
    }  # fmt: skip
    found |= dict(zip(("score", "metric", "score_source"), score or (None, None, None), strict=True))
    if form.cost is not None:
        found |= {
            "gmacs": form.cost.macs / 1e9, "macs_counter": form.cost.counter,
            "tokens_in": form.cost.tokens_in, "tokens_out": form.cost.tokens_out,
        }  # fmt: skip
    if form.cost is not None and base.cost is not None:
        found["limit"] = base.cost.macs / form.cost.macs
    if not seen.ok or not seen.seconds:
        return found
    latency = timing.median(seen.seconds)
    found |= {
        "latency_ms": 1e3 * latency, "latency_spread": timing.spread(seen.seconds), "rounds": len(seen.seconds),
        "samples_per_second": batch_size / latency, "peak_mib": seen.peak_mib,
    }  # fmt: skip
    if gains := timing.ratios(unmerged, seen):
        found |= {"speedup": timing.median(gains), "speedup_spread": timing.spread(gains)}
        found["of_limit"] = found["speedup"] / found["limit"]
    return found


def _reduction_share(form: Variant, seen: StepTiming, least: Mapping[str, StepTiming]) -> float | None:
    """Part of the time of a form that goes beyond dropping as many tokens."""
    if form.r is None or not seen.ok or (floor := least.get(schedule.format(form.r))) is None:
        return None
    shares = timing.ratios(floor, seen)
    return 1 - timing.median(shares) if shares else None


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """That many threads of the CPU for a while."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _recompilation_limit(settings: BenchmarkSettings) -> AbstractContextManager[None]:
    """Room for as many programs as there are forms; dynamo is imported only where something is compiled."""
    if settings.compile is None:
        return nullcontext()
    return torch._dynamo.config.patch(recompile_limit=_RECOMPILATIONS)

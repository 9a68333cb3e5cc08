"""`bench`: speed and memory, merged against unmerged."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tome_zoo.commands.console import Cards, Verbose, fail, note, progress_bar, show
from tome_zoo.commands.options import Device, Dtype, Names, Schedules, expand_names, parse_schedules, read_settings


class CompileMode(StrEnum):
    """What is compiled."""

    block = "block"
    graph = "graph"
    cuda_graph = "cuda-graph"


def bench(
    names: Names,
    r: Schedules = None,
    reducer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:OPTION=VALUE,...]", help="How tokens are reduced; repeatable  [default: bipartite]"
        ),
    ] = None,
    batch_size: Annotated[list[int], typer.Option(min=1, help="Inputs a forward; repeatable.")] = [1],  # noqa: B006
    dtype: Annotated[list[Dtype], typer.Option(help="Of weights and activations; repeatable.")] = [Dtype.float32],  # noqa: B006
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Change the architecture, e.g. img_size=448 or num_frames=32; a field given twice is tried both ways.",
        ),
    ] = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Compile both forms.")] = False,
    compile_mode: Annotated[
        CompileMode | None, typer.Option(help="block: wait least; graph: run fastest; cuda-graph: and no launch costs.")
    ] = None,
    train: Annotated[bool, typer.Option("--train", help="Time forward, loss and backward.")] = False,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="With --train: recompute activations in the backward pass.")
    ] = False,
    explicit: Annotated[
        bool, typer.Option("--explicit", help="Also time merging with every step written out, softmax included.")
    ] = False,
    reduction_share: Annotated[
        bool, typer.Option("--reduction-share", help="Also tell which part of the time reducing takes.")
    ] = False,
    seconds: Annotated[float, typer.Option(min=0.01, help="Time to take for each model, dtype and batch size.")] = 10.0,
    rounds: Annotated[int | None, typer.Option(min=1, help="Exactly so many rounds instead.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Of the CPU.")] = None,
    device: Device = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for bench.jsonl (appended), bench.csv and bench.png.")
    ] = None,
    cards: Cards = None,
    verbose: Verbose = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each record.")] = False,
) -> None:
    """Time models with random weights: timm's unmerged model and ours at each r (without --r: the card's), in turn."""
    schedules = parse_schedules(r) if r else None
    chosen, overrides = expand_names(names), read_settings(settings or [])
    import json

    from tome_zoo.benchmark import benchmark, records, tables

    if output is not None and (output / records.JSONL).exists():
        records.read(output)  # a damaged file is refused before hours are spent
    mode = compile_mode or (CompileMode.block if compiled else None)
    found: list[records.Record] = []
    with progress_bar("bench", "cells") as progress:
        cells = benchmark(
            chosen, r=schedules, overrides=overrides, reducers=reducer or ["bipartite"], batch_sizes=batch_size,
            dtypes=[item.value for item in dtype],
            device=device, threads=threads, compile=None if mode is None else mode.value, train=train,
            checkpointing=checkpointing,
            explicit=explicit, reduction_share=reduction_share, seconds=seconds, rounds=rounds, progress=progress,
        )  # fmt: skip
        for cell in cells:
            found += cell
            if output is not None:
                records.append(output, cell)
            if as_json:
                for record in cell:
                    typer.echo(json.dumps(record.to_json(), ensure_ascii=False, allow_nan=False))
            else:
                show(tables.table(cell))
    note(*tables.failures(found))
    if output is not None:
        note(f"written: {', '.join(map(str, _written(output, found)))}")
    if not any(record.ok for record in found):
        fail("nothing could be timed")


def _written(output: Path, found: list[Any]) -> list[Path]:
    """The files of an output folder, the picture drawn now, if anything merging was timed."""
    from tome_zoo.benchmark import records
    from tome_zoo.benchmark.plot import plot_benchmark

    files = [output / records.JSONL, output / records.CSV]
    if any(record.ok and record.variant == "merging" for record in found):
        files.append(plot_benchmark(found, output / "bench.png"))
    return files

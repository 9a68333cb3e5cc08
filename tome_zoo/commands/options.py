"""What several commands take, and how they read it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class Modality(StrEnum):
    """What a model reads."""

    image = "image"
    video = "video"
    audio = "audio"


class Dtype(StrEnum):
    """What a model computes in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


Name = Annotated[str, typer.Argument(metavar="NAME", help="A model; `tome-zoo list` names them.", show_default=False)]
Weights = Annotated[str | None, typer.Option(metavar="FILE", help="A file or URL instead of the card's weights.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...; without it CUDA where there is a device.")]
Root = Annotated[Path, typer.Option("--data", metavar="ROOT", help="Folder of the data set.", show_default=False)]
Schedules = Annotated[
    list[str] | None,
    typer.Option("--r", metavar="R", help="8 | 8:-1 (linear) | 9,0,4 (block by block) | 0:65:5 (a range); repeatable."),
]


def parse_schedules(texts: list[str], single: bool = False) -> list[Any]:
    """The schedules that --r means; every form of it may stand several times."""
    from tome_zoo import schedule
    from tome_zoo.errors import ScheduleError

    found = [item for text in texts for item in schedule.parse(text)]
    if single and len(found) != 1:
        raise ScheduleError(f"expected one r, got {len(found)} from {texts[0]!r}: write 8, 8:-1 or 9,0,4")
    return found

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


Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A model of the zoo (`tome-zoo list`) or of timm.", show_default=False)
]
Names = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME...",
        help="Models of the zoo or of timm, wildcards too, as in 'deit_*'.",
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Change the architecture, e.g. img_size=448; repeatable."),
]
Weights = Annotated[str | None, typer.Option(metavar="FILE", help="A file or URL instead of the card's weights.")]
Ema = Annotated[
    bool | None,
    typer.Option("--ema/--no-ema", help="Of raw and averaged weights in a file, which; else as timm chooses."),
]
PropAttn = Annotated[
    bool | None,
    typer.Option("--prop-attn/--no-prop-attn", help="Weigh merged tokens by size in attention  [default: the card's]"),
]
Reducer = Annotated[
    str | None,
    typer.Option(
        metavar="NAME[:OPTION=VALUE,...]", help="How tokens are reduced, e.g. kmeans:rounds=5  [default: bipartite]"
    ),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...; without it CUDA where there is a device.")]
Root = Annotated[Path, typer.Option("--data", metavar="ROOT", help="Folder of the data set.", show_default=False)]
DatasetName = Annotated[
    str | None, typer.Option("--dataset", help="Card of what lies at ROOT, if not the model's own.")
]
Split = Annotated[str | None, typer.Option(help="Another split than the validation split.")]
DataFormat = Annotated[str | None, typer.Option("--format", help="How ROOT is laid out, if not found out.")]
Protocol = Annotated[str | None, typer.Option(help="Another protocol than the model's own.")]
Workers = Annotated[
    int | None, typer.Option(min=0, help="Processes that decode  [default: 0 on a CPU, else up to 8 a GPU]")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Views a forward.")]
OneDtype = Annotated[Dtype, typer.Option(help="Of weights and activations.")]
Schedules = Annotated[
    list[str] | None,
    typer.Option("--r", metavar="R", help="8 | 8:-1 (linear) | 9,0,4 (block by block) | 0:65:5 (a range); repeatable."),
]


def expand_names(patterns: list[str]) -> list[str]:
    """Names of models, each once: those with wildcards stand for the zoo's that match, or its baselines, or timm's.

    Raises:
        CardError: If nothing matches a pattern.
    """
    from fnmatch import fnmatchcase

    from tome_zoo.cards import baseline_cards, model_cards
    from tome_zoo.errors import CardError

    found: list[str] = []
    for pattern in patterns:
        if not set("*?[") & set(pattern):
            found.append(pattern)
            continue
        matching = sorted(name for name in model_cards() if fnmatchcase(name, pattern))
        matching = matching or sorted(name for name in baseline_cards() if fnmatchcase(name, pattern))
        if not matching:
            from timm import list_pretrained

            matching = list_pretrained(pattern)
        if not matching:
            raise CardError(f"no model of the zoo or of timm matches {pattern!r}; wildcards are * and ?, as in '*mae*'")
        found += matching
    return list(dict.fromkeys(found))


def read_settings(texts: list[str]) -> list[dict[str, Any]]:
    """The settings that --set means: every combination, where a field is given several times.

    Raises:
        CardError: If a text is not FIELD=VALUE.
    """
    from itertools import product

    from tome_zoo.errors import CardError

    values: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise CardError(f"cannot read --set {text!r}: write FIELD=VALUE, e.g. img_size=448 or img_size=1024,128")
        values.setdefault(name.strip(), []).append(_value(value.strip()))
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]


def read_one_setting(texts: list[str]) -> dict[str, Any]:
    """The same where a field may be given once only."""
    from tome_zoo.errors import CardError

    found = read_settings(texts)
    if len(found) != 1:
        raise CardError(f"expected each field of --set once, got {', '.join(texts)}")
    return found[0]


def _value(text: str) -> Any:
    """A number, true, false, none, several of them with commas between, or else the text."""
    import json

    if "," in text:
        return [_value(part) for part in text.split(",")]
    try:
        return json.loads("null" if text.lower() == "none" else text.lower())
    except ValueError:
        return text


def parse_schedules(texts: list[str], single: bool = False) -> list[Any]:
    """The schedules that --r means; every form of it may stand several times."""
    from tome_zoo import schedule
    from tome_zoo.errors import ScheduleError

    found = [item for text in texts for item in schedule.parse(text)]
    if single and len(found) != 1:
        raise ScheduleError(f"expected one r, got {len(found)} from {texts[0]!r}: write 8, 8:-1 or 9,0,4")
    return found

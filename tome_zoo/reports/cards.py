"""Cards as people and machines read them: what `tome-zoo list` and `info` show. Only GMACs need torch."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from tome_zoo import schedule
from tome_zoo.cards import Measured, ModelCard, Reported, dataset_card, protocol_card
from tome_zoo.reports.folding_table import FoldingTable
from tome_zoo.schedule import R
from tome_zoo.transformer.architecture import Architecture
from tome_zoo.weights.cache import cache_path, source_url
from tome_zoo.weights.fetch import find_cached

SCORES = ("top1", "top5", "map", "gmacs", "samples_per_second")


def num_parameters(architecture: Architecture) -> int:
    """Parameters of the model that an architecture describes, the position embedding included."""
    width, hidden = architecture.embed_dim, int(architecture.embed_dim * architecture.mlp_ratio)
    frames, height, cols = architecture.grid
    patch = architecture.in_chans * architecture.patch_size**2 * (architecture.tubelet_size or 1)
    prefix = architecture.num_prefix_tokens
    embedding = patch * width + width + (prefix + prefix + frames * height * cols) * width
    attention = 4 * width * width + width + (3 * width if architecture.qkv_bias else 0)
    block = 4 * width + attention + 2 * width * hidden + hidden + width
    norms = 2 * width * (2 if architecture.pool == "prefix_mean" else 1)
    return embedding + architecture.depth * block + norms + (width + 1) * architecture.num_classes


def overview(card: ModelCard) -> dict[str, Any]:
    """What `list` shows of a card: its scores at r = 0 and at the default r, published or, failing that, our own."""
    return {
        "name": card.name,
        "modality": card.modality,
        "dataset": card.dataset,
        "license": card.weights.license if card.weights else None,
        "parameters": num_parameters(card.architecture),
        "metric": "map" if protocol_card(card.protocol).metric == "map" else "top1",
        "score_r0": _score(card, 0),
        "default_r": schedule.format(card.merging.default_r),
        "score_default_r": _score(card, card.merging.default_r),
        "classifier": card.architecture.num_classes > 0,
        "merges": True,
    }


def overview_table(cards: Iterable[ModelCard]) -> Table:
    """A line for each card."""
    table = FoldingTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("model", "modality", "data set", "licence of weights"):
        table.add_column(name, overflow="fold")
    for name in ("params", "metric", "r = 0", "merged", "at r"):
        table.add_column(name, justify="right", no_wrap=True)
    for card in cards:
        row = overview(card)
        merged = "" if row["default_r"] == "0" else _percent(row["score_default_r"])
        table.add_row(
            Text(row["name"]),
            row["modality"],
            row["dataset"],
            row["license"] or "-",
            f"{row['parameters'] / 1e6:,.1f} M",
            row["metric"] if row["classifier"] else "encoder",
            _percent(row["score_r0"]),
            merged,
            "" if row["default_r"] == "0" else row["default_r"],
        )
    return table


def details(card: ModelCard, schedules: Sequence[R] | None = None) -> dict[str, Any]:
    """All that is known of a model: its card, data set and protocol, where its weights are, tokens and GMACs at each r.

    Args:
        card: Of a model.
        schedules: The r to count; None takes those of the card.
    """
    from tome_zoo import registry
    from tome_zoo.transformer.paths import describe_fast_path

    model = registry.create_model(card.name, device="meta")
    data = card.model_dump(mode="json", exclude_none=True, exclude={"merging", "reported", "measured", "classes"})
    weights = card.weights
    if weights is not None:
        found = find_cached(weights)
        data["weights"] |= {
            "address": source_url(weights),
            "cached": found is not None,
            "path": str(found or cache_path(weights)),
        }
    return {
        **data,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "grid": list(card.architecture.grid),
        "dataset": dataset_card(card.dataset).model_dump(mode="json", exclude_none=True),
        "protocol": protocol_card(card.protocol).model_dump(mode="json", exclude_none=True),
        "prop_attn": card.merging.prop_attn,
        "fast_path": describe_fast_path(model),
        "default_r": schedule.format(card.merging.default_r),
        "merging": _costs(model, card.merging.r if schedules is None else schedules),
        "reported": [figure_row(figure) for figure in card.reported],
        "measured": [figure_row(figure) for figure in card.measured],
    }


def details_view(data: dict[str, Any]) -> list[Table | Text]:
    """The pieces of `details` for a terminal."""
    shape, data_set, protocol = data["architecture"], data["dataset"], data["protocol"]
    facts = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    rows = {
        "modality": data["modality"],
        "parameters": f"{data['parameters'] / 1e6:,.2f} M",
        "transformer": "{depth} blocks, {embed_dim} channels, {num_heads} heads, pooling {pool}".format(**shape),
        "input": _input(data),
        "preprocessing": ", ".join(f"{key} {_joined(value)}" for key, value in data["input"].items()),
        "classifier": f"{shape['num_classes']} classes" if shape["num_classes"] else "none: bring a fine-tuned file",
        "data set": f"{data_set['name']}: {data_set['title']}; {data_set['license']}",
        "protocol": f"{protocol['name']}@{protocol['version']}: {protocol['summary']}",
        "attention": "proportional to token size" if data["prop_attn"] else "not weighted by token size",
        "fast path": data["fast_path"],
    }
    for key, value in rows.items():
        facts.add_row(key, Text(value))
    if "weights" in data:
        weights = data["weights"]
        state = "at hand" if weights["cached"] else weights.get("by_hand") or "not fetched yet"
        facts.add_row("weights", Text(f"{state}: {weights['path']}"))
        facts.add_row("", Text(f"{weights['layout']} layout, {weights['license']}, {weights['address']}"))
        if weights.get("source"):
            facts.add_row("source", Text(weights["source"]))
    pieces: list[Table | Text] = [Text(data["name"], style="bold"), Text(data.get("summary", "")), facts]
    costs = Table(title="merging", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("r", "GMACs", "fewer MACs", "tokens left"):
        costs.add_column(name, justify="right", no_wrap=True)
    costs.add_column("after each block")
    for row in data["merging"]:
        mark = " (default)" if row["r"] == data["default_r"] and row["r"] != "0" else ""
        tokens = " ".join(map(str, row["tokens"]))
        costs.add_row(
            row["r"] + mark,
            f"{row['gmacs']:.4g}",
            f"{row['ratio']:.2f}x",
            str(row["tokens"][-1]),
            Text(tokens, style="dim"),
        )
    pieces.append(costs)
    for title in ("reported", "measured"):
        if data[title]:
            pieces.append(figures_table(title, data[title]))
    return pieces


def _costs(model: Any, schedules: Sequence[R]) -> list[dict[str, Any]]:
    from tome_zoo.transformer import macs

    whole = macs.count_macs(model, 0)
    counted = [(r, macs.count_macs(model, r)) for r in schedules]
    return [
        {
            "r": schedule.format(r),
            "gmacs": count.gmacs,
            "ratio": whole.total / count.total,
            "tokens": list(count.tokens),
        }
        for r, count in counted
    ]


def _score(card: ModelCard, r: R) -> float | None:
    """The first figure at that r: published ones before our own, those with a remark last; an encoder has none."""
    if card.architecture.num_classes == 0:
        return None
    wanted = schedule.format(r)
    figures = [figure for figure in (*card.reported, *card.measured) if schedule.format(figure.r) == wanted]
    figures.sort(key=lambda figure: bool(getattr(figure, "note", "")))
    scores = [figure.top1 if figure.top1 is not None else figure.map for figure in figures]
    return next((score for score in scores if score is not None), None)


def figure_row(figure: Reported | Measured) -> dict[str, Any]:
    """A figure as a plain record, r as the command line writes it."""
    return {**figure.model_dump(mode="json", exclude_none=True), "r": schedule.format(figure.r)}


def figures_table(title: str, figures: list[dict[str, Any]]) -> Table:
    """A line for each figure: its numbers, and where they come from."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    scores = [key for key in SCORES if any(key in figure for figure in figures)]
    for key in ("r", *scores):
        table.add_column(key.replace("samples_per_second", "samples/s"), justify="right", no_wrap=True)
    table.add_column("where" if title == "measured" else "source", overflow="fold")
    for figure in figures:
        cells = [f"{figure[key]:,.2f}" if key in figure else "" for key in scores]
        if title == "measured":
            where = ", ".join(str(figure[key]) for key in ("protocol", "dtype", "device", "date") if key in figure)
        else:
            where = figure["source"] + (f" ({figure['note']})" if figure.get("note") else "")
        table.add_row(figure["r"], *cells, Text(where))
    return table


def _input(data: dict[str, Any]) -> str:
    shape, grid = data["architecture"], data["grid"]
    size = shape["img_size"] if isinstance(shape["img_size"], list) else [shape["img_size"]] * 2
    frames = [shape["num_frames"]] if "num_frames" in shape else []
    sides = [shape["patch_size"]] * 2
    patch = [shape["tubelet_size"], *sides] if frames else sides
    return f"{_times(frames + size)}, patches of {_times(patch)}: {_times(grid if frames else grid[1:])} tokens"


def _times(numbers: Sequence[int]) -> str:
    return " x ".join(map(str, numbers))


def _joined(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"

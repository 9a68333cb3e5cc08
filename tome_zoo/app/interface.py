"""The page of the app: a model, a file, r; probabilities, groups, tokens and time at r beside r = 0."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from tome_zoo import cards
from tome_zoo.app.compare import AtBothR, compare
from tome_zoo.app.models import Models, default_r, largest_r, schedule_of
from tome_zoo.cards import ModelCard
from tome_zoo.errors import TomeZooError
from tome_zoo.registry import require_classifier
from tome_zoo.visualize.sheet import data_uri

SCHEDULES = ("the same in each block", "decreasing: twice as much first, none at last")
CSS = """
.gradio-container { max-width: 78rem !important; margin: 0 auto !important }
.min_value, .max_value { color: var(--body-text-color) !important }
#figures { overflow-x: auto }
#figures table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
#figures th, #figures td { text-align: right; padding: .35rem .4rem; border-bottom: 1px solid var(--border-color-primary) }
#figures th:first-child { text-align: left }
#message [role=alert] { border-left: 4px solid #c0392b; padding: .5rem .75rem; background: var(--background-fill-secondary) }
"""  # noqa: E501


def theme() -> gr.themes.Base:
    """Gradio's plain theme with fonts that every machine has: none is fetched."""
    fonts: list[str] = ["system-ui", "sans-serif"]
    return gr.themes.Base(primary_hue="blue", font=fonts, font_mono=["ui-monospace", "monospace"])


class Inputs(NamedTuple):
    """What is asked: model, file or example, r and how it is spent."""

    name: gr.Dropdown
    file: gr.File
    example: gr.Radio
    r: gr.Slider
    schedule: gr.Radio
    prop_attn: gr.Checkbox


class Outputs(NamedTuple):
    """What is shown of it."""

    message: gr.HTML
    picture: gr.HTML
    figures: gr.HTML
    unmerged: gr.Label
    merged: gr.Label


def build(names: Sequence[str], chosen: str, examples: Mapping[str, Sequence[Path]], models: Models) -> gr.Blocks:
    """Lay the page out and join its parts.

    Args:
        names: Models to choose from; others may be typed.
        chosen: The first of them.
        examples: Files of each modality.
        models: Loads them.
    """
    with gr.Blocks(title="tome-zoo explore", analytics_enabled=False) as blocks:
        gr.Markdown(
            "# What merges, and what it costs\n"
            "A file at r beside r = 0. Everything stays on this machine. Times are of a single view."
        )
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                asked = _lay_out_inputs(names, cards.model_card(chosen), examples)
            with gr.Column(scale=3, min_width=300):
                shown = _lay_out_outputs()
        _connect(asked, shown, examples, models)
    return blocks


def _lay_out_inputs(names: Sequence[str], card: ModelCard, examples: Mapping[str, Sequence[Path]]) -> Inputs:
    return Inputs(
        gr.Dropdown(
            list(names), value=card.name, allow_custom_value=True, elem_id="model",
            label="Model: one of these, or the name of any other of the zoo or of timm, which is fetched",
        ),
        gr.File(label=f"Your {card.modality}", elem_id="file", height=120),
        gr.Radio(_titles(examples, card.modality), label="or an example", elem_id="example"),
        gr.Slider(0, largest_r(card), default_r(card), step=1, label="r: tokens that merge in each block"),
        gr.Radio(list(SCHEDULES), value=SCHEDULES[0], label="Schedule"),
        gr.Checkbox(card.merging.prop_attn, label="Attention weighs tokens by size"),
    )  # fmt: skip


def _lay_out_outputs() -> Outputs:
    message = gr.HTML(elem_id="message", padding=False)
    picture = gr.HTML(elem_id="picture", padding=False)
    figures = gr.HTML(elem_id="figures")
    with gr.Row():
        unmerged = gr.Label(label="r = 0", num_top_classes=5, elem_id="unmerged")
        merged = gr.Label(label="r", num_top_classes=5, elem_id="merged")
    return Outputs(message, picture, figures, unmerged, merged)


def _connect(asked: Inputs, shown: Outputs, examples: Mapping[str, Sequence[Path]], models: Models) -> None:
    """Say what follows when something is chosen, dropped or moved; one after the other, so that timings do not mix."""

    def look(name: str, path: str | None, r: float, schedule: str, prop_attn: bool) -> Any:
        if path is None:
            return "", "", "", None, gr.Label(value=None)
        try:
            wanted = schedule_of(int(r), schedule == SCHEDULES[1])
            found = compare(models.load(name), Path(path), wanted, prop_attn)
        except (TomeZooError, OSError) as error:
            return _alert(error), "", "", None, gr.Label(value=None)
        now = gr.Label(value=found.merged.probabilities, label=f"r = {int(r)}")
        return "", _picture(found, int(r)), _figures(found, int(r)), found.unmerged.probabilities, now

    def choose(name: str) -> Any:
        try:
            card = cards.model_card(name)
            require_classifier(card)
        except TomeZooError as error:
            return _alert(error), *[gr.skip()] * 4
        return (
            "",
            gr.File(value=None, label=f"Your {card.modality}"),
            gr.Radio(_titles(examples, card.modality), value=None),
            gr.Slider(maximum=largest_r(card), value=default_r(card)),
            gr.Checkbox(card.merging.prop_attn),
        )

    def take(title: str | None) -> str | None:
        return title

    once: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model", "api_visibility": "private"}
    controls = [asked.file, asked.example, asked.r, asked.prop_attn]
    asked.name.change(choose, asked.name, [shown.message, *controls], **once)
    asked.example.input(take, asked.example, asked.file, **once)
    gr.on(
        [asked.file.change, asked.r.change, asked.schedule.input, asked.prop_attn.input],
        look,
        [asked.name, asked.file, asked.r, asked.schedule, asked.prop_attn],
        list(shown),
        trigger_mode="always_last",
        **once,
    )


def _alert(error: Exception) -> str:
    return f'<div role="alert">{escape(str(error))}</div>'


def _titles(examples: Mapping[str, Sequence[Path]], modality: str) -> list[tuple[str, str]]:
    """Choices: what is seen, and the file."""
    return [(f"{path.parent.name}/{path.name}", str(path)) for path in examples.get(modality, ())]


def _picture(found: AtBothR, r: int) -> str:
    alt = f"The input, its {found.unmerged.n_tokens} tokens at r = 0, and its {found.merged.n_tokens} groups at r = {r}"
    return f'<img src="{data_uri(found.picture)}" alt="{alt}" style="width: 100%; border-radius: 6px">'


def _figures(found: AtBothR, r: int) -> str:
    rows = (("r = 0", found.unmerged), (f"r = {r}", found.merged))
    body = "".join(
        f'<tr><th scope="row">{name}</th><td>{at.n_tokens}</td><td>{at.gmacs:.3g}</td><td>{at.milliseconds:.1f}</td>'
        f"<td>{found.unmerged.milliseconds / at.milliseconds:.2f}x</td></tr>"
        for name, at in rows
    )
    names = ("tokens left", "GMACs", "ms", "speed-up")
    head = "<td></td>" + "".join(f'<th scope="col">{name}</th>' for name in names)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

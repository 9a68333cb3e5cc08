"""The page of the app: a model, a file, r; probabilities, groups, tokens and time at r beside r = 0."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from tome_zoo import cards
from tome_zoo.app.compare import Comparison, compare
from tome_zoo.app.models import Models, default_r, largest_r, schedule_of
from tome_zoo.errors import TomeZooError
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


def build(names: Sequence[str], chosen: str, examples: Mapping[str, Sequence[Path]], models: Models) -> gr.Blocks:
    """Lay the page out and join its parts.

    Args:
        names: Models to choose from.
        chosen: The first of them.
        examples: Files of each modality.
        models: Loads them.
    """
    card = cards.model_card(chosen)
    with gr.Blocks(title="tome-zoo explore", analytics_enabled=False) as blocks:
        gr.Markdown(
            "# What merges, and what it costs\n"
            "A file at r beside r = 0. Everything stays on this machine. Times are of a single view."
        )
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                name = gr.Dropdown(list(names), value=chosen, label="Model", elem_id="model")
                file = gr.File(label=f"Your {card.modality}", elem_id="file", height=120)
                example = gr.Radio(_titles(examples, card.modality), label="or an example", elem_id="example")
                r = gr.Slider(0, largest_r(card), default_r(card), step=1, label="r: tokens that merge in each block")
                schedule = gr.Radio(list(SCHEDULES), value=SCHEDULES[0], label="Schedule")
                prop_attn = gr.Checkbox(card.merging.prop_attn, label="Attention weighs tokens by size")
            with gr.Column(scale=3, min_width=300):
                message = gr.HTML(elem_id="message", padding=False)
                picture = gr.HTML(elem_id="picture", padding=False)
                figures = gr.HTML(elem_id="figures")
                with gr.Row():
                    unmerged = gr.Label(label="r = 0", num_top_classes=5, elem_id="unmerged")
                    merged = gr.Label(label="r", num_top_classes=5, elem_id="merged")

        def look(name: str, path: str | None, r: float, schedule: str, prop_attn: bool) -> tuple[Any, ...]:
            if path is None:
                return "", "", "", None, gr.Label(value=None)
            try:
                asked = schedule_of(int(r), schedule == SCHEDULES[1])
                found = compare(models.load(name), Path(path), asked, prop_attn)
            except (TomeZooError, OSError) as error:
                return f'<div role="alert">{escape(str(error))}</div>', "", "", None, gr.Label(value=None)
            now = gr.Label(value=found.merged.probabilities, label=f"r = {int(r)}")
            return "", _picture(found, int(r)), _figures(found, int(r)), found.unmerged.probabilities, now

        def choose(name: str) -> tuple[Any, ...]:
            card = cards.model_card(name)
            return (
                gr.File(value=None, label=f"Your {card.modality}"),
                gr.Radio(_titles(examples, card.modality), value=None),
                gr.Slider(maximum=largest_r(card), value=default_r(card)),
                gr.Checkbox(card.merging.prop_attn),
            )

        def take(title: str | None) -> str | None:
            return title

        shown = [message, picture, figures, unmerged, merged]
        once: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model", "api_visibility": "private"}
        name.change(choose, name, [file, example, r, prop_attn], **once)
        example.input(take, example, file, **once)
        gr.on(
            [file.change, r.change, schedule.input, prop_attn.input],
            look,
            [name, file, r, schedule, prop_attn],
            shown,
            trigger_mode="always_last",
            **once,
        )
    return blocks


def _titles(examples: Mapping[str, Sequence[Path]], modality: str) -> list[tuple[str, str]]:
    """Choices: what is seen, and the file."""
    return [(f"{path.parent.name}/{path.name}", str(path)) for path in examples.get(modality, ())]


def _picture(found: Comparison, r: int) -> str:
    alt = f"The input, its {found.unmerged.n_tokens} tokens at r = 0, and its {found.merged.n_tokens} groups at r = {r}"
    return f'<img src="{data_uri(found.picture)}" alt="{alt}" style="width: 100%; border-radius: 6px">'


def _figures(found: Comparison, r: int) -> str:
    rows = (("r = 0", found.unmerged), (f"r = {r}", found.merged))
    body = "".join(
        f'<tr><th scope="row">{name}</th><td>{at.n_tokens}</td><td>{at.gmacs:.3g}</td><td>{at.milliseconds:.1f}</td>'
        f"<td>{found.unmerged.milliseconds / at.milliseconds:.2f}x</td></tr>"
        for name, at in rows
    )
    names = ("tokens left", "GMACs", "ms", "speed-up")
    head = "<td></td>" + "".join(f'<th scope="col">{name}</th>' for name in names)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

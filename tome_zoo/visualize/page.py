"""Drawings as a page of HTML that needs nothing else: pictures, clips that play, sounds to hear."""

import base64
import io
from collections.abc import Sequence
from html import escape

from tome_zoo.visualize.image import caption, titles
from tome_zoo.visualize.movie import write_mp4
from tome_zoo.visualize.pictures import Pictures
from tome_zoo.visualize.sheet import data_uri

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font-family: system-ui, sans-serif; line-height: 1.5 }}
body {{ margin: 0 auto; padding: 1rem; max-width: 100rem }}
img, video {{ max-width: 100%; height: auto; display: block; margin-block: .75rem }}
audio {{ display: block; max-width: 100% }}
</style>
</head>
<body>
<h1>{title}</h1>
"""


def page(drawings: Sequence[Pictures]) -> str:
    """A whole page of drawings of one model."""
    head = _HEAD.format(title=escape(f"What merges in {drawings[0].subject.name}"))
    parts = [f"<h2>{escape(drawing.sample.name)}</h2>\n{section(drawing)}" for drawing in drawings]
    return head + "\n".join(parts) + "\n</body>\n</html>\n"


def section(drawing: Pictures) -> str:
    """One drawing: what moves plays, what sounds can be heard, and the picture of all of it."""
    parts = []
    if drawing.frames:
        buffer = io.BytesIO()
        write_mp4(drawing.frames, buffer, drawing.sample.rate or 10.0)
        address = _address("video/mp4", buffer.getvalue())
        parts.append(f'<video src="{address}" autoplay loop muted playsinline controls></video>')
    parts.append(f'<img src="{data_uri(drawing.image)}" alt="{escape(in_words(drawing))}">')
    parts += _players(drawing)
    return "\n".join(parts)


def in_words(drawing: Pictures) -> str:
    """What the picture shows, for those who do not see it."""
    words = zip(titles(drawing.groups), drawing.groups, strict=True)
    columns = [f"{title}: {', '.join(caption(groups))}" for title, groups in words]
    return f"{drawing.sample.name} and its groups of merged tokens. " + "; ".join(columns)


def _players(drawing: Pictures) -> list[str]:
    if not drawing.sounds:
        return []
    from tome_zoo.visualize.listen import write_wav

    rate = drawing.subject.spec.input.sample_rate  # type: ignore[union-attr]
    parts = []
    for name, sound in drawing.sounds.items():
        buffer = io.BytesIO()
        write_wav(sound, rate, buffer)
        parts.append(
            f'<p><label>{escape(name)} <audio controls src="{_address("audio/wav", buffer.getvalue())}"></audio>'
            "</label></p>"
        )
    return parts


def _address(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"

"""A matplotlib figure as SVG inside a page: it takes the page's colours and fonts, and its ids are its own."""

import io
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, SOFT, LINE, ACCENT, PAPER = "#010101", "#020202", "#030303", "#040404", "#050505"
"""Colours to draw with: each stands for a variable of the page's style sheet."""

VARIABLES = {INK: "--ink", SOFT: "--soft", LINE: "--line", ACCENT: "--accent", PAPER: "--paper"}


def inline_svg(figure: "Figure", name: str) -> str:
    """The `<svg>` element of a figure, for the middle of a page.

    Args:
        figure: Drawn with `svg.fonttype` "none"; artists with a gid can be found by it, `name` and a hyphen before it.
        name: Unique in the page; letters, digits and hyphens.
    """
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)  # it would style the whole page
    svg = re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', svg, count=1)
    svg = re.sub(r"font-family: [^;\"]*(;|(?=\"))", "", svg)
    svg = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", svg).replace("xlink:href", "href")
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return re.sub(r"\s*\n\s*", " ", svg).strip()

"""Google Drive asks before it sends a large file that it has not scanned; this answers as its button would."""

import html.parser
import urllib.parse
from typing import Any

HOSTS = ("drive.google.com", "docs.google.com", "drive.usercontent.google.com")
MAX_PAGE = 2**20  # bytes of the page with the question


def is_drive(url: str) -> bool:
    """Whether an address is one of Google Drive's."""
    return urllib.parse.urlsplit(url).hostname in HOSTS


class _Form(html.parser.HTMLParser):
    """The first form of a page: where it goes, and its hidden fields."""

    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form" and not self.action:
            self.action = found.get("action", "")
        if tag == "input" and found.get("type") == "hidden" and "name" in found:
            self.fields[found["name"]] = found.get("value", "")


def confirmed_link(response: Any) -> str | None:
    """What the button of the page opens; None if it is another page, or leads elsewhere."""
    form = _Form()
    form.feed(response.read(MAX_PAGE).decode("utf-8", errors="replace"))
    link = urllib.parse.urljoin(response.url, form.action) if form.action else ""
    return f"{link}?{urllib.parse.urlencode(form.fields)}" if form.fields and is_drive(link) else None

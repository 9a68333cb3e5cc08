"""A folder of results of the tiny zoo with their scores, and the page of it."""

import pytest

from tome_zoo import cards
from tome_zoo.evaluation.evaluator import evaluate
from tome_zoo.reports.page.write import write_page


@pytest.fixture(scope="session")
def evaluated(tiny_root, tmp_path_factory):
    """Folder of results of the tiny models at the r's of their cards."""
    folder = tmp_path_factory.mktemp("evaluated")
    cards.register_cards(tiny_root / "cards")
    try:
        for modality in ("image", "video", "audio"):
            name = f"tiny_{modality}.test"
            evaluate(name, tiny_root / modality, r=cards.model_card(name).merging.r, output=folder, time_timm=True)
    finally:
        cards.unregister_cards(tiny_root / "cards")
    return folder


@pytest.fixture(scope="session")
def page_file(evaluated, tiny_root, tmp_path_factory):
    """The page of that folder."""
    cards.register_cards(tiny_root / "cards")
    try:
        return write_page(evaluated, tmp_path_factory.mktemp("page") / "new" / "report.html")
    finally:
        cards.unregister_cards(tiny_root / "cards")

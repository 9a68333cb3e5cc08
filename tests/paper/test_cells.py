"""Rows of tables become cells: the cards against the models they name, and r for a part of the arithmetic."""

import pytest

from tome_zoo import count_macs, create_model, schedule
from tome_zoo.cards import baseline_cards, model_card, protocol_card, table_card, table_cards
from tome_zoo.errors import TomeZooError
from tome_zoo.merge import get_reducer
from tome_zoo.paper.cells import cells_on, own_cells, r_for_share, weights_by_model
from tome_zoo.weights.save import save_weights

TABLES = sorted(table_cards())
ROWS = [(name, row) for name in TABLES for row in table_card(name).filled_rows]


@pytest.mark.parametrize("name", TABLES)
def test_every_row_names_what_exists(name):
    card = table_card(name)
    for row in card.filled_rows:
        get_reducer(row.reducer)
        if row.baseline is not None:
            assert row.baseline in baseline_cards()
        if row.model is not None and not row.unavailable:
            assert model_card(row.model).modality == card.modality
            schedule.resolve(row.r, model_card(row.model).architecture.depth)
        if row.protocol is not None:
            assert protocol_card(row.protocol).modality == card.modality
        assert row.baseline or row.unavailable or row.r is not None or row.macs is not None


def printed():
    return {
        (row.model, schedule.format(row.r)): row.gmacs
        for _, row in ROWS
        if row.gmacs and row.model and not row.unavailable
    }


def test_printed_multiply_accumulates_are_those_of_the_models():
    checked = printed()
    models = {name: create_model(name, device="meta") for name, _ in checked}
    for (name, text), gmacs in checked.items():
        (r,) = schedule.parse(text)
        digits = len(f"{gmacs:g}".partition(".")[2])
        assert abs(count_macs(models[name], r).gmacs - gmacs) < 1.05 * 10**-digits, (name, text)
    assert len(checked) > 140


def test_scores_of_the_tables_are_those_that_the_cards_report():
    known = {
        (name, schedule.format(figure.r)): figure.top1
        for name in {row.model for _, row in ROWS if row.model}
        for figure in model_card(name).reported
        if not figure.note and "2210.09461" in figure.source
    }
    pairs = [
        (row.score, known[row.model, schedule.format(row.r)])
        for name, row in ROWS
        if name in ("table8", "table9") and (row.model, schedule.format(row.r)) in known
    ]
    assert all(mine == pytest.approx(theirs, abs=0.051) for mine, theirs in pairs)


def test_r_leaves_the_part_that_is_asked_for():
    model = create_model("demo_image.shapes", device="meta")
    whole = count_macs(model, 0).total
    for share, slope in ((0.6, None), (0.5, -1.0), (0.7, 1.0)):
        r = r_for_share("demo_image.shapes", share, slope)
        assert count_macs(model, r).total / whole == pytest.approx(share, abs=0.01)
        assert (slope is None) == isinstance(r, int)
    assert r_for_share("demo_image.shapes", 1.0) == 0


def test_a_grid_on_other_models_keeps_what_it_varies():
    cells = cells_on(table_card("table1"), ["demo_image.shapes"], {}, fetch=False)
    parts = {cell.row.part for cell in cells}
    assert {"feature", "distance", "heads", "combining", "partition", "prop. attention"} <= parts
    assert {cell.prop_attn for cell in cells if cell.row.part != "prop. attention"} == {None}
    assert {cell.prop_attn for cell in cells if cell.row.part == "prop. attention"} == {True, False}
    assert all(cell.substituted and not cell.reason for cell in cells)
    reducers = {
        cell.row.reducer: cell.reason
        for cell in cells_on(table_card("reducers"), ["demo_image.shapes"], {}, fetch=False)
    }
    assert "no class token" in reducers["evit"]
    assert len(reducers) == 11


def test_what_cannot_be_run_says_why():
    cells = own_cells(table_card("table5"), {}, fetch=False)
    reasons = {cell.row.choice.split(",")[0]: cell.reason for cell in cells}
    assert "a baseline" in reasons["Swin-B"]
    assert "only an encoder" in reasons["MAE ViT-L"]
    assert "timm or torchvision" in reasons["Swin-L"]
    with pytest.raises(TomeZooError, match="names no models"):
        own_cells(table_card("design_space"), {}, fetch=False)


def test_files_of_weights_say_of_which_model_they_are(tmp_path):
    file = save_weights(create_model("demo_image.shapes"), tmp_path / "seed0.safetensors")
    assert weights_by_model([str(file), f"other={file}"]) == {"demo_image.shapes": [file], "other": [file]}
    with pytest.raises(TomeZooError, match="found none"):
        weights_by_model([str(tmp_path / "none.pt")])
    (tmp_path / "silent.pt").write_bytes(b"?")
    with pytest.raises(TomeZooError, match="does not say"):
        weights_by_model([str(tmp_path / "silent.pt")])

"""What `list` and `info` say, against the models themselves."""

import json

import pytest

from tome_zoo import registry
from tome_zoo.cards import model_card, model_cards
from tome_zoo.reports import cards
from tome_zoo.transformer import macs

NAMES = sorted(model_cards())


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_the_built_model(name):
    model = registry.create_model(name, device="meta")
    assert cards.num_parameters(model.card.architecture) == sum(p.numel() for p in model.parameters())


def test_overview_tells_the_published_scores():
    row = cards.overview(model_card("vit_large_patch16_224.mae_ft_in1k"))
    assert (row["modality"], row["dataset"], row["metric"]) == ("image", "imagenet1k", "top1")
    assert row["score_r0"] == pytest.approx(85.95, abs=0.02)
    assert (row["default_r"], row["score_default_r"]) == ("8", 84.22)


def test_details_count_tokens_and_macs_at_every_r():
    card = model_card("vit_large_patch16_224.mae_ft_in1k")
    data = cards.details(card, [0, 8, (8, -1.0)])
    model = registry.create_model(card.name, device="meta")
    assert [row["r"] for row in data["merging"]] == ["0", "8", "8:-1"]
    for row, r in zip(data["merging"], [0, 8, (8, -1.0)], strict=True):
        count = macs.count_macs(model, r)
        assert (row["gmacs"], row["tokens"]) == (count.gmacs, list(count.tokens))
    assert data["merging"][0]["ratio"] == 1.0
    assert data["fast_path"] == "attention read, MLP read, last block computes all tokens (the head reads all tokens)"
    json.dumps(data, allow_nan=False)


@pytest.mark.parametrize("name", NAMES)
def test_every_card_can_be_shown(name):
    card = model_card(name)
    data = cards.details(card, [0])
    assert data["name"] == name
    assert data["dataset"]["name"] == card.dataset
    assert isinstance(data["weights"]["cached"], bool)
    pieces = cards.details_view(data)
    assert str(pieces[0]) == name


def test_the_overview_of_all_is_a_table():
    assert cards.overview_table(model_cards().values()).row_count == len(NAMES)


def test_an_encoder_shows_no_score():
    """What was reported of it belongs to a fine-tuned file that nobody has."""
    row = cards.overview(model_card("video_vit_large_patch16_224.mae_st_k400"))
    assert not row["classifier"]
    assert row["score_r0"] is row["score_default_r"] is None

"""What the embedded models can do, on a few samples of the validation split."""

import pytest
import torch
from tome_zoo.training.in_memory import Examples, decode, evaluate_examples

from tome_zoo import cards, create_model, demo
from tome_zoo.data.dataset import open_dataset

COUNT = 100


@pytest.fixture(scope="module", params=list(demo.RECIPES))
def shipped(request, tmp_path_factory):
    model = create_model(request.param, pretrained=True)
    card = cards.dataset_card(model.card.dataset)
    root = demo.write_data(card.name, tmp_path_factory.mktemp(card.name), count=COUNT)
    return model, decode(model, open_dataset(root, card, "val"))


def test_it_does_its_task_and_merging_costs_little_at_first(shipped):
    model, examples = shipped
    full = evaluate_examples(model, examples)
    assert full > 85
    assert evaluate_examples(model, examples, r=model.card.merging.default_r) > full - 8


def test_motions_need_the_order_of_the_frames(shipped):
    model, examples = shipped
    if model.card.modality != "video":
        pytest.skip("only videos have frames")
    generator = torch.Generator().manual_seed(0)
    shuffled = torch.stack([clip[:, torch.randperm(8, generator=generator)] for clip in examples.views])
    backwards = examples.views.flip(2)
    assert evaluate_examples(model, Examples(shuffled, examples.targets)) < 50
    assert evaluate_examples(model, Examples(backwards, examples.targets)) < 10
    opposite = examples.targets + 1 - 2 * (examples.targets % 2)  # classes come in pairs, each the other backwards
    assert evaluate_examples(model, Examples(backwards, opposite)) > 80


def test_the_files_are_small():
    sizes = [cards.model_card(name).weights.file.stat().st_size for name in demo.RECIPES]
    assert sum(sizes) < 12_000_000

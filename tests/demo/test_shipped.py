"""What the embedded models can do, on a few samples of the validation split."""

import pytest
import torch

from tome_zoo import cards, create_model, demo, evaluate
from tome_zoo.data.dataset import open_dataset
from tome_zoo.data.decode import decode

COUNT = 100


@pytest.fixture(scope="module", params=list(demo.MODELS))
def shipped(request, tmp_path_factory):
    model = create_model(request.param, pretrained=True)
    card = cards.dataset_card(model.card.dataset)
    root = demo.write_data(card.name, tmp_path_factory.mktemp(card.name), count=COUNT)
    return model, open_dataset(root, card, "val")


def test_it_does_its_task_and_merging_costs_little_at_first(shipped):
    model, data = shipped
    full, merged = evaluate(model, data, r=[0, model.card.merging.default_r])
    assert full.score > 85
    assert merged.score > full.score - 8


def test_motions_need_the_order_of_the_frames(shipped):
    model, data = shipped
    if model.card.modality != "video":
        pytest.skip("only videos have frames")
    clips = torch.cat([item.views for item in decode(data, range(COUNT), model.card, model.protocol)])
    targets = torch.tensor([sample.target for sample in data.samples])

    def accuracy(views, wanted):
        with torch.inference_mode():
            return 100 * (model(views).argmax(dim=1) == wanted).float().mean().item()

    generator = torch.Generator().manual_seed(0)
    shuffled = torch.stack([clip[:, torch.randperm(8, generator=generator)] for clip in clips])
    backwards = clips.flip(2)
    assert accuracy(shuffled, targets) < 50
    assert accuracy(backwards, targets) < 10
    opposite = targets + 1 - 2 * (targets % 2)  # classes come in pairs, each the other backwards
    assert accuracy(backwards, opposite) > 80


def test_the_files_are_small():
    sizes = [cards.model_card(name).weights.file.stat().st_size for name in demo.MODELS]
    assert sum(sizes) < 12_000_000

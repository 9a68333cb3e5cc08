"""The same counts as an evaluator written against timm alone: its loader, its transform, its model."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.utils import accuracy

import tome_zoo
from tome_zoo import create_model, evaluate

CARD = """
[[dataset]]
name = "noise"
modality = "image"
title = "Noise"
layout = "image_folder"
splits = { val = "val" }
num_classes = 12
license = "none"
origin = "a test"
obtain = "run the test"

[[model]]
name = "vit_small.noise"
modality = "image"
input = { mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225], interpolation = "bicubic", crop_pct = 0.875 }
weights = { file = "weights.safetensors", layout = "timm", license = "none" }
dataset = "noise"
protocol = "image_center_crop"

[model.architecture]
embed_dim = 48
depth = 2
num_heads = 3
patch_size = 16
img_size = 64
num_classes = 12
pool = "token"
"""


@pytest.fixture
def noise(tmp_path):
    """12 classes of 5 or 6 smooth random pictures of many sizes, JPEG and PNG."""
    from safetensors.torch import save_file

    generator = np.random.default_rng(0)
    for label in range(12):
        folder = tmp_path / "val" / f"class{label:02d}"
        folder.mkdir(parents=True)
        for number in range(5 + label % 2):
            pixels = generator.integers(0, 256, (4, 5, 3), dtype=np.uint8)
            width, height = generator.integers(50, 200, 2).tolist()
            image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
            image.save(folder / f"{number}.{'jpg' if number % 2 else 'png'}")
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=64, embed_dim=48, depth=2, num_heads=3, num_classes=12
    ).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    (tmp_path / "cards").mkdir()
    save_file(model.state_dict(), tmp_path / "cards" / "weights.safetensors")
    (tmp_path / "cards" / "noise.toml").write_text(CARD)
    tome_zoo.register_cards(tmp_path / "cards")
    yield tmp_path, model
    tome_zoo.cards.unregister_cards(tmp_path / "cards")


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_exact_counts_of_timms_validation(noise):
    root, model = noise
    config = resolve_data_config(
        {"input_size": (3, 64, 64), "interpolation": "bicubic", "crop_pct": 0.875,
         "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    )  # fmt: skip
    data = create_dataset("", root=str(root), split="val")
    loader = create_loader(
        data, input_size=config["input_size"], batch_size=7, use_prefetcher=False, interpolation="bicubic",
        mean=config["mean"], std=config["std"], crop_pct=config["crop_pct"], num_workers=0, persistent_workers=False,
    )  # fmt: skip
    hits, logits = np.zeros(2), []
    with torch.inference_mode():
        for images, targets in loader:
            logits.append(model(images))
            top1, top5 = accuracy(logits[-1], targets, topk=(1, 5))
            hits += [top1.item() / 100 * len(images), top5.item() / 100 * len(images)]
    (result,) = evaluate("vit_small.noise", root, batch_size=7)
    assert result.n_scored == len(data) == 66
    assert len(set(torch.cat(logits).argmax(1).tolist())) > 3, "a model of few answers shows little"
    assert round(result.top1 * 66 / 100, 6) == round(hits[0], 4)
    assert round(result.top5 * 66 / 100, 6) == round(hits[1], 4)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_merged_counts_of_a_patched_timm_model(noise):
    """The zoo at r = 3 against `patch` on timm's own model, picture by picture."""
    root, model = noise
    zoo = create_model("vit_small.noise", pretrained=True)
    tome_zoo.patch(model, r=3)
    files = sorted((root / "val").rglob("*.*"))
    hits = 0
    with torch.inference_mode():
        for path in files:
            hits += model(zoo.preprocess(path)).argmax(1).item() == int(path.parent.name[-2:])
    (result,) = evaluate(zoo, root, r=[3])
    assert result.top1 == pytest.approx(100 * hits / len(files))

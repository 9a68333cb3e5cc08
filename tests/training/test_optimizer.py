import math

import pytest
import torch

from tome_zoo import cards, create_model
from tome_zoo.training.optimizer import create_optimizer, create_scheduler, parameter_groups, peak_lr
from tome_zoo.training.recipe import with_settings


@pytest.mark.parametrize("pool", ["avg", "token"])
def test_layer_decay_follows_the_published_rule(pool):
    """With L blocks: embeddings 0, block i at i + 1, norm and head L + 1; scale decay^(L + 1 - k)."""
    depth = 4
    model = create_model("vit_base_patch16_224.mae_ft_in1k", depth=depth, embed_dim=24, num_heads=2, pool=pool)
    recipe = with_settings(cards.recipe_card("mae_image_finetune_base"), layer_decay=0.65)
    scales = {
        id(parameter): (group["lr_scale"], group["weight_decay"])
        for group in parameter_groups(model, recipe)
        for parameter in group["params"]
    }
    for name, parameter in model.named_parameters():
        layer = depth + 1
        if name.startswith(("cls_token", "pos_embed", "patch_embed")):
            layer = 0
        elif name.startswith("blocks."):
            layer = int(name.split(".")[1]) + 1
        scale, decay = scales[id(parameter)]
        assert scale == pytest.approx(0.65 ** (depth + 1 - layer)), name
        assert decay == (0.0 if parameter.ndim == 1 or name in ("cls_token", "pos_embed") else 0.05), name


def test_the_schedule_warms_up_linearly_and_falls_by_half_a_cosine():
    recipe = with_settings(cards.recipe_card("mae_image_finetune_base"), epochs=10, warmup_epochs=2, layer_decay=0.5)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    optimizer = torch.optim.SGD([{"params": model.parameters(), "lr_scale": 0.5}], lr=4.0)
    scheduler = create_scheduler(optimizer, recipe, steps_per_epoch=5, total=50)
    for step in range(50):
        scheduler.step_update(step)
        if step < 10:
            expected = 4.0 * step / 10
        else:
            expected = 1e-6 + (4.0 - 1e-6) * 0.5 * (1 + math.cos(math.pi * (step - 10) / 40))
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5 * expected, rel=1e-9)


def test_the_rate_is_proportional_to_the_batch():
    recipe = cards.recipe_card("mae_st_kinetics")
    assert peak_lr(recipe, 512) == pytest.approx(2 * 2.4e-3)
    assert peak_lr(with_settings(recipe, lr=0.1), 512) == 0.1


def test_muon_takes_the_matrices_of_the_blocks_alone():
    model = create_model("demo_image.shapes", embed_dim=24, depth=2, num_heads=2)
    optimizer = create_optimizer(model, cards.recipe_card("demo_shapes"), 1e-3)
    model(torch.randn(2, 3, 96, 96)).sum().backward()
    optimizer.step()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    by_muon = {names[id(p)] for p, state in optimizer.state.items() if "momentum_buffer" in state}
    assert by_muon == {n for n, p in model.named_parameters() if n.startswith("blocks.") and p.ndim == 2}

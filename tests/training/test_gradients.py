"""Gradients through merging, against the plain formula in float64 and finite differences."""

import pytest
import torch

from tome_zoo import create_model
from tome_zoo.merge import match

TINY = {"embed_dim": 8, "depth": 2, "num_heads": 2, "patch_size": 8, "img_size": 32, "num_classes": 3}


@pytest.fixture
def model():
    torch.manual_seed(3)
    made = create_model("demo_image.shapes", r=4, **TINY).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made.train()


@pytest.mark.parametrize("checkpointing", [False, True])
def test_finite_differences(model, checkpointing):
    model.set_grad_checkpointing(checkpointing)
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    names = ["blocks.0.attn.qkv.weight", "blocks.1.mlp.fc1.bias", "head.weight", "pos_embed"]
    chosen = [dict(model.named_parameters())[name] for name in names]

    def forward(*values):
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (x,))

    inputs = tuple(value.detach().clone().requires_grad_(True) for value in chosen)
    assert torch.autograd.gradcheck(forward, inputs, eps=1e-6, atol=1e-6, fast_mode=True)


def test_checkpointing_changes_no_gradient(model):
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    found = []
    for checkpointing in (False, True):
        model.set_grad_checkpointing(checkpointing)
        model.zero_grad()
        model(x).square().sum().backward()
        found.append([parameter.grad.clone() for parameter in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_a_block_equals_the_formula_written_out(model):
    """Attention with log sizes, merge by size-weighted mean, feed-forward: step by step, one sample at a time."""
    block, x = model.blocks[0], torch.randn(2, 16, 8, dtype=torch.float64)
    size = torch.randint(1, 4, (2, 16)).double()
    weight = torch.randn(2, 12, 8, dtype=torch.float64)

    def plain(sample, sizes):
        q, k, v = block.attn.qkv(block.norm1(sample)).view(16, 3, 2, 4).permute(1, 2, 0, 3)
        attention = (q @ k.transpose(1, 2) / 2.0 + sizes.log()).softmax(dim=-1)
        sample = sample + block.attn.proj((attention @ v).transpose(0, 1).reshape(16, 8))
        assign = match(k.mean(dim=0).float()[None], 4, 0)[0]
        rows = []
        for target in range(12):
            own = assign == target
            rows.append((sample[own] * sizes[own, None]).sum(dim=0) / sizes[own].sum())
        sample = torch.stack(rows)
        return sample + block.mlp(block.norm2(sample))

    one, other = x.clone().requires_grad_(True), x.clone().requires_grad_(True)
    (block(one, size.float(), None, 4)[0] * weight).sum().backward()
    (torch.stack([plain(*pair) for pair in zip(other, size, strict=True)]) * weight).sum().backward()
    assert torch.allclose(one.grad, other.grad, atol=1e-5)

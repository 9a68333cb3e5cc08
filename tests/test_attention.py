"""Proportional attention against a float64 loop and against the definition: a token of size s counts s times."""

import math

import pytest
import torch
from timm.layers import Attention

from tome_zoo.attention import attend, size_bias


def test_a_token_of_size_s_attracts_as_s_tokens():
    attn = Attention(24, num_heads=3, qkv_bias=True).double().eval()
    x = torch.randn(2, 5, 24, dtype=torch.float64)
    size = torch.tensor([[1.0, 2, 1, 3, 1]] * 2)
    repeated = x.repeat_interleave(size[0].long(), dim=1)
    y, keys = attend(attn, x, size)
    expected = attn(repeated)[:, [0, 1, 3, 4, 7]]
    torch.testing.assert_close(y, expected, atol=1e-7, rtol=1e-6)
    assert keys.shape == (2, 5, 8)


def test_against_a_loop():
    attn = Attention(8, num_heads=2).double().eval()
    x = torch.randn(1, 4, 8, dtype=torch.float64)
    size = torch.tensor([[1.0, 5.0, 2.0, 9.0]])
    q, k, v = attn.qkv(x).detach().reshape(4, 3, 2, 4).permute(1, 2, 0, 3)
    heads = torch.zeros(4, 2, 4, dtype=torch.float64)
    for h in range(2):
        for i in range(4):
            weights = [size[0, j].item() * math.exp(float(q[h, i] @ k[h, j]) / 2) for j in range(4)]
            heads[i, h] = sum(w / sum(weights) * v[h, j] for j, w in enumerate(weights))
    y, keys = attend(attn, x, size)
    torch.testing.assert_close(y[0], attn.proj(heads.flatten(1)), atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(keys[0].double(), (k[0] + k[1]) / 2, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    "options", [{}, {"qk_norm": True}, {"scale_norm": True}, {"gated": True}, {"attn_head_dim": 10}], ids=str
)
def test_every_part_of_timms_attention_is_used(options):
    attn = Attention(24, num_heads=3, norm_layer=torch.nn.LayerNorm, **options).eval()
    for parameter in attn.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(2, 6, 24)
    torch.testing.assert_close(attend(attn, x)[0], attn(x))
    torch.testing.assert_close(attend(attn, x, torch.ones(2, 6))[0], attn(x))


def test_no_sizes_no_bias():
    assert size_bias(None, torch.float32) is None
    assert size_bias(torch.full((2, 3), math.e), torch.bfloat16).shape == (2, 1, 1, 3)

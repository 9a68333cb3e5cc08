"""Proportional attention against a float64 loop and against the definition: a token of size s counts s times."""

import math

import pytest
import torch

from tome_zoo.transformer.attention import (
    MergingAttention,
    attend,
    choose_kernel,
    mean_keys,
    read_attention,
    size_bias,
    weighted_attention,
)
from tome_zoo.transformer.kernels import cpu_attention


def test_a_token_of_size_s_attracts_as_s_tokens():
    attn = MergingAttention(24, num_heads=3, qkv_bias=True).double().eval()
    x = torch.randn(2, 5, 24, dtype=torch.float64)
    size = torch.tensor([[1.0, 2, 1, 3, 1]] * 2)
    repeated = x.repeat_interleave(size[0].long(), dim=1)
    y, keys = attend(attn, x, size)
    expected = attn(repeated)[:, [0, 1, 3, 4, 7]]
    torch.testing.assert_close(y, expected, atol=1e-7, rtol=1e-6)
    assert keys.shape == (2, 3, 5, 8)


def test_against_a_loop():
    attn = MergingAttention(8, num_heads=2).double().eval()
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
    torch.testing.assert_close(keys[0], k)
    torch.testing.assert_close(mean_keys(keys)[0].double(), k[0] + k[1], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    "options", [{}, {"qk_norm": True}, {"scale_norm": True}, {"gated": True}, {"attn_head_dim": 10}], ids=str
)
def test_every_part_of_timms_attention_is_used(options):
    attn = MergingAttention(24, num_heads=3, norm_layer=torch.nn.LayerNorm, **options).eval()
    for parameter in attn.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(2, 6, 24)
    torch.testing.assert_close(attend(attn, x)[0], attn(x))
    torch.testing.assert_close(attend(attn, x, torch.ones(2, 6))[0], attn(x))
    size = torch.rand(2, 6) * 4 + 1
    for way in (attend, read_attention):
        torch.testing.assert_close(read_attention(attn, x, size, n_queries=2)[0], way(attn, x, size)[0][:, :2])


def test_a_wrapped_projection_is_called():
    attn, seen = MergingAttention(24, num_heads=3).eval(), []
    x = torch.randn(2, 6, 24)
    expected, keys = attend(attn, x)
    attn.qkv = torch.nn.Sequential(attn.qkv)
    attn.qkv.register_forward_hook(lambda *_: seen.append(1))
    found, found_keys = attend(attn, x)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found_keys, keys)
    assert seen == [1]


def test_no_sizes_no_bias():
    assert size_bias(None, torch.float32) is None
    assert size_bias(torch.full((2, 3), math.e), torch.bfloat16).shape == (2, 1, 1, 3)


def exact(q, k, v, size):
    """Every key counts `size` times, in float64."""
    logits = q.double() @ k.double().transpose(2, 3) / q.shape[3] ** 0.5
    powers = (logits - logits.amax(-1, keepdim=True)).exp() * (1 if size is None else size.double()[:, None, None])
    return powers / powers.sum(-1, keepdim=True) @ v.double()


@pytest.mark.parametrize("shape", [(1, 1, 5, 8), (3, 4, 37, 16), (5, 3, 200, 8), (1, 2, 900, 4)], ids=str)
@pytest.mark.parametrize("sized", [False, True])
def test_scores_in_pieces(shape, sized, monkeypatch):
    monkeypatch.setattr(cpu_attention, "CACHE_BYTES", 2**15)
    batch, heads, n_tokens, width = shape
    q, k, v = torch.randn(batch, n_tokens, 3, heads, width).bfloat16().permute(2, 0, 3, 1, 4).unbind(0)
    size = torch.randint(1, 9, (batch, n_tokens)).float() if sized else None
    y = cpu_attention.chunked_attention(q, k, v, None if size is None else size.log())
    expected = exact(q, k, v, size)
    assert (y - expected).norm() < 2e-2 * expected.norm()


def test_chunks_are_for_inference_in_bfloat16_only(monkeypatch):
    monkeypatch.setattr(cpu_attention, "BF16_IS_NATIVE", True)
    cpu = torch.device("cpu")
    assert choose_kernel(cpu, torch.bfloat16, by_size=True) == "chunked"
    assert choose_kernel(cpu, torch.bfloat16, by_size=False, n_scores=2**17) == "chunked"
    assert choose_kernel(cpu, torch.bfloat16, by_size=False, n_scores=2**16) == "fused"
    assert choose_kernel(cpu, torch.bfloat16, by_size=True, gradients=True) == "fused, masked"
    assert choose_kernel(cpu, torch.bfloat16, by_size=True, dropout=True) == "fused, masked"
    assert choose_kernel(cpu, torch.float32, by_size=False) == "fused"
    q = torch.randn(2, 4, 128, 8).bfloat16()
    with torch.inference_mode():
        assert torch.equal(weighted_attention(q, q, q, None), cpu_attention.chunked_attention(q, q, q, None))


def test_16_bits_on_gpus_take_extra_channels():
    gpu = torch.device("cuda")
    assert choose_kernel(gpu, torch.bfloat16, by_size=True) == "fused, extra channels"
    assert choose_kernel(gpu, torch.float16, by_size=True, dropout=True) == "fused, masked"
    assert choose_kernel(gpu, torch.float32, by_size=True) == "fused, masked"
    assert choose_kernel(gpu, torch.bfloat16, by_size=False) == "fused"

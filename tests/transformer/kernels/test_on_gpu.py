"""What only a GPU can show: the whole path on it against the CPU's, and the memory of matching long inputs."""

import pytest
import torch

from tome_zoo.merge import SCORES, match, pair
from tome_zoo.transformer.architecture import Architecture
from tome_zoo.transformer.build import build

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-2), (torch.float16, 2e-2)])
@pytest.mark.parametrize("prop_attn", [False, True])
def test_a_model_gives_what_it_gives_on_the_cpu(dtype, tolerance, prop_attn):
    shape = Architecture(embed_dim=128, depth=4, num_heads=2, patch_size=8, img_size=112, num_classes=5)
    model, x = build(shape, r=9, prop_attn=prop_attn), torch.randn(3, 3, 112, 112)
    with torch.inference_mode():
        expected = model(x)
        found = model.to("cuda", dtype)(x.to("cuda", dtype)).float().cpu()
    assert (found - expected).norm() < tolerance * expected.norm() * (1 if dtype == torch.float32 else 5)


def test_matching_on_the_gpu_is_the_cpus():
    keys = torch.randn(4, 1569, 64)
    assert (match(keys.cuda(), 65, 1).cpu() == match(keys, 65, 1)).float().mean() > 0.999


def test_long_inputs_are_matched_in_pieces():
    keys = torch.randn(2, 12544, 64, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    pair(keys, 500)
    assert torch.cuda.max_memory_allocated() - before < 4 * SCORES * 3 + 16 * keys.numel()

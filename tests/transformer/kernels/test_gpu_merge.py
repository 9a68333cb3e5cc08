"""The Triton merge against the plain one: on a GPU where there is one, else under Triton's interpreter.

The interpreter has to be chosen before Triton is imported, so that this module runs itself again in another process.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

GPU = torch.cuda.is_available()
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if GPU else "cpu"

runs_here = pytest.mark.skipif(not GPU and not INTERPRETED, reason="run by test_under_the_interpreter")


@pytest.mark.skipif(GPU or INTERPRETED, reason="the tests below run in this process")
def test_under_the_interpreter():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__).resolve())]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    root = Path(__file__).parents[3]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def problem(batch, n_tokens, channels, r, protected, dtype, sized):
    from tome_zoo.merge import pair

    x, attended = torch.randn(2, batch, n_tokens, channels, device=DEVICE).to(dtype)
    size = torch.randint(1, 90, (batch, n_tokens), device=DEVICE).float() if sized else None
    # few distinct keys, so that many tokens merge into one
    metric = torch.randn(5, 6, device=DEVICE)[torch.randint(0, 5, (batch, n_tokens), device=DEVICE)]
    return x, attended, size, pair(metric, r, protected)


@runs_here
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(2, 33, 24, 9, 1), (1, 10, 40, 5, 0), (3, 21, 7, 1, 2)], ids=str)
@pytest.mark.parametrize("sized", [False, True])
def test_equals_the_plain_merge(shape, dtype, sized):
    from tome_zoo.merge import assignment, merge_pairs, unmerge
    from tome_zoo.transformer.kernels import gpu_merge

    x, attended, size, pairs = problem(*shape, dtype, sized)
    merged, merged_size = gpu_merge.merge_residual(x, attended, size, pairs)
    expected, expected_size = merge_pairs(x + attended, size, pairs)
    assert merged.dtype == dtype
    assert torch.equal(merged_size, expected_size)
    tolerance = {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 1e-2}[dtype]
    torch.testing.assert_close(merged, expected, atol=5 * tolerance, rtol=tolerance)
    assign = assignment(pairs)
    alone = (assign.unsqueeze(1) == assign.unsqueeze(2)).sum(2) == 1
    if GPU or dtype != torch.bfloat16:  # the interpreter cuts float32 down to bfloat16 instead of rounding
        assert torch.equal(unmerge(merged, assign)[alone], (x + attended)[alone])


@runs_here
def test_gradients_equal_those_of_the_plain_merge():
    from tome_zoo.merge import merge_pairs
    from tome_zoo.transformer.kernels import gpu_merge

    x, attended, size, pairs = problem(2, 25, 12, 10, 1, torch.float32, True)
    weight = torch.randn(2, 15, 12, device=DEVICE)
    found = []
    for function in (gpu_merge.merge_residual, lambda x, y, size, pairs: merge_pairs(x + y, size, pairs)):
        inputs = x.clone().requires_grad_(), attended.clone().requires_grad_()
        (function(*inputs, size, pairs)[0] * weight).sum().backward()
        found.append([each.grad for each in inputs])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@runs_here
def test_it_is_a_proper_operator():
    """Fake tensors, autograd and dispatch agree, as torch.compile needs them to."""
    from tome_zoo.transformer.kernels import gpu_merge

    x, attended, size, pairs = problem(2, 15, 8, 4, 1, torch.float32, True)
    order = pairs.partner.argsort(dim=1, stable=True)
    partner = pairs.partner.gather(1, order)
    starts = torch.searchsorted(partner, torch.arange(pairs.n_b + 1, device=DEVICE).expand(2, -1).contiguous())
    arguments = (x.requires_grad_(), attended, size, pairs.keep, pairs.source.gather(1, order), partner, starts)
    torch.library.opcheck(gpu_merge._merge_residual, arguments, test_utils=("test_schema", "test_faketensor"))


@runs_here
def test_a_whole_model_merges_alike(monkeypatch):
    from tome_zoo.transformer.architecture import Architecture
    from tome_zoo.transformer.build import build
    from tome_zoo.transformer.kernels import gpu_merge

    shape = Architecture(embed_dim=32, depth=3, num_heads=2, patch_size=8, img_size=48, num_classes=5)
    model, x = build(shape, r=6).to(DEVICE), torch.randn(2, 3, 48, 48, device=DEVICE)
    monkeypatch.setattr(gpu_merge, "usable", lambda tokens: False)
    plain = model(x)
    calls = []
    kernel = gpu_merge.merge_residual
    monkeypatch.setattr(gpu_merge, "usable", lambda tokens: True)
    monkeypatch.setattr(gpu_merge, "merge_residual", lambda *inputs: (calls.append(0), kernel(*inputs))[1])
    torch.testing.assert_close(model(x), plain, atol=1e-5, rtol=1e-5)
    assert calls

"""`python -m tome_zoo.benchmark.kernels`: times the forms of weighted attention, and the merge, on the GPU at hand."""

import statistics
from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional as F

from tome_zoo.merge import merge_pairs, pair
from tome_zoo.transformer.kernels import gpu_merge
from tome_zoo.transformer.kernels.gpu_attention import KERNELS

SHAPES = ((64, 16, 197, 64), (64, 16, 101, 64), (16, 16, 1025, 64), (16, 16, 1370, 80), (8, 16, 1569, 64))
ROUNDS = 30


def milliseconds(function: Callable[[], object]) -> float:
    """Median time of a call on the current GPU, behind three to warm up."""
    times = []
    for _ in range(ROUNDS + 3):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        function()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times[3:])


def times(batch: int, heads: int, tokens: int, width: int) -> dict[str, float]:
    """ms in bfloat16 of unweighted flash attention, each weighted form, matching, and the merge in both ways."""
    qkv = torch.randn(batch, tokens, 3, heads, width, device="cuda", dtype=torch.bfloat16)
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    size = torch.randint(1, 9, (batch, tokens), device="cuda").float()
    x, attended = torch.randn(2, batch, tokens, heads * width, device="cuda", dtype=torch.bfloat16)
    keys, r = k.float().sum(dim=1), tokens // 24
    pairs = pair(keys, r, 1)
    forms = KERNELS | {"flex": torch.compile(KERNELS["flex"])}
    found = {name: milliseconds(partial(form, q, k, v, size.log())) for name, form in forms.items()}
    return {
        "plain": milliseconds(partial(F.scaled_dot_product_attention, q, k, v)),
        **found,
        "match": milliseconds(partial(pair, keys, r, 1)),
        "residual and merge": milliseconds(lambda: merge_pairs(x + attended, size, pairs)),
        "in one kernel": milliseconds(partial(gpu_merge.merge_residual, x, attended, size, pairs)),
    }


if __name__ == "__main__":
    if not torch.cuda.is_available():
        raise SystemExit("expected a CUDA device, found none: these kernels are for GPUs")
    with torch.inference_mode():
        for shape in SHAPES:
            print(shape, ", ".join(f"{name} {time:.3f} ms" for name, time in times(*shape).items()), flush=True)

"""One pass over the tokens on a GPU: residual, merge and sizes in a Triton kernel.

Every outgoing token is made by one program, which reads the tokens that it consists of: no atomics, and no order of
summation that changes from run to run. `tome_zoo.merge.merge_pairs` is its reference.
"""

import torch
from torch import Tensor

from tome_zoo.merge import Pairs, assignment

try:
    import triton
    import triton.language as tl
except ImportError:  # no wheel for this machine: the plain path does it
    triton = None

FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def usable(x: Tensor) -> bool:
    """Whether `merge_residual` can take these tokens: on a CUDA device, where Triton is installed."""
    return triton is not None and x.is_cuda and x.dtype in FLOATS


def merge_residual(x: Tensor, attended: Tensor, size: Tensor | None, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """`merge_pairs(x + attended, size, pairs)` in one kernel.

    Args:
        x: Tokens, `[batch, tokens, channels]`, float32, bfloat16 or float16.
        attended: What attention adds to them, as `x`.
        size: Original tokens in each, float32 `[batch, tokens]`; None means one each.
        pairs: From `pair`.

    Returns:
        Merged tokens `[batch, n_out, channels]`, and their sizes, float32 `[batch, n_out]`.
    """
    if size is None:
        size = torch.ones(x.shape[:2], dtype=torch.float32, device=x.device)
    order = pairs.partner.argsort(dim=1, stable=True)
    partner = pairs.partner.gather(1, order)
    edges = torch.arange(pairs.n_b + 1, device=x.device).expand(x.shape[0], -1).contiguous()
    starts = torch.searchsorted(partner, edges)  # sources of B token i: starts[i] to starts[i + 1]
    return _merge_residual(x, attended.to(x.dtype), size, pairs.keep, pairs.source.gather(1, order), partner, starts)


@torch.library.custom_op("tome_zoo::merge_residual", mutates_args=())
def _merge_residual(
    x: Tensor, attended: Tensor, size: Tensor, keep: Tensor, source: Tensor, partner: Tensor, starts: Tensor
) -> tuple[Tensor, Tensor]:
    batch, n_tokens, channels = x.shape
    n_out = keep.shape[1]
    merged, merged_size = x.new_empty(batch, n_out, channels), size.new_empty(batch, n_out)
    _kernel[(n_out, batch)](
        x.contiguous(), attended.contiguous(), size.contiguous(), keep.contiguous(), source.contiguous(), starts,
        merged, merged_size, n_tokens, n_out, starts.shape[1] - 1, source.shape[1], channels,
        BLOCK=triton.next_power_of_2(channels),
    )  # fmt: skip
    return merged, merged_size


@_merge_residual.register_fake
def _(
    x: Tensor, attended: Tensor, size: Tensor, keep: Tensor, source: Tensor, partner: Tensor, starts: Tensor
) -> tuple[Tensor, Tensor]:
    shape = (x.shape[0], keep.shape[1])
    return x.new_empty(*shape, x.shape[2]), size.new_empty(*shape)


def _keep_for_backward(ctx, inputs, output) -> None:
    _, _, size, keep, source, partner, starts = inputs
    ctx.n_b = starts.shape[1] - 1
    ctx.save_for_backward(size, output[1], keep, source, partner)


def _backward(ctx, grad: Tensor, _: Tensor) -> tuple:
    size, merged_size, keep, source, partner = ctx.saved_tensors
    assign = assignment(Pairs(keep, source, partner, 0, ctx.n_b))
    weight = (size / merged_size.gather(1, assign)).unsqueeze(-1)
    spread = grad.gather(1, assign.unsqueeze(-1).expand(-1, -1, grad.shape[2]))
    each = (spread.float() * weight).to(grad.dtype)
    return each, each, None, None, None, None, None


_merge_residual.register_autograd(_backward, setup_context=_keep_for_backward)


if triton is not None:

    @triton.jit
    def _sum(x, attended, inside):
        """The residual sum of one token, rounded as its dtype rounds it, in float32."""
        one = tl.load(x, mask=inside, other=0.0).to(tl.float32)
        other = tl.load(attended, mask=inside, other=0.0).to(tl.float32)
        return (one + other).to(x.dtype.element_ty).to(tl.float32)

    @triton.jit
    def _kernel(
        x, attended, size, keep, source, starts, merged, merged_size, n_tokens, n_out, n_b, r, channels,
        BLOCK: tl.constexpr,  # noqa: N803
    ):  # fmt: skip
        slot, sample = tl.program_id(0), tl.program_id(1).to(tl.int64)
        column = tl.arange(0, BLOCK)
        inside = column < channels
        x += sample * n_tokens * channels
        attended += sample * n_tokens * channels
        size += sample * n_tokens

        position = tl.load(keep + sample * n_out + slot)
        at = position * channels + column
        base = _sum(x + at, attended + at, inside)
        total = tl.load(size + position)
        change = tl.zeros([BLOCK], dtype=tl.float32)
        of_b = slot - (n_out - n_b)  # which B token it is; negative for the others
        if of_b >= 0:
            first = tl.load(starts + sample * (n_b + 1) + of_b)
            last = tl.load(starts + sample * (n_b + 1) + of_b + 1)
            for number in range(first, last):
                position = tl.load(source + sample * r + number)
                at = position * channels + column
                weight = tl.load(size + position)
                change += (_sum(x + at, attended + at, inside) - base) * weight
                total += weight
        result = (base + change / total).to(merged.dtype.element_ty)
        out = (sample * n_out + slot) * channels + column
        tl.store(merged + out, result, mask=inside)
        tl.store(merged_size + sample * n_out + slot, total)

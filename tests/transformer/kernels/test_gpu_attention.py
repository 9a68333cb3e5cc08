"""Each form of weighted attention against an explicit softmax in float64."""

import pytest
import torch

from tome_zoo.transformer.kernels.gpu_attention import KERNELS


def exact(q, k, v, log_size):
    logits = q.double() @ k.double().transpose(2, 3) / q.shape[3] ** 0.5 + log_size.double()[:, None, None]
    return logits.softmax(-1) @ v.double()


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("form", KERNELS)
@pytest.mark.parametrize(("heads", "width"), [(2, 16), (3, 64), (1, 80), (2, 22)])
def test_equals_an_explicit_softmax(form, heads, width):
    if form == "flex" and width & (width - 1):
        pytest.skip("FlexAttention wants a power of two on the CPU")
    q, k, v = torch.randn(3, 2, heads, 37, width)
    log_size = torch.randint(1, 400, (2, 37)).float().log()
    y = KERNELS[form](q, k, v, log_size)
    torch.testing.assert_close(y.double(), exact(q, k, v, log_size), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_large_sizes_survive_16_bits(dtype):
    """With equal keys the weights are the sizes alone: the remainder channel keeps them to four digits."""
    size = torch.tensor([[1.0, 3.0, 250.0, 1000.0, 12544.0]])
    q, k = torch.randn(1, 2, 1, 64).to(dtype), torch.zeros(1, 2, 5, 64, dtype=dtype)
    v = torch.eye(5, 64).to(dtype).expand(1, 2, 5, 64)
    y = KERNELS["extra channels"](q, k, v, size.log())[0, 0, 0, :5]
    torch.testing.assert_close(y.float(), (size / size.sum())[0], rtol=1e-2, atol=1e-3)


def test_gradients_flow_through_the_extra_channels():
    q, k, v = (torch.randn(1, 2, 9, 16, dtype=torch.float64, requires_grad=True) for _ in range(3))
    log_size = torch.rand(1, 9).double()
    one = torch.autograd.grad(KERNELS["extra channels"](q, k, v, log_size).square().sum(), (q, k, v))
    other = torch.autograd.grad(exact(q, k, v, log_size).square().sum(), (q, k, v))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)

"""Linear layers by oneDNN: the same numbers as torch's own, and torch's own wherever somebody looks on."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from tome_zoo.transformer.architecture import Architecture
from tome_zoo.transformer.build import build
from tome_zoo.transformer.kernels import cpu_linear as module
from tome_zoo.transformer.kernels.cpu_linear import linear_gelu, usable

pytestmark = pytest.mark.skipif(not module.IS_PRESENT, reason="needs a torch with oneDNN")
SMALL = Architecture(embed_dim=32, depth=2, num_heads=2, patch_size=8, img_size=32, num_classes=5)


@pytest.fixture(autouse=True)
def _wanted(monkeypatch):
    """Whatever the processor, oneDNN is taken."""
    monkeypatch.setattr(module.devices, "made_by_intel", lambda: False)
    monkeypatch.setattr(module.cpu_attention, "BF16_IS_NATIVE", True)


def parameters(dtype=torch.float32, bias=True):
    return torch.randn(48, 24, dtype=dtype) / 5, torch.randn(48, dtype=dtype) if bias else None


class Seen(TorchDispatchMode):
    """The names of the operators that run."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.name())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)], ids=str)
@pytest.mark.parametrize("shape", [(24,), (7, 24), (2, 5, 24), (0, 5, 24)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("gelu", [True, False])
def test_equals_float64(shape, dtype, tolerance, bias, gelu):
    x, (weight, offset) = torch.randn(shape, dtype=dtype), parameters(dtype, bias)
    expected = F.linear(x.double(), weight.double(), None if offset is None else offset.double())
    expected = F.gelu(expected) if gelu else expected
    with torch.no_grad():
        assert usable(x, weight, offset)
        y = linear_gelu(x, weight, offset, gelu)
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), expected, atol=tolerance, rtol=tolerance)


def test_rows_of_a_weight_and_columns_of_tokens():
    x, (weight, bias) = torch.randn(3, 9, 24), parameters()
    with torch.no_grad():
        y = linear_gelu(x[:, :2], weight[:16], bias[:16])
        torch.testing.assert_close(y, F.linear(x[:, :2], weight[:16], bias[:16]), atol=1e-5, rtol=1e-5)


def test_only_inference_that_nobody_looks_at():
    x, (weight, bias) = torch.randn(2, 24), parameters()
    assert not usable(x, weight, bias)  # gradients are on
    with torch.no_grad():
        assert usable(x, weight, bias)
        assert not usable(x.double(), weight.double(), bias.double())
        assert not usable(x, weight.bfloat16(), bias)
        assert not usable(x.to("meta"), weight.to("meta"), bias.to("meta"))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert not usable(x, weight, bias)
            assert linear_gelu(x, weight, bias).dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning", "ignore::torch.jit.TracerWarning")
def test_traced_and_exported_models_hold_torchs_operators_only():
    model, x = build(SMALL, r=3), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        with Seen() as seen:
            model(x)
        assert "mkldnn::_linear_pointwise" in seen.names
        assert "mkldnn" not in str(torch.jit.trace(model, x, check_trace=False).inlined_graph)
        assert "mkldnn" not in str(torch.export.export(model, (x,)).graph)


def test_intels_processors_keep_mkl(monkeypatch):
    monkeypatch.setattr(module.devices, "made_by_intel", lambda: True)
    x, (weight, bias) = torch.randn(2, 24), parameters()
    with torch.no_grad():
        assert not usable(x, weight, bias)
        assert usable(x.bfloat16(), weight.bfloat16(), bias.bfloat16())

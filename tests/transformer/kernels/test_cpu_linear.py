"""Linear layers by oneDNN: the same numbers as torch's own, and torch's own wherever somebody looks on."""

import pytest
import torch
from timm.layers import GluMlp, Mlp
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from tome_zoo.transformer.architecture import Architecture
from tome_zoo.transformer.kernels import cpu_linear as module
from tome_zoo.transformer.kernels.cpu_linear import feed_forward, linear, product, usable
from tome_zoo.transformer.vit import build

pytestmark = pytest.mark.skipif(not module.PRESENT, reason="needs a torch with oneDNN")
SMALL = Architecture(embed_dim=32, depth=2, num_heads=2, patch_size=8, img_size=32, num_classes=5)


@pytest.fixture(autouse=True)
def _wanted(monkeypatch):
    """Whatever the processor, oneDNN is taken."""
    monkeypatch.setattr(module.devices, "made_by_intel", lambda: False)
    monkeypatch.setattr(module.cpu_attention, "NATIVE", True)


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
        y = product(x, weight, offset, gelu)
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), expected, atol=tolerance, rtol=tolerance)


def test_rows_of_a_weight_and_columns_of_tokens():
    x, (weight, bias) = torch.randn(3, 9, 24), parameters()
    with torch.no_grad():
        y = product(x[:, :2], weight[:16], bias[:16])
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
            assert product(x, weight, bias).dtype == torch.bfloat16

        class Sharded(torch.Tensor):
            """As the parameters of parallel and quantised models are."""

        assert not usable(x, weight.as_subclass(Sharded), bias)


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


MLPS = {
    "plain": lambda: Mlp(24, 48),
    "norm": lambda: Mlp(24, 48, norm_layer=nn.LayerNorm),
    "tanh": lambda: Mlp(24, 48, act_layer=lambda: nn.GELU(approximate="tanh")),
    "SiLU": lambda: Mlp(24, 48, act_layer=nn.SiLU),
    "gated": lambda: GluMlp(24, 48),
    "no bias": lambda: Mlp(24, 48, bias=False),
    "wrapped": lambda: _wrapped(Mlp(24, 48)),
    "convolution": lambda: Mlp(24, 48, use_conv=True),
}


class _Doubled(nn.Linear):
    """As low-rank adapters are: a linear layer that does more."""

    def forward(self, x):
        return 2 * super().forward(x)


def _wrapped(mlp):
    mlp.fc1, mlp.fc2 = _Doubled(24, 48), _Doubled(48, 24)
    return mlp


@pytest.mark.parametrize("make", MLPS)
def test_any_mlp(make):
    mlp = MLPS[make]().eval()
    x = torch.randn(3, 24, 5, 5) if make == "convolution" else torch.randn(3, 5, 24)
    with torch.no_grad():
        torch.testing.assert_close(feed_forward(mlp, x), mlp(x), atol=1e-5, rtol=1e-5)
    assert torch.equal(feed_forward(mlp, x), mlp(x))  # with gradients on, torch's own


def test_dropout_drops_in_training():
    mlp, x = Mlp(24, 48, drop=0.5).train(), torch.randn(64, 24)
    with torch.no_grad():
        torch.manual_seed(1)
        y = feed_forward(mlp, x)
        torch.manual_seed(1)
        torch.testing.assert_close(y, mlp(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["", "fc1", "act", "drop1", "fc2"])
def test_hooks_are_called(name):
    mlp, x, seen = Mlp(24, 48).eval(), torch.randn(2, 24), []
    hooked = mlp.get_submodule(name)
    hooked.register_forward_hook(lambda *_: seen.append(1))
    hooked.register_forward_pre_hook(lambda *_: seen.append(1))
    with torch.no_grad():
        torch.testing.assert_close(feed_forward(mlp, x), mlp(x), atol=1e-5, rtol=1e-5)
        assert len(seen) == 4
        layer = nn.Linear(24, 8)
        layer.register_forward_hook(lambda *_: seen.append(1))
        linear(layer, x)
    assert len(seen) == 5


def test_flops_are_counted():
    mlp, x = Mlp(24, 48).eval(), torch.randn(2, 7, 24)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        feed_forward(mlp, x)
    assert counter.get_total_flops() == 2 * 2 * 7 * (24 * 48 + 48 * 24)


def test_vectorised_over_inputs():
    layer, x = nn.Linear(24, 8), torch.randn(4, 3, 24)
    with torch.no_grad():
        y = torch.vmap(lambda part: linear(layer, part))(x)
        torch.testing.assert_close(y, layer(x), atol=1e-5, rtol=1e-5)

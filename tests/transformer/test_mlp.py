"""The MLP read or called: the same numbers, and every hook is called."""

import pytest
import torch
from timm.layers import GluMlp, Mlp
from torch import nn

from tome_zoo.transformer.kernels import cpu_attention, cpu_linear
from tome_zoo.transformer.mlp import feed_forward


@pytest.fixture(autouse=True)
def _wanted(monkeypatch):
    """Whatever the processor, oneDNN is taken."""
    monkeypatch.setattr(cpu_linear.devices, "made_by_intel", lambda: False)
    monkeypatch.setattr(cpu_attention, "BF16_IS_NATIVE", True)


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


def test_flops_are_counted(flops):
    mlp, x = Mlp(24, 48).eval(), torch.randn(2, 7, 24)
    with torch.no_grad(), flops() as counter:
        feed_forward(mlp, x)
    assert counter.total == 2 * 2 * 7 * (24 * 48 + 48 * 24)


def test_parameters_that_are_no_plain_tensors_are_not_read():
    class Sharded(torch.Tensor):
        """As the parameters of parallel and quantised models are."""

    mlp, x = Mlp(24, 48).eval(), torch.randn(2, 24)
    expected = mlp(x)
    weight = mlp.fc1.weight.detach()
    del mlp.fc1.weight
    mlp.fc1.weight = weight.as_subclass(Sharded)
    with torch.no_grad():
        torch.testing.assert_close(feed_forward(mlp, x).as_subclass(torch.Tensor), expected, atol=1e-5, rtol=1e-5)


def test_vectorised_over_inputs():
    mlp, x = Mlp(24, 48).eval(), torch.randn(4, 3, 24)
    with torch.no_grad():
        y = torch.vmap(lambda part: feed_forward(mlp, part))(x)
        torch.testing.assert_close(y, mlp(x), atol=1e-5, rtol=1e-5)

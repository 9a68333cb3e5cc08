import pytest
import torch

from tome_zoo.errors import TomeZooError
from tome_zoo.training.augment.tensors import AUGMENTATIONS, chain


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("shape", [(6, 3, 32, 32), (6, 1, 48, 16), (6, 3, 4, 16, 16)])
def test_shapes_stay_and_a_seed_repeats(name, shape):
    if name == "turn" and shape[-1] != shape[-2]:
        pytest.skip("turns are for squares")
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    first, again = (AUGMENTATIONS[name](x, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.shape == x.shape
    assert torch.equal(first, again)
    assert torch.equal(x, before)


def test_all_but_noise_keep_the_values():
    x = torch.randn(8, 3, 16, 16)
    for name in set(AUGMENTATIONS) - {"noise"}:
        y = AUGMENTATIONS[name](x, torch.Generator().manual_seed(1))
        assert torch.equal(y.abs().flatten(1).sort().values, x.abs().flatten(1).sort().values)


def test_a_chain_applies_in_order_and_refuses_unknown_names():
    x = torch.randn(4, 3, 8, 8)
    assert torch.equal(chain([])(x, torch.Generator()), x)
    generator = torch.Generator().manual_seed(2)
    expected = AUGMENTATIONS["negate"](AUGMENTATIONS["flip"](x, generator), generator)
    assert torch.equal(chain(["flip", "negate"])(x, torch.Generator().manual_seed(2)), expected)
    with pytest.raises(TomeZooError, match="there are flip"):
        chain(["flop"])

"""What real samples make of the tokens: on them the fast way gives what merging written out gives, block by block."""

import pytest
import torch

import tome_zoo
from tome_zoo import cards, demo
from tome_zoo.benchmark.explicit import explicit
from tome_zoo.data.dataset import open_dataset
from tome_zoo.data.decode import decode

HALF = {"demo_image.shapes": 36, "demo_video.motions": 66, "demo_audio.sounds": 64}  # r at half the arithmetic
COUNT = 8


@pytest.fixture(scope="module", params=HALF)
def problem(request, tmp_path_factory):
    """An embedded model, and samples of its data set."""
    model = tome_zoo.create_model(request.param, pretrained=True, r=HALF[request.param])
    root = demo.write_data(request.param.split(".")[1], tmp_path_factory.mktemp("data"), count=COUNT, seed=5)
    data = open_dataset(root, cards.dataset_card(model.card.dataset))
    decoded = decode(data, range(COUNT), model.card, cards.protocol_card(model.card.protocol))
    return model, torch.cat([item.views for item in decoded])


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-2)], ids=str
)
def test_every_block_gives_what_the_explicit_one_gives(problem, dtype, tolerance):
    model, x = problem
    slow = explicit(model)
    fast_here = _fresh(model).to(dtype)
    slow_here = explicit(fast_here)
    options = {"protected": model.num_prefix_tokens, "prop_attn": model.prop_attn}
    with torch.inference_mode():
        tokens, size = slow._embed(x), None
        for index, block in enumerate(slow.blocks):
            here = torch.arange(tokens.shape[1]).expand(len(x), -1)
            (found, found_size, found_map), (expected, expected_size, expected_map) = (
                one.blocks[index](tokens.to(dtype), size, here, model.r, **options) for one in (fast_here, slow_here)
            )
            assert expected.shape[1] < tokens.shape[1]
            assert (found_map == expected_map).float().mean() >= 0.99
            if torch.equal(found_map, expected_map):
                assert torch.equal(found_size, expected_size)
            found, expected = (_spread(*pair) for pair in ((found, found_map), (expected, expected_map)))
            assert (found - expected).norm() <= tolerance * expected.norm()
            tokens, size, _ = block(tokens, size, None, model.r, **options)


def test_whole_models_agree(problem):
    model, x = problem
    with torch.inference_mode():
        torch.testing.assert_close(model(x), explicit(model)(x), atol=1e-4, rtol=1e-5)


def _fresh(model):
    """The same model with weights of its own."""
    return tome_zoo.create_model(model.card.name, pretrained=True, r=model.r)


def _spread(tokens, places):
    """The token that each incoming one became, float32."""
    return tokens.float().gather(1, places.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))

"""State dicts as training programs save them: wrapped, prefixed, raw and averaged."""

import itertools

import pytest
import torch
from torch import nn

from tome_zoo.errors import CheckpointError
from tome_zoo.weights.safe_read import load_file
from tome_zoo.weights.unwrap import find_state_dict

STATE = {"a": torch.arange(4.0), "b.c": torch.ones(2, 3)}
OTHER = {key: value + 1 for key, value in STATE.items()}
PREFIXES = ["", *(f"{p}." for p in ("module", "_orig_mod", "model"))]


def same(found, expected=STATE):
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("wrapper", [None, "model", "model_state", "state_dict", "module", "model_ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_wrappers_and_prefixes_are_taken_off_a_file(tmp_path, wrapper, prefix):
    state = {prefix + key: value for key, value in STATE.items()}
    torch.save(state if wrapper is None else {"epoch": 3, wrapper: state}, tmp_path / "w.pth")
    assert same(load_file(tmp_path / "w.pth"))


@pytest.mark.parametrize("prefixes", list(itertools.product(PREFIXES, repeat=3)))
def test_prefixes_come_in_any_order_and_depth(prefixes):
    assert same(find_state_dict({"".join(prefixes) + key: value for key, value in STATE.items()}, "w.pth"))


def test_parts_compiled_or_sharded_by_themselves():
    state = {"blocks.0._orig_mod.norm1.weight": STATE["a"], "blocks.1._fsdp_wrapped_module.norm1.weight": STATE["b.c"]}
    found = find_state_dict({"model": {"state_dict": state}}, "w.pth")
    assert found.keys() == {"blocks.0.norm1.weight", "blocks.1.norm1.weight"}


def test_two_names_that_become_one_are_refused():
    with pytest.raises(CheckpointError, match="two tensors are called 'a'"):
        find_state_dict({"a": STATE["a"], "module.a": STATE["a"]}, "w.pth")


def test_what_lightning_keeps_beside_the_model_is_left_out_and_named(caplog):
    state = {f"model.{key}": value for key, value in STATE.items()}
    assert same(find_state_dict({"state_dict": state | {"criterion.weight": torch.ones(3)}}, "w.ckpt"))
    assert "left out 1 tensors beside the model: criterion.weight" in caplog.text


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema"])
@pytest.mark.parametrize("use_ema", [None, True, False])
def test_of_raw_and_averaged_weights_one_is_chosen(key, use_ema, caplog):
    found = find_state_dict({"state_dict": STATE, key: OTHER}, "w.pth", use_ema)
    assert same(found, STATE if use_ema is False else OTHER)
    assert (f"took the averaged ones ({key}), as timm does" in caplog.text) == (use_ema is None)


def test_timm_chooses_the_same(tmp_path):
    from timm.models import load_state_dict

    for number, saved in enumerate(
        [{"state_dict": STATE, "state_dict_ema": OTHER}, {"model": STATE, "model_ema": OTHER}, {"model": STATE}, STATE]
    ):
        torch.save(saved, tmp_path / f"{number}.pth")
        assert same(load_file(tmp_path / f"{number}.pth"), load_state_dict(str(tmp_path / f"{number}.pth")))


def test_a_choice_that_the_file_does_not_offer_is_refused():
    with pytest.raises(CheckpointError, match=r"no averaged weights.*leave out use_ema=True \(--ema\)"):
        find_state_dict({"model": STATE}, "w.pth", use_ema=True)
    with pytest.raises(CheckpointError, match=r"averaged weights only \(model_ema\)"):
        find_state_dict({"model_ema": OTHER}, "w.pth", use_ema=False)


def test_the_counter_of_torchs_averaged_model_is_no_weight():
    averaged = torch.optim.swa_utils.AveragedModel(nn.Linear(2, 3))
    assert find_state_dict({"model_ema": averaged.state_dict()}, "w.pth").keys() == {"weight", "bias"}
    assert find_state_dict(averaged.state_dict(), "w.pth").keys() == {"weight", "bias"}

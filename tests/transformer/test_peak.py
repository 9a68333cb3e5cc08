"""Merging takes no more memory than it saves: bytes that tensors take at the most, merged and unmerged."""

import copy
import json

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from tome_zoo.merge import pair
from tome_zoo.transformer.architecture import Architecture
from tome_zoo.transformer.build import build
from tome_zoo.transformer.patching import unpatch

pytestmark = pytest.mark.filterwarnings("ignore:.*Profiler clears events")  # torch 2.11, where nothing is cleared


def peak(function, folder):
    """Bytes that a call's tensors take at the most, beyond those that were there before."""
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        function()
    path = folder / "trace.json"
    seen.export_chrome_trace(str(path))
    events = [event for event in json.loads(path.read_text())["traceEvents"] if event.get("name") == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event["ts"]):
        now += event["args"]["Bytes"]
        most = max(most, now)
    return most


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("side", "batch", "r"), [(112, 8, 13), (224, 2, 60), (448, 1, 200)])
@pytest.mark.parametrize("pool", ["token", "avg"])
def test_merged_models_need_no_more_than_timms(side, batch, r, pool, dtype, tmp_path):
    shape = Architecture(embed_dim=384, depth=3, num_heads=6, patch_size=8, img_size=side, num_classes=5, pool=pool)
    model, x = build(shape, r=r).to(dtype), torch.randn(batch, 3, side, side, dtype=dtype)
    plain = unpatch(copy.deepcopy(model))
    assert 0 < peak(lambda: model(x), tmp_path) <= peak(lambda: plain(x), tmp_path)


def test_long_inputs_are_matched_in_pieces(tmp_path):
    """32 frames of 448 x 448 pixels: all similarities at once would take 157 MB."""
    keys = torch.randn(1, 12544, 64)
    assert peak(lambda: pair(keys, 800), tmp_path) < 40e6

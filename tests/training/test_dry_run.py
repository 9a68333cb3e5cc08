"""The published recipes as they stand, on narrow models and a few files, under torchrun: killed, resumed, evaluated."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tome_zoo import cards, evaluate

NARROW = {"embed_dim": 24, "depth": 2, "num_heads": 2}
RUNS = {
    "mae": ("vit_base_patch16_224.mae_ft_in1k", "shapes", {"img_size": 96, "patch_size": 8, "num_classes": 10}, 36),
    "mae_st": (
        "video_vit_large_patch16_224.mae_st_k400", "motions",
        {"img_size": 64, "patch_size": 8, "num_frames": 8, "num_classes": 10}, 32,
    ),
    "audiomae": (
        "audio_vit_base_patch16_1024x128.audiomae_as2m", "sounds", {"img_size": [256, 64], "num_classes": 12}, 12,
    ),
}  # fmt: skip
SCRIPT = """
import json, sys, torch
torch.set_num_threads(1)
from tome_zoo import train
name, root, dataset, architecture, r, output = sys.argv[1:]
train(name, root, dataset=dataset, r=int(r), output=output, resume=True, start="scratch", epochs=2, log_steps=1,
      architecture=json.loads(architecture), evaluations=2, eval_limit=4, workers=0, checkpoint_steps=1, batch_size=2,
      samples_per_epoch=8)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(RUNS))
def test_a_published_recipe_under_torchrun(demo_roots, tmp_path, kind):
    name, dataset, shape, r = RUNS[kind]
    script, output = tmp_path / "script.py", tmp_path / "run"
    script.write_text(SCRIPT)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script, name,
        demo_roots[dataset], dataset, json.dumps({**NARROW, **shape}), r, output,
    ]  # fmt: skip
    command = [str(part) for part in command]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    while process.poll() is None and not list(output.glob("checkpoints/*.pt")):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (output / "model").exists()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    added = cards.register_cards(output / "model")
    try:
        results = evaluate(added[0], demo_roots[dataset], r=[0, r], batch_size=4)
        assert results[0].n_scored == results[0].n_expected
        assert results[0].gmacs > results[1].gmacs
        measured = {str(m.r): m for m in cards.model_card(added[0]).measured}
        assert measured[str(r)].weights == results[1].weights
    finally:
        cards.unregister_cards(output / "model")

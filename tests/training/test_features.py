import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from tome_zoo import cards, create_model, embed
from tome_zoo.data.dataset import open_dataset
from tome_zoo.errors import DataError, TomeZooError
from tome_zoo.training.features import pooled_features


@pytest.fixture
def things(tiny_zoo):
    return open_dataset(tiny_zoo / "image", cards.dataset_card("tiny_things"), "val")


def test_rows_are_what_the_classifier_sees(things, tmp_path):
    model = create_model("tiny_image.test", pretrained=True)
    for r in (0, 4):
        model.r = r
        made = embed(model, things, output=tmp_path / f"{r}.npz")
        views = torch.cat([model.preprocess(sample.path) for sample in things.samples])
        with torch.inference_mode():
            logits = model(views)
            rows = model.head(torch.from_numpy(made.features))
            assert torch.allclose(rows, logits, atol=1e-5)
            assert torch.allclose(pooled_features(model, views[:2]), torch.from_numpy(made.features[:2]), atol=1e-5)
        saved = np.load(tmp_path / f"{r}.npz")
        assert saved["ids"].tolist() == [sample.id for sample in things.samples]
        assert saved["targets"].tolist() == [sample.target for sample in things.samples]
        assert saved["labels"].tolist() == ["ant", "bee", "cow", "dog"]
        assert np.array_equal(saved["features"], made.features)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.npz", "4.npz"]
    assert model.r == 4


def test_all_tokens_come_unmerged(things):
    model = create_model("tiny_image.test", pretrained=True, r=4)
    made = embed(model, things, tokens=True)
    assert made.features.shape == (22, 17, 16)
    with torch.inference_mode():
        first = model.forward_features(model.preprocess(things.samples[0].path), unmerge=True)[0]
    assert np.allclose(made.features[0], first.numpy(), atol=1e-5)


def test_several_views_are_averaged_and_a_plain_folder_has_no_targets(tiny_zoo, tmp_path):
    model = create_model("tiny_video.test", pretrained=True)
    made = embed(model, tiny_zoo / "video", output=tmp_path / "f.parquet")
    assert made.targets is None
    assert made.ids == tuple(f"{n}.mp4" for n in range(5))
    with torch.inference_mode():
        rows = pooled_features(model, model.preprocess(tiny_zoo / "video" / "3.mp4"))
    assert rows.shape == (2, 16)
    assert np.allclose(made.features[3], rows.mean(dim=0).numpy(), atol=1e-5)
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(tmp_path / "f.parquet")
    assert table.column_names == ["id", "features"]
    assert np.allclose(np.array(table["features"].to_pylist()), made.features)


def test_a_damaged_file_costs_itself_alone_and_is_tried_again(things, tmp_path):
    for sample in things.samples:
        (tmp_path / "d" / sample.id).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / sample.id).write_bytes(sample.path.read_bytes())
    good = (tmp_path / "d" / "ant" / "0.png").read_bytes()
    (tmp_path / "d" / "ant" / "0.png").write_bytes(b"no image")
    first = embed("tiny_image.test", tmp_path / "d", output=tmp_path / "f.npz")
    assert [failure.id for failure in first.failed] == ["ant/0.png"]
    assert len(first.ids) == 21
    (tmp_path / "d" / "ant" / "0.png").write_bytes(good)
    done = []
    second = embed(
        "tiny_image.test", tmp_path / "d", output=tmp_path / "f.npz", progress=lambda *told: done.append(told)
    )
    assert done == [(1, 1)]
    assert len(second.ids) == 22
    assert second.failed == ()


def test_what_cannot_be_done_is_said_at_once(things, tmp_path, tiny_zoo):
    with pytest.raises(TomeZooError, match=r"ends in \.npz or \.parquet"):
        embed("tiny_image.test", things, output=tmp_path / "f.csv")
    with pytest.raises(DataError, match="no audio file"):
        embed("tiny_audio.test", tiny_zoo / "image")
    with pytest.raises(DataError, match="the data are image"):
        embed("tiny_audio.test", things)


SCRIPT = """
import sys, time
from tome_zoo import embed, register_cards
from tome_zoo.training import features
register_cards(sys.argv[1])
row = features._row
def slow(*arguments):
    time.sleep(float(sys.argv[4]))
    return row(*arguments)
features._row = slow
features.ScoreStore = lambda *a, **k: __import__("tome_zoo.evaluation.score_store").evaluation.score_store.ScoreStore(
    *a, **k, flush_seconds=0)
embed("tiny_image.test", sys.argv[2], r=4, output=sys.argv[3], batch_size=2)
"""


def test_killed_and_under_torchrun_the_rows_are_the_same(tiny_zoo, tmp_path):
    output = tmp_path / "f.npz"
    arguments = [str(tiny_zoo / "cards"), str(tiny_zoo / "image"), str(output)]
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, script, *arguments, "0.2"], env=environment)
    while process.poll() is None and len(list(tmp_path.glob("f.npz.parts/scores/*/*.npz"))) < 3:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not output.exists()
    assert list(tmp_path.glob("f.npz.parts/scores/*/*.npz"))
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script, *arguments, "0"]
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    saved = np.load(output)
    alone = embed("tiny_image.test", tiny_zoo / "image", r=4)
    assert saved["ids"].tolist() == list(alone.ids)
    assert np.allclose(saved["features"], alone.features, atol=1e-6)

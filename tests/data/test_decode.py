"""The decoding loop: in this process and in others, which may die, hang or not start."""

import importlib
import json
import resource
import subprocess
import sys
import textwrap
import wave
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tome_zoo.cards import DatasetCard
from tome_zoo.data import decode as decode_module
from tome_zoo.data.dataset import Dataset, Sample, open_dataset
from tome_zoo.data.decode import decode
from tome_zoo.data.workers import StartError, WorkerPool
from tome_zoo.errors import CardError
from tome_zoo.modalities.inputs import AudioInput, ImageInput
from tome_zoo.transformer.architecture import Architecture

ONE_VIEW = SimpleNamespace(temporal_views=1, spatial_views=1)
BAD = {1: "missing", 2: "text", 4: "truncated"}


def card(modality: str, folder: Path, labels: list[str]) -> DatasetCard:
    """A data set card, with its list of labels written to `folder`."""
    (folder / "labels.json").write_text(json.dumps(labels))
    return DatasetCard(
        name=f"some_{modality}s", modality=modality, title="Some", labels=folder / "labels.json", license="none",
        layout={"image": "image_folder", "audio": "audioset_json"}[modality], splits={"train": "train", "val": "val"},
        num_classes=len(labels), multi_label=modality == "audio", origin="here", obtain="make it",
    )  # fmt: skip


@pytest.fixture
def pictures(tmp_path) -> Dataset:
    """Six images, of which those in `BAD` are bad."""
    some = card("image", tmp_path, ["a", "b"])
    rng = np.random.default_rng(0)
    (tmp_path / "val" / "a").mkdir(parents=True)
    for number in range(6):
        pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "val" / "a" / f"{number}.png")
    dataset = open_dataset(tmp_path, some)
    dataset.samples[1].path.unlink()
    dataset.samples[2].path.write_text("no image")
    dataset.samples[4].path.write_bytes(dataset.samples[4].path.read_bytes()[:1000])
    return dataset


@pytest.fixture
def spec() -> SimpleNamespace:
    architecture = Architecture(embed_dim=8, depth=1, num_heads=1, num_classes=2, patch_size=4, img_size=32)
    return SimpleNamespace(architecture=architecture, input=ImageInput(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_bad_files_do_not_stop_the_others(pictures, spec, workers):
    found = list(decode(pictures, [5, 4, 3, 2, 1, 0, 5], spec, ONE_VIEW, workers=workers))
    assert [item.index for item in found] == [5, 4, 3, 2, 1, 0, 5]
    here = {item.index: item for item in decode(pictures, [0, 3, 5], spec, ONE_VIEW)}
    for item in found:
        path = pictures.samples[item.index].path
        if item.index in BAD:
            assert item.views is None
            assert f"{item.index}.png" in item.reason
        else:
            assert item.views.shape == (1, 3, 32, 32)
            assert torch.equal(item.views, here[item.index].views)
            assert item.reason is None
        assert item.stamp[:2] == ((-1, -1) if item.index == 1 else (path.stat().st_size, path.stat().st_mtime_ns))


@pytest.mark.parametrize("workers", [0, 1])
def test_without_a_model_or_with_views_thrown_away_faults_are_found_all_the_same(pictures, spec, workers):
    for options in ({"spec": None, "protocol": None}, {"spec": spec, "protocol": ONE_VIEW, "keep_views": False}):
        found = list(decode(pictures, range(6), **options, workers=workers))
        assert {item.index for item in found if item.reason is not None} == set(BAD)
        assert all(item.views is None for item in found)


def test_a_surprised_decoder_counts_as_a_bad_file(pictures, spec, monkeypatch):
    monkeypatch.setattr("tome_zoo.modalities.image.views", lambda *_: 1 / 0)
    (item,) = decode(pictures, [0], spec, ONE_VIEW)
    assert (item.index, item.views) == (0, None)
    assert item.reason.endswith("0.png: cannot be decoded (ZeroDivisionError: division by zero)")


@pytest.mark.parametrize("workers", [0, 1])
def test_what_no_other_file_would_mend_is_raised(pictures, spec, workers):
    with pytest.raises(CardError, match="spatial_views must be 1"):
        list(decode(pictures, [0], spec, SimpleNamespace(temporal_views=1, spatial_views=3), workers=workers))
    spec.input = AudioInput(mean=0.0, std=1.0)
    with pytest.raises(CardError, match="ImageInput"):
        list(decode(pictures, [0], spec, ONE_VIEW, workers=workers))


def test_sounds_are_decoded_by_their_modality(tmp_path):
    some = card("audio", tmp_path, ["bell"])
    entries = [{"wav": "a.wav", "labels": "bell"}, {"wav": "b.wav", "labels": ""}]
    (tmp_path / "val.json").write_text(json.dumps({"data": entries}))
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.random.default_rng(0).integers(-9999, 9999, 16000, dtype=np.int16).tobytes())
    architecture = Architecture(
        embed_dim=8, depth=1, num_heads=1, num_classes=1, patch_size=16, img_size=(96, 32), in_chans=1
    )
    spec = SimpleNamespace(architecture=architecture, input=AudioInput(mean=-4.0, std=4.0))
    good, bad = decode(open_dataset(tmp_path, some), range(2), spec, ONE_VIEW)
    assert good.views.shape == (1, 1, 96, 32)
    assert bad.views is None
    assert "no such file" in bad.reason


# Processes that die, hang or cannot start -----------------------------------------------------------------------------


@pytest.fixture
def does(monkeypatch) -> Callable:
    """What processes do; they find it by this process's `sys.path`."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    from misbehaving import Does

    return Does


def run(function: Callable, items: list[int], count: int = 2, timeout: float = 60.0) -> list:
    return list(WorkerPool(function, count, timeout=timeout).imap(items))


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("segfault", "SIGSEGV.*convert it again"),
        ("killed", "memory runs out: use fewer workers"),
        ("exits", "exit code 3"),
        ("hangs", "longer than 1 s"),
    ],
)
def test_a_process_that_is_lost_costs_its_file_alone(does, what, words):
    found = run(does({3: what, 4: what}), list(range(9)), timeout=1.0 if what == "hangs" else 60.0)
    for item, outcome in enumerate(found):
        if item in (3, 4):
            assert outcome.tensor is None
            assert pytest.raises(AssertionError, match=words).matches(AssertionError(outcome.lost))
        else:
            assert (outcome.result, outcome.lost) == (item, None)
            assert torch.equal(outcome.tensor, torch.full((4,), float(item)))


def test_a_process_that_is_killed_once_costs_nothing(does, tmp_path):
    found = run(does({1: "killed once"}, marker=tmp_path / "been here"), [0, 1, 2])
    assert [outcome.result for outcome in found] == [0, 1, 2]
    assert (tmp_path / "been here").exists()


def test_thousands_of_results_need_neither_shared_memory_nor_open_files(does):
    kept = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, kept[1]))
    try:
        found = run(does({}, numbers=1000), list(range(1500)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, kept)
    assert [int(outcome.tensor[-1]) for outcome in found] == list(range(1500))


def test_results_larger_than_a_pipe(does):
    found = run(does({}, numbers=3_000_000), [7, 8, 9, 10, 11])
    for item, outcome in zip([7, 8, 9, 10, 11], found, strict=True):
        assert torch.equal(outcome.tensor, torch.full((3_000_000,), float(item)))


def test_nothing_is_left_running_when_nobody_asks_any_more(does):
    pool = WorkerPool(does({}), 2, timeout=60)
    items = pool.imap(range(10**6))
    next(items)
    processes = [worker.process for worker in pool._workers]
    items.close()
    for process in processes:
        process.join(10)
        assert process.exitcode is not None


def test_a_loop_without_processes_goes_on_in_this_one(pictures, spec, monkeypatch, caplog):
    def no_processes(*_: object, **__: object) -> None:
        raise StartError("no processes left")

    monkeypatch.setattr(decode_module, "WorkerPool", no_processes)
    found = list(decode(pictures, range(6), spec, ONE_VIEW, workers=2))
    assert [item.index for item in found if item.reason is None] == [0, 3, 5]
    assert "no processes for decoding (no processes left): this one decodes" in caplog.text


def test_what_processes_cannot_do_is_told_before_they_begin():
    with pytest.raises(StartError, match=r"pickle|local object"):
        WorkerPool(lambda item: (item, None), 1, timeout=60)  # type: ignore[misc]
    pool = WorkerPool(_Unknown(), 1, timeout=60)
    with pytest.raises(StartError, match="ModuleNotFoundError: No module named 'nowhere_at_all'"):
        list(pool.imap([1, 2]))


class _Unknown:
    """Something that another process cannot unpickle."""

    def __reduce__(self) -> tuple:
        return importlib.import_module, ("nowhere_at_all",)

    def __call__(self, item: int) -> tuple[int, None]:
        return item, None


def test_a_script_needs_no_guard_of_its_main_module(pictures, tmp_path):
    """And a process that has decoded may start others."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        from pathlib import Path
        from tome_zoo import cards
        from tome_zoo.data.dataset import open_dataset
        from tome_zoo.data.decode import decode
        card = cards.DatasetCard(name="some", modality="image", title="Some", license="none", layout="image_folder",
                                 splits={{"val": "val"}}, num_classes=1, origin="here", obtain="make it")
        data = open_dataset({str(pictures.root)!r}, card)
        print("started", flush=True)
        for workers in (0, 2):
            print([item.index for item in decode(data, range(5), None, None, workers=workers) if item.reason is None])
        """)
    )
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout.splitlines() == ["started", "[0, 2, 4]", "[0, 2, 4]"]


def test_samples_of_any_data_set(tmp_path):
    dataset = Dataset(SimpleNamespace(modality="image"), tmp_path, "val", (Sample("a", tmp_path / "a", 0),), ())
    (item,) = decode(dataset, [0], None, None)
    assert "no such file" in item.reason

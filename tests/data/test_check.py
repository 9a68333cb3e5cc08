"""`check-data` on folders of faults: every count is exact."""

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from tome_zoo import cards
from tome_zoo.commands import app
from tome_zoo.data.check import check_data, resolve_cards
from tome_zoo.data.dataset import open_dataset
from tome_zoo.errors import CardError, DataError


@pytest.fixture
def run(tiny_root):
    def invoke(*arguments, code=0):
        arguments = ["check-data", *map(str, arguments), "--cards", str(tiny_root / "cards")]
        result = CliRunner().invoke(app.app, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return invoke


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.fixture
def images(tiny_root, tmp_path):
    """22 images: one is empty, two are truncated, one is text and one a folder; three files are not listed."""
    root = shutil.copytree(tiny_root / "image", tmp_path / "image")
    places = {int(path.stem): path for path in root.rglob("*.png")}
    places[0].write_bytes(b"")
    truncate(places[1])
    truncate(places[7])
    places[2].write_text("no picture")
    (root / "val" / "ant" / "link.png").symlink_to("nowhere.png")
    (root / "val" / "loose.png").touch()
    (root / "val" / "bee" / "half.png.part").touch()
    (root / "val" / "bee" / "readme.txt").touch()
    return root


@pytest.fixture
def videos(tiny_root, tmp_path):
    """10 videos in a list: two are missing, one is truncated, one empty, one a sound."""
    root = tmp_path / "video"
    root.mkdir()
    for number in range(10):
        shutil.copy(tiny_root / "video" / f"{number % 5}.mp4", root / f"clip {number}.mp4")
    (root / "val.csv").write_text("".join(f"clip {number}.mp4 {number % 3}\n" for number in range(10)))
    for number in (3, 8):
        (root / f"clip {number}.mp4").unlink()
    truncate(root / "clip 1.mp4")
    (root / "clip 5.mp4").write_bytes(b"")
    shutil.copy(tiny_root / "audio" / "0.wav", root / "clip 9.mp4")
    (root / "other.mp4").touch()
    return root


@pytest.fixture
def sounds(tiny_root, tmp_path):
    """10 sounds in a manifest: two are missing, one is text and one too short."""
    root = tmp_path / "audio"
    root.mkdir()
    for number in range(10):
        shutil.copy(tiny_root / "audio" / f"{number % 7}.wav", root / f"{number}.wav")
    entries = [{"wav": f"{number}.wav", "labels": "/t/a,/t/b"} for number in range(10)]
    (root / "val.json").write_text(json.dumps({"data": entries}))
    for number in (2, 4):
        (root / f"{number}.wav").unlink()
    (root / "6.wav").write_text("no sound")
    (root / "7.wav").write_bytes((root / "7.wav").read_bytes()[:200])
    return root


def counts(report):
    return {name: report[name] for name in ("listed", "checked", "found", "missing", "empty", "undecodable", "good")}


def kinds(report):
    return {fault["id"]: fault["kind"] for fault in report["faults"]}


@pytest.mark.parametrize("name", ["tiny_things", "tiny_image.test"])
@pytest.mark.parametrize("workers", [0, 1])
def test_images(run, images, name, workers):
    report = json.loads(run(name, "--data", images, "--workers", workers, "--json", code=1).stdout)
    assert counts(report) == {
        "listed": 23, "checked": 23, "found": 22, "missing": 1, "empty": 1, "undecodable": 3, "good": 18,
    }  # fmt: skip
    assert kinds(report) == {
        "ant/0.png": "empty", "ant/link.png": "missing", "bee/1.png": "undecodable", "cow/2.png": "undecodable",
        "dog/7.png": "undecodable",
    }  # fmt: skip
    assert report["unlisted"] == ["val/bee/half.png.part", "val/loose.png"]
    assert report["empty_classes"] == []
    assert (report["decoded_as"], report["protocol"]) == ("tiny_image.test", "image_center_crop@1")
    assert all(Path(fault["id"]).name in fault["reason"] for fault in report["faults"])


@pytest.mark.parametrize("name", ["tiny_clips", "tiny_video.test"])
def test_videos(run, videos, name):
    report = json.loads(run(name, "--data", videos, "--workers", 0, "--json", code=1).stdout)
    assert counts(report) == {
        "listed": 10, "checked": 10, "found": 8, "missing": 2, "empty": 1, "undecodable": 2, "good": 5,
    }  # fmt: skip
    assert kinds(report) == {
        "clip 1.mp4": "undecodable", "clip 3.mp4": "missing", "clip 5.mp4": "empty", "clip 8.mp4": "missing",
        "clip 9.mp4": "undecodable",
    }  # fmt: skip
    assert report["unlisted"] == ["other.mp4"]
    assert report["empty_classes"] == ["dog"]
    assert report["format"] == "video_list"


def test_sounds(run, sounds):
    report = json.loads(run("tiny_audio.test", "--data", sounds, "--workers", 0, "--json", code=1).stdout)
    assert counts(report) == {
        "listed": 10, "checked": 10, "found": 8, "missing": 2, "empty": 0, "undecodable": 2, "good": 6,
    }  # fmt: skip
    assert kinds(report) == {
        "2.wav": "missing", "4.wav": "missing", "6.wav": "undecodable", "7.wav": "undecodable",
    }  # fmt: skip
    assert report["empty_classes"] == ["Chime"]


@pytest.mark.parametrize("modality", ["image", "video", "audio"])
def test_without_a_model_the_files_are_read(tiny_zoo, images, videos, sounds, modality):
    """The same faults, as no model is needed to find them."""
    root = {"image": images, "video": videos, "audio": sounds}[modality]
    card, model, protocol = resolve_cards(f"tiny_{modality}.test")
    data = open_dataset(root, card)
    read, decoded = check_data(data), check_data(data, model, protocol)
    assert read.decoded_as is read.protocol is None
    assert [fault.id for fault in read.faults] == [fault.id for fault in decoded.faults]
    assert [fault.kind for fault in read.faults] == [fault.kind for fault in decoded.faults]
    assert len(read.faults) in (4, 5)


def test_a_whole_data_set_exits_with_0(run, tiny_root, tmp_path):
    file = tmp_path / "deep" / "report.json"
    text = run("tiny_sounds", "--data", tiny_root / "audio", "--workers", 0, "--output", file).stdout
    assert "decoded as by tiny_audio.test, audio_clip@1" in text
    assert "classes without samples: 1 of 3 (Chime)" in text
    report = json.loads(file.read_text())
    assert (report["good"], report["faults"], report["unlisted"]) == (7, [], [])


def test_the_first_faults_are_printed_and_all_are_written(run, tiny_root, tmp_path):
    root = tmp_path / "many"
    root.mkdir()
    (root / "val.csv").write_text("".join(f"[{number}].mp4 {number % 2}\n" for number in range(30)))
    shutil.copy(tiny_root / "video" / "0.mp4", root / "[7].mp4")
    result = run("tiny_clips", "--data", root, "--workers", 0, "--output", tmp_path / "all.json", code=1)
    assert result.stdout.count("missing: ") == 20
    assert "[20].mp4: no such file" in " ".join(result.stdout.split())
    assert "and 9 more" in result.stdout
    assert "classes without samples: 2 of 4 (cow, dog)" in result.stdout
    report = json.loads((tmp_path / "all.json").read_text())
    assert report["missing"] == len(report["faults"]) == 29


def test_a_fifth_missing_is_a_fifth(run, tiny_root, tmp_path):
    """Kinetics as handed out: 20 rows, 16 clips, one of which has a replacement that is damaged."""
    root, names = tmp_path / "kinetics", cards.labels("kinetics400")
    (root / "annotations").mkdir(parents=True)
    (root / "val").mkdir()
    spare = root / "replacement" / "replacement_for_corrupted_k400"
    spare.mkdir(parents=True)
    rows = [f'"{names[number]}",-clip_{number:05d},{number},{number + 10},val' for number in range(20)]
    (root / "annotations" / "val.csv").write_text("label,youtube_id,time_start,time_end,split\n" + "\n".join(rows))
    for number in range(20):
        if number % 5:
            clip = root / "val" / f"-clip_{number:05d}_{number:06d}_{number + 10:06d}.mp4"
            shutil.copy(tiny_root / "video" / f"{number % 5}.mp4", clip)
    shutil.copy(clip, spare)
    truncate(spare / clip.name)
    report = json.loads(run("kinetics400", "--data", root, "--workers", 0, "--json", code=1).stdout)
    assert counts(report) == {
        "listed": 20, "checked": 20, "found": 16, "missing": 4, "empty": 0, "undecodable": 1, "good": 15,
    }  # fmt: skip
    expected = {f"val/-clip_{number:05d}_{number:06d}_{number + 10:06d}.mp4": "missing" for number in (0, 5, 10, 15)}
    assert kinds(report) == {**expected, f"replacement/{spare.name}/{clip.name}": "undecodable"}
    assert report["unlisted"] == [f"val/{clip.name}"]  # no longer used
    assert report["format"] == "kinetics_csv"
    assert len(report["empty_classes"]) == 380


def test_a_limit_is_spread_over_the_split(tiny_zoo, images):
    card, model, protocol = resolve_cards("tiny_things")
    data, steps = open_dataset(images, card), []
    found = check_data(data, model, protocol, limit=4, progress=lambda *step: steps.append(step))
    assert (found.listed, found.checked) == (23, 4)
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert {fault.id for fault in found.faults} == {"ant/0.png"}


def test_what_another_split_lists_is_listed(tmp_path, tiny_zoo):
    card = cards.dataset_card("kinetics400")
    (tmp_path / "clips").mkdir()
    for number in range(3):
        shutil.copy(tiny_zoo / "video" / f"{number}.mp4", tmp_path / "clips" / f"{number}.mp4")
    (tmp_path / "val.csv").write_text("clips/0.mp4 0\n")
    assert check_data(open_dataset(tmp_path, card)).unlisted == ("clips/1.mp4", "clips/2.mp4")
    (tmp_path / "train.csv").write_text(f"{tmp_path}/clips/1.mp4 0\n")
    found = check_data(open_dataset(tmp_path, card))
    assert found.unlisted == ("clips/2.mp4",)
    assert len(found.empty_classes) == 399


def test_mistakes_exit_with_2(run, tiny_root, tmp_path):
    result = run("tiny_thing", "--data", tmp_path, code=2)
    assert "tiny_things" in result.stderr
    result = run("kinetics400", "--data", tmp_path, code=2)
    assert "Looked for video_list" in result.stderr
    assert "k400_downloader.sh" in result.stderr  # how to obtain it
    result = run("tiny_clips", "--data", tiny_root / "video", "--format", "class_folders", code=2)
    assert "Looked for class_folders" in result.stderr
    assert "no split 'test'" in run("tiny_clips", "--data", tmp_path, "--split", "test", code=2).stderr
    assert result.stdout == ""


def test_names_of_data_sets_and_models(tiny_zoo):
    assert resolve_cards("tiny_things")[1].name == "tiny_image.test"
    assert resolve_cards("tiny_encoder.test")[0].name == "tiny_things"
    assert resolve_cards("image_folder")[1:] == (None, None)
    assert resolve_cards("imagenet1k")[1].dataset == "imagenet1k"
    with pytest.raises(CardError, match="no data set or model is named 'imagenet'; nearest: imagenet1k"):
        resolve_cards("imagenet")


def test_model_and_data_that_do_not_belong_together(tiny_zoo, images):
    _, model, protocol = resolve_cards("tiny_audio.test")
    data = open_dataset(images, cards.dataset_card("tiny_things"))
    with pytest.raises(CardError, match="AudioInput"):
        check_data(data, model, protocol)
    with pytest.raises(DataError):
        open_dataset(images / "val" / "ant", cards.dataset_card("tiny_things"))


def test_what_was_left_out_is_counted_and_told(run, tmp_path, caplog):
    """A stream that states nothing is scored as it is, and what of it is damaged is said."""
    (tmp_path / "val" / "x").mkdir(parents=True)
    for name in ("whole", "damaged"):
        path = tmp_path / "val" / "x" / f"{name}.aac"
        with av.open(str(path), "w") as file:
            stream = file.add_stream("aac", rate=16000, layout="mono")
            noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 32000)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
            frame.sample_rate = 16000
            resampler = av.AudioResampler(format="fltp", layout="mono", rate=16000, frame_size=1024)
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                file.mux(stream.encode(part))
            file.mux(stream.encode(None))
    content = bytearray(path.read_bytes())
    content[4000:4400] = bytes(400)
    path.write_bytes(content)
    for workers in ("0", "1"):
        caplog.clear()
        result = run("sound_folder", "--data", tmp_path, "--workers", workers, "--json")
        report = json.loads(result.stdout)
        assert (report["good"], len(report["repaired"])) == (2, 1)
        assert "damaged.aac: skipped" in report["repaired"][0]
        assert "1 files are damaged in parts" in caplog.text
    assert "damaged in parts, which were left out" in run("sound_folder", "--data", tmp_path).stdout

"""`predict` on several files, long sounds, and models of timm; `eval` of several models."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

import tome_zoo
from tome_zoo import cards
from tome_zoo.commands import app
from tome_zoo.commands.options import expand_names
from tome_zoo.errors import CardError
from tome_zoo.weights.save import save_weights

SMALL = ("--set", "embed_dim=24", "--set", "depth=2", "--set", "num_heads=3")


@pytest.fixture
def run(tiny_root):
    def go(*arguments, code=0):
        texts = [str(argument) for argument in (*arguments, "--cards", tiny_root / "cards")]
        result = CliRunner().invoke(app.app, texts)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return go


def test_every_bad_file_is_named_and_costs_the_others_nothing(run, tiny_root, tmp_path):
    files = sorted((tiny_root / "image").rglob("*.png"))[:2]
    (tmp_path / "broken.png").write_text("no picture")
    given = (files[0], tmp_path / "broken.png", tmp_path / "gone.png", tmp_path, files[1])
    result = run("predict", "tiny_image.test", *given, code=2)
    assert result.stdout.count(".png\n") == 2
    assert result.stdout.count("%") == 8
    for name in ("broken.png", "gone.png", "folder", "3 of 5 files"):
        assert name in result.stderr
    entries = json.loads(run("predict", "tiny_image.test", *given, "--json", code=2).stdout)
    assert ["error" in entry for entry in entries] == [False, True, True, True, False]


def test_a_name_that_is_no_utf8_is_printed(run, tiny_root, tmp_path):
    good, bad = (tmp_path / os.fsdecode(name) for name in (b"caf\xe9.png", b"bad caf\xe9.png"))
    shutil.copy(next((tiny_root / "image").rglob("*.png")), good)
    bad.write_text("no picture")
    result = run("predict", "tiny_image.test", good, bad, "--json", code=2)
    assert [entry["file"] for entry in json.loads(result.stdout.encode())] == [
        str(tmp_path / name) for name in ("caf\\xe9.png", "bad caf\\xe9.png")
    ]
    assert result.stderr.encode().count(b"bad caf\\xe9.png") == 2


def test_a_sound_is_told_how_much_of_it_was_heard(run, tiny_root):
    sound = tiny_root / "audio" / "0.wav"
    assert "0.0 to 0.7 s of 0.7 s\n" in run("predict", "tiny_audio.test", sound).stdout


def test_windows_have_times(run, tmp_path):
    import wave

    with wave.open(str(tmp_path / "long.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(np.random.default_rng(0).integers(-9000, 9000, 32000, dtype=np.int16).tobytes())
    assert "; --windows goes over all of it" in run("predict", "tiny_audio.test", tmp_path / "long.wav").stdout
    text = run("predict", "tiny_audio.test", tmp_path / "long.wav", "--windows", "--top-k", "1").stdout
    assert [line.split("s")[0].split() for line in text.splitlines()[1:]][-1] == ["1.3", "to", "2.0"]
    found = json.loads(run("predict", "tiny_audio.test", tmp_path / "long.wav", "--windows", "--json").stdout)
    assert (found[0]["windows"][0]["start"], found[0]["windows"][-1]["end"], found[0]["seconds"]) == (0, 2, 2)
    three = run("predict", "tiny_audio.test", tmp_path / "long.wav", "--protocol", "audio_3x1").stdout
    assert three.count(" to ") == 3
    assert "leave out" in run("predict", "tiny_image.test", "x.png", "--windows", code=2).stderr


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "deit_tiny_distilled_patch16_224.fb_in1k"])
def test_models_of_timm_predict_and_are_scored_with_a_file_of_weights(run, tiny_root, tmp_path, name):
    torch.manual_seed(0)
    shape = {"img_size": 56 if "14" in name else 32, "embed_dim": 24, "depth": 2, "num_heads": 3}
    save_file(timm.create_model(name, num_classes=4, **shape).state_dict(), tmp_path / "w.safetensors")
    settings = (*SMALL, "--set", f"img_size={shape['img_size']}", "--set", "num_classes=4")
    base = (name, "--weights", tmp_path / "w.safetensors", *settings, "--json")
    image = next((tiny_root / "image").rglob("*.png"))
    (entry,) = json.loads(run("predict", *base, image, "--r", "2").stdout)
    assert sum(item["probability"] for item in entry["predictions"]) == pytest.approx(1)
    options = ("--data", tiny_root / "image", "--dataset", "image_folder", "--r", "0", "--r", "2")
    rows = json.loads(run("eval", *base, *options, "--output", tmp_path / "out").stdout)
    assert [row["n_scored"] for row in rows] == [22, 22]
    assert rows[0]["model"] == name if "." in name else f"{name}.lvd142m"


def test_a_file_of_own_classes_is_scored_with_nothing_else_said(run, tiny_root, tmp_path):
    """Its classes are in another order than the folders, of which the data set has a part."""
    torch.manual_seed(0)
    cards.register_cards(tiny_root / "cards")
    own = tome_zoo.create_model("tiny_image.test", num_classes=5)
    with torch.no_grad():
        own.head.bias[3] = 100.0
    path = save_weights(
        own, tmp_path / "own.safetensors", classes=("eel", "dog", "cow", "bee", "ant"), dataset="image_folder"
    )
    cards.unregister_cards(tiny_root / "cards")
    options = ("--weights", path, "--data", tiny_root / "image", "--output", tmp_path / "out", "--json")
    rows = json.loads(run("eval", "tiny_image.test", *options, "--r", "0").stdout)
    assert rows[0]["dataset"] == "image_folder"
    assert rows[0]["top1"] == pytest.approx(100 * 6 / 22)  # whatever it sees, it says bee: 6 of 22
    image = next((tiny_root / "image").rglob("*.png"))
    (entry,) = json.loads(run("predict", "tiny_image.test", image, "--weights", path, "--json").stdout)
    assert entry["predictions"][0]["label"] == "bee"


def test_several_models_are_scored_and_one_that_cannot_be_costs_the_others_nothing(run, tiny_root, tmp_path):
    options = ("--data", tiny_root / "image", "--output", tmp_path / "out", "--json")
    result = run("eval", "tiny_image.test", "tiny_encoder.t*", *options, "--r", "2", code=2)
    assert [row["model"] for row in json.loads(result.stdout)] == ["tiny_image.test"]
    assert "1 of 2 models not evaluated" in result.stderr
    assert "tiny_encoder.test is a pre-trained encoder" in " ".join(result.stderr.split())
    assert "one by one" in run("eval", "tiny_*.test", *options, "--weights", "x.pth", code=2).stderr


def test_wildcards_stand_for_the_zoos_models_or_else_for_timms():
    assert expand_names(["video_*.mae_st_k400"]) == tome_zoo.list_models("video_*.mae_st_k400")
    assert expand_names(["deit3_small_patch16_224.*", "a"])[-2:] == ["deit3_small_patch16_224.fb_in22k_ft_in1k", "a"]
    with pytest.raises(CardError, match="matches 'nothing"):
        expand_names(["nothing*"])


def test_info_of_a_model_of_timm(run):
    data = json.loads(run("info", "vit_small_patch14_dinov2", "--json").stdout)
    assert (data["name"], data["weights"]["license"]) == ("vit_small_patch14_dinov2.lvd142m", "apache-2.0")
    with torch.device("meta"):
        assert data["parameters"] == sum(p.numel() for p in timm.create_model("vit_small_patch14_dinov2").parameters())
    text = run("info", "vit_base_patch16_siglip_224").stdout
    for part in ("vit_base_patch16_siglip_224.v2_webli", "pooling map", "GMACs"):
        assert part in text


def test_python_m(tmp_path):
    done = subprocess.run([sys.executable, "-m", "tome_zoo", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"tome-zoo {tome_zoo.__version__}\n"


def test_a_picture_taken_on_its_side_is_shown_upright(run, tiny_root, tmp_path):
    image = Image.open(next((tiny_root / "image").rglob("*.png")))
    exif = Image.Exif()
    exif[0x0112] = 3
    image.transpose(Image.Transpose.ROTATE_180).save(tmp_path / "photo.png", exif=exif)
    image.save(tmp_path / "plain.png")
    turned, plain = json.loads(
        run("predict", "tiny_image.test", tmp_path / "photo.png", tmp_path / "plain.png", "--json").stdout
    )
    assert turned["predictions"] == plain["predictions"]

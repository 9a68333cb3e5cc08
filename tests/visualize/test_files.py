"""Every file that is written opens again and shows what was drawn."""

import base64
import io
import re
import wave
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import av
import numpy as np
import pytest
from PIL import Image

import tome_zoo
from tome_zoo.errors import TomeZooError
from tome_zoo.visualize.files import save, save_sounds
from tome_zoo.visualize.movie import write_mp4

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("modality", ["image", "video", "audio"])
def test_png_is_the_picture(drawings, modality, tmp_path):
    path = drawings[modality].save(tmp_path / "new" / "picture.png")
    with Image.open(path) as picture:
        assert (np.asarray(picture) == np.asarray(drawings[modality].image)).all()


def test_several_files_stand_below_each_other(drawings, tmp_path):
    drawing = drawings["image"]
    with Image.open(save([drawing, drawing], tmp_path / "two.png")) as picture:
        assert picture.size == (drawing.image.width, 2 * drawing.image.height)


def test_svg_paths_cover_the_outlines_pixel_by_pixel(drawings, tmp_path):
    """Rectangles of a group's path, filled into an empty picture, give the outline that the PNG has."""
    drawing = drawings["image"]
    root = ET.parse(drawing.save(tmp_path / "picture.svg")).getroot()
    size = int(root.get("height")), int(root.get("width"))
    assert size == drawing.image.size[::-1]
    shown = np.asarray(drawing.image)
    painted = np.zeros((*size, 3), np.uint8)
    covered = np.zeros(size, dtype=bool)
    for path in root.iter(f"{SVG}path"):
        colour = [int(value) for value in re.findall(r"\d+", path.get("fill"))]
        for x, y, w, h in re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)h-\3z", path.get("d")):
            box = slice(int(y), int(y) + int(h)), slice(int(x), int(x) + int(w))
            painted[box], covered[box] = colour, True
    assert covered.any()
    assert (painted[covered] == shown[covered]).all()
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "r = 30" in texts
    assert f"{drawing.groups[1].n_tokens} of 144 tokens" in texts


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_svg_of_clips_and_sounds_is_well_formed(drawings, modality, tmp_path):
    text = drawings[modality].save(tmp_path / "picture.svg").read_text()
    root = ET.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert len(list(root.iter(f"{SVG}image"))) == 3
    assert "256 of 256 tokens" in text


def test_mp4_plays_the_frames_at_true_speed(drawings, tmp_path):
    drawing = drawings["video"]
    with av.open(str(drawing.save(tmp_path / "clip.mp4"))) as container:
        assert container.streams.video[0].average_rate == 10
        played = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(played) == 40
    for number, frame in enumerate(played):
        expected = np.asarray(drawing.frames[number % 8]).astype(int)
        assert np.abs(frame[: expected.shape[0], : expected.shape[1]] - expected).mean() < 6


def test_mp4_of_odd_sides_gets_an_even_one():
    frames = [Image.new("RGB", (33, 17), (200, 0, 0))] * 3
    buffer = io.BytesIO()
    write_mp4(frames, buffer, 7.5)
    buffer.seek(0)
    with av.open(buffer) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (34, 18)
        assert float(stream.average_rate) == 7.5


def test_gif_plays_in_a_circle(drawings, tmp_path):
    drawing = drawings["video"]
    with Image.open(drawing.save(tmp_path / "clip.gif")) as gif:
        assert gif.n_frames == 8
        assert gif.info["loop"] == 0
        colours = set()
        for number in range(8):
            gif.seek(number)
            assert gif.info["duration"] == 100
            shown = np.asarray(gif.convert("RGB")).astype(int)
            assert np.abs(shown - np.asarray(drawing.frames[number])).mean() < 6
            colours |= set(np.unique(shown @ [1, 256, 65536]).tolist())
        assert len(colours) <= 256  # the same in all frames


class Sources(HTMLParser):
    """Addresses of what a page shows, and its alternative texts."""

    def __init__(self):
        super().__init__()
        self.found, self.alt = {}, []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if "src" in attrs:
            self.found.setdefault(tag, []).append(attrs["src"])
        if tag == "img":
            self.alt.append(attrs["alt"])


@pytest.mark.parametrize("modality", ["image", "video", "audio"])
def test_page_needs_nothing_else(drawings, modality, tmp_path):
    text = drawings[modality].save(tmp_path / "page.html").read_text()
    page = Sources()
    page.feed(text)
    assert all(address.startswith("data:") for tag in page.found.values() for address in tag)
    assert "http" not in re.sub(r'src="[^"]*"', "", text)
    picture = base64.b64decode(page.found["img"][0].split(",")[1])
    assert Image.open(io.BytesIO(picture)).size == drawings[modality].image.size
    assert f"r = 30: {drawings[modality].groups[1].n_tokens} of" in page.alt[0]
    if modality == "video":
        with av.open(io.BytesIO(base64.b64decode(page.found["video"][0].split(",")[1]))) as container:
            assert container.streams.video[0].frames == 40
    if modality == "audio":
        assert len(page.found["audio"]) == 3
        with wave.open(io.BytesIO(base64.b64decode(page.found["audio"][0].split(",")[1]))) as sound:
            assert sound.getframerate() == 16000


def test_a_notebook_shows_it(drawings):
    assert drawings["image"]._repr_html_().startswith('<img src="data:image/png')
    assert Image.open(io.BytesIO(drawings["image"]._repr_png_())).size == drawings["image"].image.size


def test_sounds_lie_beside_the_original(own_files, models, drawings, tmp_path):
    several = save_sounds(drawings["audio"], tmp_path / "left.wav")
    assert [path.name for path in several] == ["left-original.wav", "left-r0.wav", "left-r30.wav"]
    one = tome_zoo.draw(models["audio"], own_files["audio"], r=64)
    written = save_sounds(one, tmp_path / "one.wav")
    assert [path.name for path in written] == ["one-original.wav", "one.wav"]
    for path in several + written:
        with wave.open(str(path)) as sound:
            assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, 16000)
            samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
            assert np.abs(samples).max() > 1000
    original = drawings["audio"].sounds["original"]
    with wave.open(str(several[0])) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
    assert np.abs(samples / 32767 - original.numpy()).max() < 1e-4


@pytest.mark.parametrize(
    ("modality", "name", "message"),
    [("image", "a.jpg", "ends in .png"), ("image", "a.mp4", "only videos play"), ("audio", "a.gif", "only videos")],
)
def test_other_files_are_refused(drawings, modality, name, message, tmp_path):
    with pytest.raises(TomeZooError, match=message):
        drawings[modality].save(tmp_path / name)
    assert not list(tmp_path.iterdir())

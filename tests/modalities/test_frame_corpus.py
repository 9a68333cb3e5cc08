"""Every frame is the one that reading from the beginning gives: a generated corpus, frames with their number drawn in.

Container x codec x group of pictures x clock x edit list x tracks x interlacing; a sample of it runs always, all of it
with `-m slow`.
"""

import itertools
import shutil
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tome_zoo.modalities import _video_frames, video

FRAMES, HEIGHT, WIDTH, BLOCK = 150, 48, 96, 8
GROUPS = {  # codec -> groups of pictures -> options
    "libx264": {
        "closed": {"g": "24", "bf": "2"},
        "open": {"x264-params": "keyint=24:bframes=3:open-gop=1:b-pyramid=normal:scenecut=0"},
        "intra-refresh": {"x264-params": "keyint=24:intra-refresh=1:bframes=0:scenecut=0"},
        "long": {"g": "1000", "bf": "3"},
        "flagged": {"g": "1000", "bf": "2"},  # all as key frames
        "no b": {"g": "24", "bf": "0"},
        "interlaced": {"g": "24", "bf": "2", "flags": "+ildct+ilme", "x264-params": "interlaced=1"},
    },
    "libx265": {
        "closed": {"x265-params": "log-level=none:keyint=24:bframes=2:open-gop=0:scenecut=0"},
        "open": {"x265-params": "log-level=none:keyint=24:min-keyint=24:bframes=3:open-gop=1:scenecut=0"},
    },
    "libvpx-vp9": {"closed": {"g": "24", "lag-in-frames": "12", "auto-alt-ref": "1", "cpu-used": "8"}},
    "mpeg4": {"closed": {"g": "24", "bf": "0"}, "open": {"g": "24", "bf": "2"}, "flagged": {"g": "1000", "bf": "0"}},
    "mpeg2video": {"open": {"g": "24", "bf": "2"}, "interlaced": {"g": "24", "bf": "2", "flags": "+ildct+ilme"}},
    "mjpeg": {"intra": {}},
}
CONTAINERS = {
    "libx264": ("mp4", "mov", "mkv", "ts", "flv", "avi"), "libx265": ("mp4", "mkv", "ts"),
    "libvpx-vp9": ("webm", "mp4"), "mpeg4": ("mp4", "avi", "mkv"), "mpeg2video": ("mpg", "ts", "mkv"),
    "mjpeg": ("avi", "mov", "mkv"),
}  # fmt: skip
CLOCKS = ("zero", "late", "negative", "variable")
EXTRAS = ("", "edit list", "hidden group", "two tracks")


@dataclass(frozen=True)
class Case:
    """One file of the corpus."""

    codec: str
    group: str
    container: str
    clock: str = "zero"
    extra: str = ""

    @property
    def possible(self) -> bool:
        """Whether such a file can be written."""
        timed = self.container in ("mp4", "mov", "mkv", "webm")
        if self.clock != "zero" and (not timed or (self.extra and self.clock in ("late", "negative"))):
            return False
        if self.extra == "two tracks":
            return timed
        if self.clock == "negative" and self.group == "flagged" and self.container in ("mp4", "mov"):
            return False  # there a negative clock is a list that hides the beginning, see below
        # Where a list hides the only picture that begins anew, nobody can decode what follows.
        return not self.extra or (self.container in ("mp4", "mov") and self.group not in ("intra-refresh", "flagged"))

    def __str__(self) -> str:
        return "-".join(filter(None, (self.codec, self.group, self.container, self.clock, self.extra)))


CASES = [
    case
    for codec, groups in GROUPS.items()
    for case in itertools.starmap(Case, itertools.product([codec], groups, CONTAINERS[codec], CLOCKS, EXTRAS))
    if case.possible
]
SAMPLE = [
    case
    for case in CASES
    if case.codec in ("libx264", "mpeg4", "mpeg2video")
    and (case.clock, case.extra) in (("zero", ""), ("zero", "hidden group"), ("late", ""), ("zero", "two tracks"))
    and case.container in ("mp4", "mkv", "ts", "avi")
    and (case.clock == "zero" or case.group == "closed")
    and (not case.extra or case.group in ("closed", "open"))
]


def drawn(number: int, invert: bool = False) -> np.ndarray:
    """[height, width, 3]: the bits of a number as blocks, black and white, on a ground that moves."""
    picture = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    picture[24:, :, number % 3] = (np.arange(WIDTH) * 2 + number * 3) % 200
    for bit in range(10):
        value = 235 if number >> bit & 1 else 16
        picture[4:20, 8 + bit * BLOCK : 8 + (bit + 1) * BLOCK] = 251 - value if invert else value
    return picture


def number_in(picture: np.ndarray) -> int:
    """The number of a picture."""
    height, width = picture.shape[0] / HEIGHT, picture.shape[1] / WIDTH
    row = picture[round(12 * height), :, 1]
    return sum(int(row[round((12 + bit * BLOCK) * width)] > 128) << bit for bit in range(10))


def time_of(number: int, clock: str) -> int:
    """Presentation time in ms."""
    start = {"late": 1_700_000_000_000, "negative": -400}.get(clock, 0)
    return start + 40 * number + ((0, 13, 2, 29)[number % 4] + (number > 70) * 900 if clock == "variable" else 0)


def write(case: Case, path: Path) -> Path:
    """Write a file of the corpus."""
    hidden = {"edit list": 5, "hidden group": 60}.get(case.extra, 0)
    offset = "disabled" if hidden or case.clock != "zero" else "auto"
    with av.open(str(path), "w", options={"avoid_negative_ts": offset}) as file:
        streams = []
        for track in range(2 if case.extra == "two tracks" else 1):
            options = {"preset": "ultrafast"} if case.codec.startswith("libx26") else {}
            stream = file.add_stream(case.codec, rate=25, options={**options, **GROUPS[case.codec][case.group]})
            scale = 2 if track else 1  # the better one
            stream.width, stream.height = WIDTH * scale, HEIGHT * scale
            stream.pix_fmt = "yuvj420p" if case.codec == "mjpeg" else "yuv420p"
            stream.codec_context.time_base = Fraction(1, 1000) if case.codec != "mpeg4" else Fraction(1, 25)
            if case.codec in ("mpeg4", "mpeg2video"):
                stream.bit_rate = 2_000_000
                stream.codec_context.time_base = Fraction(1, 25)
            if case.codec == "libx264" and track:
                stream.codec_context.bit_rate = 1_000_000
            streams.append(stream)
        packets = []
        for track, stream in enumerate(streams):
            for number in [*range(FRAMES), None]:
                frame = None
                if number is not None:
                    picture = drawn(number)
                    picture = picture.repeat(2, 0).repeat(2, 1) if track else picture
                    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                    frame.pts, frame.time_base = time_of(number, case.clock), Fraction(1, 1000)
                    if stream.codec_context.time_base == Fraction(1, 25):
                        frame.pts, frame.time_base = time_of(number, "zero") // 40, Fraction(1, 25)
                packets += [(packet, stream) for packet in stream.encode(frame)]
        for packet, stream in sorted(packets, key=lambda item: item[0].dts * item[0].time_base):
            if case.group == "flagged":
                packet.is_keyframe = True
            if hidden:
                shift = round(hidden * Fraction(1, 25) / packet.time_base)
                packet.pts -= shift
                packet.dts -= shift
            packet.stream = stream
            file.mux(packet)
    return path


def in_order(path: Path) -> list[np.ndarray]:
    """All frames of the best track by the simplest loop there is."""
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]


def ffmpeg_numbers(path: Path, height: int, width: int) -> list[int]:
    """The numbers of all frames by the ffmpeg program."""
    command = ["ffmpeg", "-nostdin", "-v", "quiet", "-i", str(path), "-an", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    data = subprocess.run([*command, "-vsync", "passthrough", "-"], capture_output=True, check=False).stdout
    return [number_in(picture) for picture in np.frombuffer(data, np.uint8).reshape(-1, height, width, 3)]


def compare(path: Path, monkeypatch: pytest.MonkeyPatch, program: bool = False) -> int:
    """Compare single frames with all frames in order, by each decoder; how many."""
    expected = in_order(path)
    numbers = [number_in(picture) for picture in expected]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    if program and shutil.which("ffmpeg"):
        assert ffmpeg_numbers(path, *expected[0].shape[:2]) == numbers
    compared = 0
    rng = np.random.default_rng(len(expected))
    for decoder in ("pyav", "decord"):
        monkeypatch.setenv(_video_frames.VARIABLE, decoder)
        reader = video.read(path)
        assert reader.num_frames == len(expected)
        last = len(expected) - 1
        for wanted in ([0], [last], *([int(i)] for i in rng.integers(0, last, 4)), [3, 60, 61, last], [last, 45, 7]):
            for index, picture in zip(wanted, reader.frames(wanted).numpy(), strict=True):
                assert np.array_equal(picture, expected[index]), f"{decoder}: frame {index} is {number_in(picture)}"
                compared += 1
    return compared


def available(codec: str) -> bool:
    try:
        av.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


@pytest.mark.parametrize("case", SAMPLE, ids=str)
def test_frames_are_those_in_order(tmp_path, monkeypatch, case):
    if not available(case.codec):
        pytest.skip(f"PyAV has no {case.codec}")
    assert compare(write(case, tmp_path / f"a.{case.container}"), monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_frames_are_those_in_order_everywhere(tmp_path, monkeypatch, case):
    if not available(case.codec):
        pytest.skip(f"PyAV has no {case.codec}")
    path = write(case, tmp_path / f"a.{case.container}")
    # Of tracks that state no bit rate the program takes the one with most pixels, the library the first; where a list
    # begins within a frame, versions of FFmpeg show that frame or not.
    within = case.codec == "mjpeg" and case.clock == "variable" and case.extra == "edit list"
    compared = compare(path, monkeypatch, program=case.extra != "two tracks" and not within)
    print(f"{compared} frames compared, {case}")

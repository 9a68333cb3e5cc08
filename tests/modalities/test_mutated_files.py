"""Damaged files end no process, hang none, and cost no more memory than whole ones of their size might."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tome_zoo.data.workers import WorkerPool

FEW, MANY = 120, 4000
PATIENCE = 60.0  # s a file
MEMORY = 1536  # MiB a process, of which half is torch; the files have 10 to 500 kB
SOUNDS = {
    "a.wav": "pcm_s16le", "b.wav": "pcm_f32le", "c.wav": "adpcm_ima_wav", "a.flac": "flac", "a.m4a": "aac",
    "b.m4a": "alac", "a.mp3": "libmp3lame", "a.ogg": "vorbis", "b.ogg": "flac", "a.opus": "libopus", "a.mka": "aac",
    "a.webm": "libopus", "a.aiff": "pcm_s16be", "a.caf": "pcm_s16le", "a.au": "pcm_s16be", "a.w64": "pcm_s16le",
    "a.wma": "libmp3lame", "a.avi": "libmp3lame", "a.flv": "aac", "a.wv": "wavpack", "a.tta": "tta", "a.ac3": "ac3",
    "a.aac": "aac", "a.ts": "mp2",
}  # fmt: skip
VIDEOS = {
    "a.mp4": {"codec": "libx264", "options": {"bf": "2"}}, "b.mp4": {"codec": "mpeg4"},
    "c.mp4": {"codec": "libx264", "container": {"movflags": "+frag_keyframe+empty_moov"}},
    "a.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "b.mov": {"codec": "libx264", "container": {"movflags": "+faststart"}},
    "a.mkv": {"codec": "libx265", "options": {"x265-params": "log-level=none"}}, "b.mkv": {"codec": "libx264"},
    "a.webm": {"codec": "libvpx-vp9", "options": {"cpu-used": "8"}}, "b.webm": {"codec": "libvpx"},
    "a.avi": {"codec": "mpeg4"}, "b.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, "a.ts": {"codec": "libx264"},
    "a.mpg": {"codec": "mpeg2video"}, "a.flv": {"codec": "flv"}, "a.wmv": {"codec": "wmv2"},
    "c.mkv": {"codec": "ffv1"}, "a.m2ts": {"codec": "mpeg2video"},
}  # fmt: skip


@pytest.fixture
def sounds(write_sound) -> tuple[Path, ...]:
    noise = 0.2 * np.random.default_rng(0).standard_normal((2, 2 * 48000))
    return tuple(write_sound(name, noise, 48000, codec=codec) for name, codec in SOUNDS.items())


@pytest.fixture
def videos(write_video) -> tuple[Path, ...]:
    return tuple(write_video(name, 50, **settings) for name, settings in VIDEOS.items())


def damage(reads, count: int) -> Counter:
    """What became of so many damaged files; peak memory, MiB, under "peak"."""
    found: Counter = Counter()
    for item, outcome in enumerate(WorkerPool(reads, 2, timeout=PATIENCE).imap(range(count))):
        assert outcome.lost is None, f"{reads.files[item % len(reads.files)].name}, number {item}: {outcome.lost}"
        what, peak = outcome.result
        found[what] += 1
        found["peak"] = max(found["peak"], peak // 1024)
    return found


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["audio", "video"])
def test_damage_ends_no_process(request, tmp_path, monkeypatch, audio_spec, video_spec, views_of, kind, count):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    from mutating import Reads

    spec = {"audio": audio_spec, "video": video_spec}[kind]()
    files = request.getfixturevalue({"audio": "sounds", "video": "videos"}[kind])
    (tmp_path / "damaged").mkdir()
    protocol = views_of(2 if kind == "video" else 1)
    found = damage(Reads(kind, spec, protocol, files, tmp_path / "damaged"), count)
    print(f"{kind}: {dict(found)}")
    assert found["scored"] + found["refused"] == count
    assert found["refused"] > count / 4
    assert found["peak"] < MEMORY

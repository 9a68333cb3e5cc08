"""Media files written on the spot, and the little that modalities need to know of a model."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from tome_zoo.modalities import _video_frames
from tome_zoo.modalities.inputs import AudioInput, ImageInput, VideoInput
from tome_zoo.transformer.architecture import Architecture

Write = Callable[..., Path]


@pytest.fixture
def views_of() -> Callable[..., SimpleNamespace]:
    """Builds a protocol: `views_of(temporal, spatial, sampling)`."""
    return lambda temporal=1, spatial=1, sampling="clip": SimpleNamespace(
        temporal_views=temporal, spatial_views=spatial, sampling=sampling
    )


@pytest.fixture
def image_spec() -> Callable[..., SimpleNamespace]:
    """Builds a model card's part for images: `image_spec(img_size, in_chans=3, **input)`."""

    def build(img_size: Any = 32, *, in_chans: int = 3, **settings: Any) -> SimpleNamespace:
        settings = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)} | settings
        architecture = Architecture(
            embed_dim=8, depth=1, num_heads=1, num_classes=2, patch_size=4, img_size=img_size, in_chans=in_chans
        )
        return SimpleNamespace(architecture=architecture, input=ImageInput(**settings))

    return build


@pytest.fixture
def video_spec() -> Callable[..., SimpleNamespace]:
    """Builds a model card's part for videos: `video_spec(img_size, num_frames, **input)`."""

    def build(img_size: Any = 32, num_frames: int = 8, **settings: Any) -> SimpleNamespace:
        settings = {"mean": (0.45, 0.45, 0.45), "std": (0.225, 0.225, 0.225)} | settings
        architecture = Architecture(
            embed_dim=8, depth=1, num_heads=1, num_classes=2, patch_size=4, img_size=img_size, num_frames=num_frames,
            tubelet_size=2,
        )  # fmt: skip
        return SimpleNamespace(architecture=architecture, input=VideoInput(**settings))

    return build


@pytest.fixture
def audio_spec() -> Callable[..., SimpleNamespace]:
    """Builds a model card's part for sounds, AudioMAE's normalisation: `audio_spec(img_size, **input)`."""

    def build(img_size: Any = (96, 32), **settings: Any) -> SimpleNamespace:
        architecture = Architecture(
            embed_dim=8, depth=1, num_heads=1, num_classes=2, patch_size=16, img_size=img_size, in_chans=1
        )
        return SimpleNamespace(
            architecture=architecture, input=AudioInput(**{"mean": -4.2677393, "std": 4.5689974} | settings)
        )

    return build


@pytest.fixture
def write_video(tmp_path: Path) -> Write:
    """Writes frames [frames, height, width, 3], or so many made-up ones, as a video; returns its path."""

    def write(
        name: str = "clip.mp4", frames: Any = 30, *, size: tuple[int, int] = (48, 64), codec: str = "libx264",
        pix_fmt: str = "yuv420p", rate: int = 25, options: dict[str, str] | None = None,
        container: dict[str, str] | None = None, times: Callable[[int], int] | None = None,
    ) -> Path:  # fmt: skip
        pictures = moving(frames, *size) if isinstance(frames, int) else frames
        path = tmp_path / name
        with av.open(str(path), "w", options=container or {}) as file:
            stream = file.add_stream(codec, rate=rate, options=options or {})
            stream.height, stream.width, stream.pix_fmt = pictures.shape[1], pictures.shape[2], pix_fmt
            for number, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                if times is not None:
                    frame.pts, frame.time_base = times(number), Fraction(1, 1000)
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        return path

    return write


@pytest.fixture
def every_frame() -> Callable[[Path], np.ndarray]:
    """All frames of a video in order, [frames, height, width, 3], by the simplest loop there is."""

    def decode(path: Path) -> np.ndarray:
        with av.open(str(path)) as container:
            return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])

    return decode


@pytest.fixture(params=["decord", "pyav"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test with decord, wherever it can be trusted, and again without it."""
    if request.param == "pyav":
        monkeypatch.setattr(_video_frames, "_decord_module", lambda: None)
    else:
        pytest.importorskip("decord")
        monkeypatch.setattr(_video_frames, "_FEW", 0)  # even where PyAV is quicker
    return request.param


@pytest.fixture
def write_sound(tmp_path: Path) -> Write:
    """Writes samples [channels, samples] in -1 to 1 as a sound; returns its path."""

    def write(name: str, samples: Any, rate: int = 16000, *, codec: str = "pcm_s16le", format: str = "s16p") -> Path:
        samples = np.atleast_2d(np.asarray(samples, dtype=np.float32))
        kind = {"u8p": np.uint8, "s16p": np.int16, "s32p": np.int32, "fltp": np.float32, "dblp": np.float64}[format]
        if format == "u8p":
            values = np.round(samples * 127 + 128).astype(kind)
        elif format in ("fltp", "dblp"):
            values = samples.astype(kind)
        else:
            scale = 2.0 ** (15 if format == "s16p" else 31)
            values = np.clip(np.round(samples.astype(np.float64) * scale), -scale, scale - 1).astype(kind)
        path = tmp_path / name
        layout = "mono" if len(samples) == 1 else "stereo"
        with av.open(str(path), "w") as file:
            stream = file.add_stream(codec, rate=rate, layout=layout, options={"strict": "experimental"})
            resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate, frame_size=stream.frame_size)
            frame = av.AudioFrame.from_ndarray(values, format=format, layout=layout)
            frame.sample_rate, frame.pts = rate, 0
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                file.mux(stream.encode(part))
            file.mux(stream.encode(None))
        return path

    return write


def moving(frames: int, height: int, width: int) -> np.ndarray:
    """Coloured ramps that move, so that every frame differs from every other."""
    t, y, x = np.meshgrid(np.arange(frames), np.arange(height), np.arange(width), indexing="ij")
    return np.stack([x * 2 + t * 5, y * 3 + t * 2, t * 7], axis=-1).astype(np.uint8)

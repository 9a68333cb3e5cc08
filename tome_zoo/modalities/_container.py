"""Files that FFmpeg reads: opened as the file of that name and as nothing else, and the track that players take."""

import os
from functools import cache
from pathlib import Path
from typing import Any, Literal

import av
from av.container import InputContainer
from av.stream import Disposition, Stream

_TEXTS = "adf bin idf tty xbin"  # FFmpeg draws them as videos
_LISTS = "concat dash hls imf lavfi rtp rtsp sap sdp vobsub webm_dash_manifest"  # of other files and addresses
_DEVICES = "alsa fbdev jack kmsgrab oss pulse sndio v4l2 video4linux2,v4l2 x11grab"
_PICTURES = "image2 image2pipe alias_pix brender_pix ico txd"  # and all that end in _pipe
_RAW = (  # nothing but the ending of a name tells what they are
    "alaw bit bitpacked codec2raw data f32be f32le f64be f64le g722 g726 g726le g729 gsm mulaw rawvideo s16be s16le "
    "s24be s24le s32be s32le s8 sln u16be u16le u24be u24le u32be u32le u8 v210 v210x vidc"
)


def open_container(path: Path, options: dict[str, str] | None = None) -> InputContainer:
    """Open a file for demuxing. A colon in its name is no protocol, a list of files and a text are no media."""
    allowed = {"format_whitelist": _formats(), "protocol_whitelist": "file"}
    return av.open(f"file:{os.fspath(path)}", options={**allowed, **(options or {})})


def best_stream(container: InputContainer, kind: Literal["video", "audio"]) -> Any:
    """The track that players, the ffmpeg program and other decoders take where there are several; None without one.

    That is FFmpeg's choice: the default one, the largest, the longest. Cover pictures are no tracks.
    """
    best = container.streams.best(kind)
    if best is None or not is_cover(best):
        return best
    return next((stream for stream in container.streams.get(**{kind: 0}) if not is_cover(stream)), None)


def is_cover(stream: Stream) -> bool:
    """Whether a track is a picture that goes with the others."""
    still = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
    return stream.type == "video" and bool(stream.disposition & still)


def reason_of(error: Exception) -> str:
    """What FFmpeg has to say."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@cache
def _formats() -> str:
    """All of FFmpeg's formats but those above."""
    refused = {name for names in (_TEXTS, _LISTS, _DEVICES, _PICTURES, _RAW) for name in names.split()}
    names = (name for name in av.formats_available if name not in refused and not name.endswith("_pipe"))
    return ",".join(sorted(names))

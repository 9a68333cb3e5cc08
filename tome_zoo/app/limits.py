"""What a file that somebody drops in may be: its size and its length."""

from pathlib import Path

from tome_zoo.errors import MediaError
from tome_zoo.modalities.inputs import Modality

MAX_MEGABYTES = 200
MAX_SECONDS = 600.0


def check_file(path: Path, modality: Modality) -> None:
    """Refuse a file that is too large or too long, before it is decoded.

    Args:
        path: The file.
        modality: What the model reads.

    Raises:
        MediaError: If it is larger than 200 MB, a video or sound of more than 10 minutes, or holds neither.
    """
    megabytes = path.stat().st_size / 1e6
    if megabytes > MAX_MEGABYTES:
        raise MediaError(f"{path.name}: expected a file of at most {MAX_MEGABYTES} MB, got {megabytes:,.0f} MB")
    if modality == "image":
        return
    seconds = _seconds(path, modality)
    if seconds > MAX_SECONDS:
        raise MediaError(
            f"{path.name}: expected at most {MAX_SECONDS:.0f} s, got {seconds:.0f} s: cut a piece out of it"
        )


def _seconds(path: Path, modality: Modality) -> float:
    """The length that a file announces; 0 where it announces none."""
    import av

    try:
        with av.open(f"file:{path}") as container:
            streams = container.streams.video if modality == "video" else container.streams.audio
            if not streams:
                raise MediaError(f"{path.name}: expected {'a video' if modality == 'video' else 'a sound'}, found none")
            return (container.duration or 0) / av.time_base
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{path.name}: cannot be read as {modality}: {error}") from None

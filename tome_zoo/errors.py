"""What can be wrong with what a user brings. Every message says what was expected, what came and how to mend it."""


def printable(text: str) -> str:
    """A text that can be written as UTF-8: bytes of a file's name that are none become \\xe9 and the like."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a surrogate pair, which stands for no byte
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


class TomeZooError(ValueError):
    """Base of all errors that a user can mend; the command line turns it into one line and exit code 2."""

    def __init__(self, *args: object) -> None:
        """An error with a message that can be printed, whatever the names of files in it."""
        super().__init__(*(printable(item) if isinstance(item, str) else item for item in args))


class ScheduleError(TomeZooError):
    """An `r` that is no merging schedule for this model."""


class UnsupportedModelError(TomeZooError):
    """A model that cannot be merged exactly."""


class MediaError(TomeZooError):
    """An image, video or sound that cannot be read."""


class CardError(TomeZooError):
    """A card that does not fit its schema, a duplicate or an unknown name."""


class CheckpointError(TomeZooError):
    """A weight file that is missing, damaged, unsafe or of another model."""


class DataError(TomeZooError):
    """A data set on disk that does not look as its card says."""


class LostRankError(TomeZooError):
    """Another process of a distributed run that has ended, or does not answer."""

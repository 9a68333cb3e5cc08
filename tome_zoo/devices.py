"""Where a model runs: the device, and how many processes decode for it."""

import torch

from tome_zoo import distributed, processor
from tome_zoo.errors import TomeZooError

MOST_DECODERS = 8


def choose_device(device: torch.device | str | None = None) -> torch.device:
    """The device of that name; without one CUDA where there is a device, else the CPU.

    Of several processes on a machine each takes a GPU of its own, unless the name has a number.

    Raises:
        TomeZooError: If torch cannot use it.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(device)
        if place.type == "cuda" and place.index is None:
            place = torch.device("cuda", distributed.place().local)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:  # torch's own way to say that it was built without CUDA
        reason = str(error).splitlines()[0]
        raise TomeZooError(f"device {str(device)!r} cannot be used ({reason}): try cpu, cuda or cuda:0") from None
    return place


def decoders(place: torch.device) -> int:
    """How many processes decode for a model: none on a CPU, which has enough to do, else a share of the processors."""
    if place.type == "cpu":
        return 0
    return max(1, min(MOST_DECODERS, processor.cores() // distributed.place().local_world))

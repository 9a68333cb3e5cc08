"""What a process that decodes does, and how a tensor goes through a pipe."""

import os
import pickle
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from torch import Tensor

Function = Callable[[int], tuple[Any, Tensor | None]]
"""What the processes do: an item gives something small and a float32 tensor, or none."""

PIPE = 1 << 20  # bytes that a pipe holds, the most that Linux allows without privileges


def serve(tasks: Connection, results: Connection) -> None:
    """Work until the other side is gone.

    Args:
        tasks: The pickled function comes first, then items.
        results: None goes there when the process is ready, else what is wrong; then what the function gives for each
            item: a triple (result, shape of the tensor, error), and the tensor's bytes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    torch.set_num_threads(1)
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(results.fileno(), fcntl.F_SETPIPE_SZ, PIPE)
    with suppress(EOFError, OSError):  # the parent is gone
        function: Function
        try:
            function = pickle.loads(tasks.recv_bytes())
        except Exception as error:
            results.send(f"{type(error).__name__}: {error}")
            return
        results.send(None)
        while True:
            item = tasks.recv()
            result, tensor, fault = None, None, None
            try:
                result, tensor = function(item)
            except Exception as error:
                fault = error
            results.send((result, None if tensor is None else tuple(tensor.shape), fault))
            if tensor is not None:
                _send_tensor(results, tensor)


def receive_tensor(pipe: Connection, shape: tuple[int, ...], pin_memory: bool) -> Tensor:
    """A float32 tensor from the other end of a pipe; raises EOFError if that ends first."""
    if pin_memory:
        tensor = torch.empty(shape, dtype=torch.float32, pin_memory=True)
    else:  # NumPy asks Linux for huge pages, which are quicker to touch
        tensor = torch.from_numpy(np.empty(shape, dtype=np.float32))
    view = _bytes(tensor)
    if sys.platform == "win32":  # a pipe is no file descriptor there
        pipe.recv_bytes_into(view)
        return tensor
    done = 0
    while done < len(view):
        count = os.readv(pipe.fileno(), [view[done:]])
        if not count:
            raise EOFError
        done += count
    return tensor


def _send_tensor(pipe: Connection, tensor: Tensor) -> None:
    view = _bytes(tensor.float().contiguous())
    if sys.platform == "win32":
        pipe.send_bytes(view)
        return
    done = 0
    while done < len(view):
        done += os.write(pipe.fileno(), view[done:])


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.numpy().reshape(-1).view(np.uint8).data

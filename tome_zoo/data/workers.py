"""Processes that decode. One that dies or hangs costs the file that it had in hand, and is replaced."""

import logging
import multiprocessing
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tome_zoo.data.worker_process import Function, receive_tensor, serve
from tome_zoo.errors import TomeZooError

QUEUED = 2  # items that a process has at hand, so that it need not wait for the next one
AHEAD = 1 << 28  # bytes that may lie decoded before they are asked for, if these are more than two items a process

_log = logging.getLogger(__name__)
_STARTING = threading.Lock()


class StartError(TomeZooError):
    """No process could be started, or none became ready."""


class Outcome(NamedTuple):
    """What became of an item: a result, with or without a tensor, or the reason why there is none."""

    result: Any = None
    tensor: Tensor | None = None
    lost: str | None = None


@dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    tasks: Connection
    results: Connection
    ready: bool = False
    queued: deque[int] = field(default_factory=deque)  # positions; the first is in hand
    since: float = field(default_factory=time.monotonic)  # when it took the first


class WorkerPool:
    """Processes that work through items; results come in the order of the items.

    Results travel through pipes, so that neither shared memory nor open files limit how many there are. The processes
    are started by a server that has decoded nothing (forkserver; spawn where there is none): a fork of a process whose
    FFmpeg has threads may wait for ever. A script needs no `if __name__ == "__main__"`: it is not imported by them.
    """

    def __init__(self, function: Function, count: int, *, timeout: float, pin_memory: bool = False) -> None:
        """Start `count` processes.

        Args:
            function: What they do; it is pickled.
            count: How many.
            timeout: Seconds that an item may take.
            pin_memory: Put tensors where a GPU can fetch them.

        Raises:
            StartError: If they cannot be started.
        """
        self._timeout = timeout
        self._device = torch.cuda.current_device() if pin_memory and torch.cuda.is_available() else None
        self._changed = threading.Condition()
        self._outcomes: dict[int, Outcome] = {}
        self._error: BaseException | None = None
        self._closed = False
        self._workers: list[_Worker] = []
        self._awake, self._wake = _context().Pipe(duplex=False)
        try:
            self._function = pickle.dumps(function)
            for _ in range(count):
                self._workers.append(self._start())
        except Exception as error:  # no memory, no processes left, a function that cannot be pickled
            self.close()
            raise StartError(f"{type(error).__name__}: {error}") from error

    def imap(self, items: Sequence[int]) -> Iterator[Outcome]:
        """The outcome of each item, in order; may be called once.

        Raises:
            StartError: If a process ends before it is ready.
            Exception: What the function raised.
        """
        self._items = items
        self._todo = deque(range(len(items)))
        self._again: set[int] = set()  # items whose process was killed; they have a second try
        self._taken, self._window = 0, QUEUED * len(self._workers)
        thread = threading.Thread(target=self._receive_all, name="tome-zoo decoding", daemon=True)
        thread.start()
        try:
            for position in range(len(items)):
                with self._changed:
                    while position not in self._outcomes:
                        if self._error is not None:
                            raise self._error
                        self._changed.wait()
                    outcome = self._outcomes.pop(position)
                    self._taken += 1
                self._wake.send_bytes(b"go")
                yield outcome
        finally:
            with self._changed:
                self._closed = True
            with suppress(OSError):
                self._wake.send_bytes(b"end")
            thread.join(10)
            self.close()

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            _end(worker)
        self._workers.clear()
        self._awake.close()
        self._wake.close()

    # All below runs in the thread that receives.

    def _receive_all(self) -> None:
        try:
            if self._device is not None:
                torch.cuda.set_device(self._device)
            while True:
                with self._changed:
                    if self._closed:
                        return
                    self._hand_out()
                heard = wait([self._awake, *(worker.results for worker in self._workers)], self._patience())
                for worker in list(self._workers):
                    if worker.results in heard:
                        self._receive(worker)
                    elif worker.ready and worker.queued and time.monotonic() - worker.since > self._timeout:
                        self._replace(
                            worker,
                            f"took longer than {self._timeout:g} s and was given up; is the disk it lies on reachable?",
                        )
                if self._awake in heard:
                    self._awake.recv_bytes()
        except BaseException as error:  # told to whoever waits for results
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _hand_out(self) -> None:
        for _ in range(QUEUED):
            for worker in self._workers:
                if worker.ready and self._todo and len(worker.queued) < QUEUED:
                    if self._todo[0] >= self._taken + self._window:
                        return
                    position = self._todo.popleft()
                    if not worker.queued:
                        worker.since = time.monotonic()
                    worker.queued.append(position)
                    with suppress(OSError):  # it is dead, which its results will tell
                        worker.tasks.send(self._items[position])

    def _patience(self) -> float | None:
        """Seconds until the next process has taken too long."""
        ends = [worker.since + self._timeout for worker in self._workers if worker.ready and worker.queued]
        return max(0.0, min(ends) - time.monotonic()) + 0.01 if ends else None

    def _receive(self, worker: _Worker) -> None:
        try:
            if not worker.ready:
                fault = worker.results.recv()
                if fault is not None:
                    raise StartError(fault)
                worker.ready = True
                return
            result, shape, error = worker.results.recv()
            tensor = None if shape is None else receive_tensor(worker.results, shape, self._device is not None)
        except (EOFError, OSError):
            self._died(worker)
            return
        if error is not None:
            raise error
        position = worker.queued.popleft()
        worker.since = time.monotonic()
        self._settle(position, Outcome(result, tensor))

    def _settle(self, position: int, outcome: Outcome) -> None:
        with self._changed:
            self._outcomes[position] = outcome
            if outcome.tensor is not None and outcome.tensor.nbytes:
                self._window = max(QUEUED * len(self._workers), AHEAD // outcome.tensor.nbytes)
            self._changed.notify_all()

    def _died(self, worker: _Worker) -> None:
        worker.process.join(5)
        code = worker.process.exitcode
        if not worker.ready:
            raise StartError(f"a process that decodes ended before it was ready (exit code {code})")
        if code == -signal.SIGKILL and worker.queued and worker.queued[0] not in self._again:
            self._again.add(worker.queued[0])
            self._replace(worker, None)
        else:
            self._replace(worker, _cause(code))

    def _replace(self, worker: _Worker, reason: str | None) -> None:
        """Start another process; the item in hand is lost for that reason, or tried again."""
        positions = list(worker.queued)
        if reason is not None and positions:
            self._settle(positions.pop(0), Outcome(lost=reason))
        with self._changed:
            self._todo.extendleft(reversed(positions))
        self._workers.remove(worker)
        _end(worker)
        self._workers.append(self._start())

    def _start(self) -> _Worker:
        context = _context()
        (its_tasks, tasks), (results, its_results) = context.Pipe(duplex=False), context.Pipe(duplex=False)
        process = context.Process(target=serve, args=(its_tasks, its_results), name="tome-zoo decoder", daemon=True)
        with _without_main():
            process.start()
        its_tasks.close()
        its_results.close()
        with suppress(OSError):  # it is dead, which its results will tell
            tasks.send_bytes(self._function)
        return _Worker(process, tasks, results)


def _context() -> Any:
    """How processes are started."""
    known = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in known else "spawn")
    context.set_forkserver_preload(["tome_zoo.data.worker_process", "tome_zoo.data.decode"])
    return context


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the main module, so that a started process does not run the user's script once more."""
    with _STARTING:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _end(worker: _Worker) -> None:
    """Kill a process, without waiting: one that hangs on a disk may not die before the disk answers."""
    with suppress(Exception):
        worker.process.kill()
    worker.tasks.close()
    worker.results.close()


def _cause(code: int | None) -> str:
    """Why a process died, and the mend."""
    if code == -signal.SIGKILL:
        return (
            "the process that decoded it was killed twice, as the system does when memory runs out: use fewer workers, "
            "or a smaller file"
        )
    if code is not None and code < 0:
        with suppress(ValueError):
            code_name = signal.Signals(-code).name
            return f"the decoder crashed on it ({code_name}): the file is damaged or of a rare kind; convert it again"
    return f"the process that decoded it ended (exit code {code}): convert the file again"

"""The threads that the compiled functions share their work among."""

import ctypes
import functools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple


class _Helpers(NamedTuple):
    """A pool of threads, and the system's numbers of those that have begun."""

    pool: ThreadPoolExecutor
    numbers: list[int]


@functools.cache
def _helpers(process: int, threads: int) -> _Helpers:
    """Those of each process, as threads do not survive a fork."""
    numbers: list[int] = []

    def begin() -> None:
        numbers.append(threading.get_native_id())

    return _Helpers(ThreadPoolExecutor(threads, f"fsrcnn-{process}", begin), numbers)


@functools.cache
def _core_of_this_thread() -> Callable[[], int] | None:
    """Tells the core that the calling thread runs on; None: the system does not, or does not let choose."""
    return getattr(ctypes.CDLL(None), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None


def _send_away(threads: Sequence[int]) -> None:
    """Keeps the threads from this one's core. At times Linux wakes them there and moves them only after milliseconds,
    in which a small picture is done.
    """
    core = _core_of_this_thread()
    with suppress(OSError):  # where a sandbox forbids it
        if core and (others := os.sched_getaffinity(0) - {core()}):
            for thread in threads:
                os.sched_setaffinity(thread, others)


def in_threads(task: Callable[..., None], arguments: Sequence[tuple[int, ...]], threads: int) -> None:
    """Calls `task(*each)` for each of the arguments, in this thread and `threads` - 1 others, each of which takes the
    next as soon as it is free. The task must spend most of its time in native code, where Python lets others run.
    """
    remaining = iter(arguments)  # Python hands each of them to one thread only

    def work() -> None:
        for each in remaining:
            task(*each)

    helpers = _helpers(os.getpid(), threads)
    if len(arguments) > 1:
        _send_away(helpers.numbers)
    futures = [helpers.pool.submit(work) for _ in range(min(threads, len(arguments)) - 1)]
    work()
    for future in futures:
        future.result()

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


def _allowed_cores() -> set[int]:
    """Those that this thread may run on; none where they cannot be chosen."""
    with suppress(OSError):  # where a sandbox forbids it
        return os.sched_getaffinity(0) if _core_of_this_thread() else set()
    return set()


def _send_away(threads: Sequence[int], cores: set[int]) -> None:
    """Keeps the threads from this one's core until they `_settle`. At times Linux wakes them there and moves them only
    after milliseconds, in which a small picture is done. cores: that this thread may run on.
    """
    core = _core_of_this_thread()
    with suppress(OSError):
        if core and (others := cores - {core()}):
            for thread in threads:
                os.sched_setaffinity(thread, others)


def _settle(cores: set[int]) -> None:
    """Lets this thread, which is awake, run on all these cores: others may want the one that it woke on."""
    with suppress(OSError):
        if cores:
            os.sched_setaffinity(0, cores)


def in_threads(task: Callable[..., None], arguments: Sequence[tuple[int, ...]], threads: int) -> None:
    """Calls `task(*each)` for each of the arguments, in this thread and `threads` - 1 others, each of which takes the
    next as soon as it is free. The task must spend most of its time in native code, where Python lets others run.
    """
    remaining = iter(arguments)  # Python hands each of them to one thread only

    def work() -> None:
        for each in remaining:
            task(*each)

    def help_out() -> None:
        _settle(cores)
        work()

    helpers, cores = _helpers(os.getpid(), threads), _allowed_cores()
    if len(arguments) > 1:
        _send_away(helpers.numbers, cores)
    futures = [helpers.pool.submit(help_out) for _ in range(min(threads, len(arguments)) - 1)]
    work()
    for future in futures:
        future.result()

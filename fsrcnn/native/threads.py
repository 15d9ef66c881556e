"""The threads that the compiled functions share their work among."""

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor


@functools.cache
def _workers(process: int, threads: int) -> ThreadPoolExecutor:
    """A pool for each process, as threads do not survive a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix=f"fsrcnn-{process}")


def in_threads(task: Callable[..., None], arguments: Sequence[tuple[int, ...]], threads: int) -> None:
    """Calls `task(*each)` for each of the arguments, in this thread and `threads` - 1 others, each of which takes the
    next as soon as it is free. The task must spend most of its time in native code, where Python lets others run.
    """
    remaining = iter(arguments)  # Python hands each of them to one thread only

    def work() -> None:
        for each in remaining:
            task(*each)

    helpers = [_workers(os.getpid(), threads).submit(work) for _ in range(min(threads, len(arguments)) - 1)]
    work()
    for helper in helpers:
        helper.result()

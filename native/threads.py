"""The threads that the compiled functions share their work among."""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_threads: int | None = None


def get_num_threads() -> int:
    """Threads that the compiled functions share their work among: PyTorch's own number, unless it was set."""
    import torch  # here, because upscale.py asks for no number and does without PyTorch, which is slow to import

    return _threads or torch.get_num_threads()


def take_threads() -> None:
    """From now on the compiled functions use as many threads as PyTorch does now, and PyTorch's operations one: where
    those are small they are faster so, and PyTorch's idle threads, which wait in a busy loop, slow the functions.
    """
    global _threads
    import torch

    _threads = get_num_threads()
    torch.set_num_threads(1)


@functools.cache
def _workers(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads do not survive a fork, so each process has its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix=f"fsrcnn-{process}")


def in_threads(task: Callable[..., None], arguments: list[tuple[int, ...]], threads: int) -> None:
    """Calls task with each of the arguments, which the threads, this one among them, take as they come to them; it is
    in native code most of the time, where Python lets others run.
    """
    remaining = iter(arguments)  # Python hands each of them to one thread only

    def work() -> None:
        for each in remaining:
            task(*each)

    helpers = [_workers(os.getpid(), threads).submit(work) for _ in range(min(threads, len(arguments)) - 1)]
    work()
    for helper in helpers:
        helper.result()

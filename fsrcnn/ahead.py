"""Steps of work that overlap: each runs in threads of its own, a few items ahead of the step that takes its results."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

AHEAD = 4  # items that a step may be ahead of the next one
MOST_AHEAD = 2**30  # bytes of items that may wait, where there are more threads than AHEAD

T = TypeVar("T")
Result = TypeVar("Result")


@contextmanager
def ahead(items: Iterator[T], number: int = AHEAD) -> Iterator[Iterator[T]]:
    """The same items, taken from the iterator by a thread of its own, at most `number` of them early."""
    with ThreadPoolExecutor(1) as thread:

        def next_one() -> list[T]:
            return list(islice(items, 1))  # empty at the end

        futures = deque(thread.submit(next_one) for _ in range(number))

        def taken() -> Iterator[T]:
            while item := futures.popleft().result():
                futures.append(thread.submit(next_one))
                yield from item

        try:
            yield taken()
        finally:
            thread.shutdown(cancel_futures=True)


def number_ahead(threads: int, size: int) -> int:
    """How many items of `size` bytes a step may be ahead: enough for all threads, as far as memory is for it."""
    return max(AHEAD, min(threads, MOST_AHEAD // max(size, 1)))


@contextmanager
def map_ahead(
    task: Callable[[T], Result], items: Iterator[T], pool: ThreadPoolExecutor, number: int
) -> Iterator[Iterator[Result]]:
    """An ordered `pool.map(task, items)` that runs at most `number` items early."""
    with ahead((pool.submit(task, item) for item in items), number) as futures:
        yield (future.result() for future in futures)

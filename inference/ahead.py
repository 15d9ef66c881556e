"""Steps of work in threads of their own, each a few items ahead of the next."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

AHEAD = 4  # items that a step may be ahead of the next one

T = TypeVar("T")
Made = TypeVar("Made")


@contextmanager
def ahead(items: Iterator[T], number: int = AHEAD) -> Iterator[Iterator[T]]:
    """The items, made in a thread of their own before they are asked for, but no more than `number` of them."""
    with ThreadPoolExecutor(1) as thread:
        end = object()
        futures = deque(thread.submit(next, items, end) for _ in range(number))

        def made() -> Iterator[T]:
            while (item := futures.popleft().result()) is not end:
                futures.append(thread.submit(next, items, end))
                yield item

        try:
            yield made()
        finally:
            thread.shutdown(cancel_futures=True)


@contextmanager
def each_ahead(
    task: Callable[[T], Made], items: Iterator[T], pool: ThreadPoolExecutor, number: int
) -> Iterator[Iterator[Made]]:
    """What the task makes of each of the items in the pool's threads, in their order; as `ahead` otherwise."""
    with ahead((pool.submit(task, item) for item in items), number) as futures:
        yield (future.result() for future in futures)

"""Ctrl-C, and the signals that end a process: one line and an exit code, never a traceback."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], None]

# Ctrl-C, what `kill` and a shutdown send, and what a closed terminal sends, which Windows does not have.
ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """Raised in the main thread by a signal of ENDING; the message is for the user. The exit code is 128 + number."""

    def __init__(self, number: int, message: str = "interrupted") -> None:
        super().__init__(message)
        self.number = number


def stop_at_once(number: int, _: FrameType | None) -> None:
    """A handler for when there is nothing to clean up. It also ends imports, some of which replace exceptions."""
    with contextlib.suppress(OSError):  # the terminal may be gone
        os.write(2, b"interrupted\n")
    os._exit(128 + number)


def _raise(number: int, _: FrameType | None) -> None:
    """A handler that lets unfinished work be cleaned up. The same signal again ends the process at once; others, which
    the parents of this process may send for the same Ctrl-C, do not disturb.
    """
    handle(lambda each: stop_at_once if each == number else signal.SIG_IGN)
    raise Interrupted(number)


def handle(handler_of: Callable[[int], Handler | signal.Handlers]) -> None:
    """Sets the handler of each signal of ENDING, but for those that this process was started to ignore, as nohup and a
    shell's `&` have it.
    """
    for number in ENDING:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, handler_of(number))


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it, the signals of ENDING raise Interrupted."""
    before = {number: signal.getsignal(number) for number in ENDING}
    handle(lambda _: _raise)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that is not Python's, which is still there
                signal.signal(number, handler)

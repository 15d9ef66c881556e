"""Errors as a user sees them: one line with what is wrong, where, and what to do."""

import argparse
import contextlib
import io
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from numbers import Real
from typing import NoReturn

from fsrcnn.signals import Interrupted

WRONG_REQUEST, FAILURE = 2, 1
MOST_SHOWN = 40  # characters of a wrong argument


class Error(Exception):
    """What this package and the scripts raise for a user's or a machine's error; the message names cause and remedy."""


class RequestError(Error):
    """The request cannot be carried out as it stands: exit code 2."""


class FailureError(Error):
    """The request was fine and carrying it out failed: exit code 1."""


class SeveralPicturesError(FailureError):
    """A file holds an animation or several pages, no single picture."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises RequestError for an invalid command line."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(message)


def shown(text: object) -> str:
    """The text as it may go to a terminal: one line, nothing in it that a terminal would act on."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(text))


def got(value: object) -> str:
    """A wrong argument as a message shows it: the begin of its repr, in one line of ASCII."""
    try:
        return ascii(value)[:MOST_SHOWN].replace("\n", " ")
    except ValueError:  # of an int of thousands of digits
        return f"an enormous {type(value).__name__}"


def number_of(value: object) -> float:
    """A caller's number; NaN for what is none, and for what no float holds."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


@contextlib.contextmanager
def one_line_errors(name: str) -> Iterator[None]:
    """Turns whatever is raised of a file into an Error of one line that names it: decoders raise all kinds."""
    try:
        yield
    except Error:
        raise
    except Exception as error:
        kind = "" if isinstance(error, OSError) else type(error).__name__
        why = ": ".join(filter(None, [kind, " ".join(str(error).split())]))
        raise FailureError(f"{name}: cannot be enlarged ({why})") from error


def run_script(main: Callable[[], int | None]) -> None:
    """Runs a script's main function and exits with the code it returns (None: 0). Prints Error and OSError as one line
    on standard error; any other exception is a bug of ours and keeps its traceback.
    """
    if sys.stderr is None:  # closed by who started it; progress bars need one
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  # to the end
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names may hold characters that its encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.exit(main())
    except (Error, OSError) as error:
        print(f"error: {shown(error)}", file=sys.stderr)
        sys.exit(WRONG_REQUEST if isinstance(error, RequestError) else FAILURE)
    except KeyboardInterrupt as error:
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(shown(error) or "interrupted", file=sys.stderr)
        sys.exit(128 + (error.number if isinstance(error, Interrupted) else signal.SIGINT))

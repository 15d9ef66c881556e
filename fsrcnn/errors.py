"""Errors as a user sees them: one line with what is wrong, where, and what to do."""

import argparse
import io
import sys
from collections.abc import Callable
from typing import NoReturn

WRONG_REQUEST, FAILURE = 2, 1


class Error(Exception):
    """What this package and the scripts raise for a user's or a machine's error; the message names cause and remedy."""


class RequestError(Error):
    """The request cannot be carried out as it stands: exit code 2."""


class FailureError(Error):
    """The request was fine and carrying it out failed: exit code 1."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises RequestError for an invalid command line."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(message)


def run_script(main: Callable[[], int | None]) -> None:
    """Runs a script's main function and exits with the code it returns (None: 0). Prints Error and OSError as one line
    on standard error; any other exception is a bug of ours and keeps its traceback.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names may hold characters that its encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.exit(main())
    except (Error, OSError) as error:
        # One line, whatever names it holds, and nothing that a terminal would act on.
        line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(error))
        print(f"error: {line}", file=sys.stderr)
        sys.exit(WRONG_REQUEST if isinstance(error, RequestError) else FAILURE)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)

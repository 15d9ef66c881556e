"""Restarts by torchrun, after one of its processes has died: a run that this torchrun has begun goes on by itself."""

import os
import platform
from pathlib import Path

from fsrcnn.devices import under_torchrun
from fsrcnn.files import written_whole

MARK = ".torchrun"


def note_start(folder: Path) -> None:
    """Notes in a run's folder which torchrun has begun it; without torchrun nothing."""
    if under_torchrun():
        with written_whole(folder / MARK) as unfinished:
            unfinished.write_text(_torchrun(), encoding="utf-8")


def is_restarted(folder: Path) -> bool:
    """Whether the torchrun that has started this process has begun the run in the folder before: this is a restart. Its
    own count of these does not tell: it counts refused starts too, by machines, and not all of them.
    """
    return under_torchrun() and (folder / MARK).is_file() and (folder / MARK).read_text(encoding="utf-8") == _torchrun()


def _torchrun() -> str:
    """Names this process's torchrun, unlike every other: its id, by default the same for all, its machine, its process,
    and the folder, of a random name, that it makes for its processes.
    """
    folder = Path(os.environ["TORCHELASTIC_ERROR_FILE"]).parents[2]  # run/attempt_0/1/error.json
    return f"{os.environ['TORCHELASTIC_RUN_ID']} on {platform.node()}, process {os.getppid()}, {folder}"

"""The environment of Python 3.12 with programs that load the exported files, and running a script in it."""

import subprocess
from pathlib import Path

from made import needed

ROOT = Path(__file__).parents[2]
EXPORTED = ROOT / "results" / "exported"
BIN = ROOT / ".venv" / "programs" / "bin"


def run_in_programs(program: str, *arguments: object, timeout: float = 120) -> str:
    """Runs one of the environment's programs and returns what it prints."""
    needed((BIN / program).is_file(), "the programs' environment (`make extra`)")
    command = [BIN / program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout

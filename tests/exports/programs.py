"""The environment of Python 3.12 with programs that load the exported files, and running a script in it."""

import os
import subprocess
from pathlib import Path

from made import needed

ROOT = Path(__file__).parents[2]
EXPORTED = ROOT / "results" / "exported"
BIN = ROOT / ".venv" / "programs" / "bin"


def run_in_programs(program: str, *arguments: object, **environment: object) -> bytes:
    """Runs one of the environment's programs, with these variables too, and returns what it prints."""
    needed((BIN / program).is_file(), "the programs' environment (`make extra`)")
    command = [BIN / program, *map(str, arguments)]
    variables = os.environ | {name: str(value) for name, value in environment.items()}
    done = subprocess.run(command, capture_output=True, timeout=120, check=False, cwd=ROOT, env=variables)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def vulkan_needed() -> None:
    needed(any(Path("/usr/share/vulkan/icd.d").glob("lvp_icd.*")), "Mesa's llvmpipe (package mesa-vulkan-drivers)")

"""The compiled functions for CPUs: targets, LLVM's vocabulary, the network, a picture's colours, the cache, threads.

This module is their one door. `HOST` is the target of this machine; None where the functions cannot run, because
llvmlite or platformdirs is not installed, llvmlite is too old, or the machine has no fused multiply-add. Other modules
import the rest only where HOST is not None.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fsrcnn.native.target import Target


def _host() -> "Target | None":
    try:
        import llvmlite  # noqa: F401
        import platformdirs  # noqa: F401
    except ModuleNotFoundError as missing:
        if missing.name in ("llvmlite", "platformdirs"):
            return None
        raise
    from fsrcnn.native.target import host

    return host()


HOST = _host()

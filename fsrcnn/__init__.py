"""FSRCNN (Dong, Loy and Tang, 2016, arXiv 1608.00367): pictures and videos enlarged, up to 16 times, to any size.

import fsrcnn

large = fsrcnn.enlarge(picture, 2)
wide = fsrcnn.enlarge(picture, width=800)
fsrcnn.enlarge_file("photo.jpg", "large.png", 2)
network = fsrcnn.load("fsrcnn", 3)
sr = network(lr)
"""

import contextlib
import functools
import os
from collections.abc import Iterator
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

from fsrcnn.errors import Error as Error

# Everything else is imported where it is used: a caller that only reads the network's facts loads no picture formats.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fsrcnn.network import Network
    from fsrcnn.restore import Restore
    from fsrcnn.videos import Deinterlace

__all__ = ["Error", "enlarge", "enlarge_file", "load"]

AnyPath = str | os.PathLike[str]
NETWORKS_KEPT = 8


def enlarge(
    picture: "NDArray[np.uint8 | np.uint16]",
    upscale_factor: float | None = None,
    *,
    width: int | None = None,
    height: int | None = None,
    fit: tuple[int, int] | None = None,
    variant: str = "fsrcnn",
    weights: AnyPath | None = None,
    restore: "Restore" = "auto",
    ensemble: bool = False,
    device: str = "auto",
) -> "NDArray[np.uint8 | np.uint16]":
    """Enlarges a picture, byte for byte as upscale.py does a file of it.

    upscale_factor: 2 (the default), 3, 4 or any number above 0, 16 at most. In place of it: width, height or both, in
    pixels; or fit, the width and height of a frame that the result just fits into. The aspect is kept unless width and
    height are given. The network enlarges by the next factor that reaches the size, by up to two networks in a row;
    MATLAB's antialiased bicubic interpolation then reduces that. A picture that is as large already is only reduced.
    picture: uint8 or uint16, H x W or H x W x 1..4 (grey, grey and alpha, RGB, RGB and alpha), of any strides; the
    result has its dtype and channels. The network enlarges the luma; chroma and alpha are bicubic.
    variant: "fsrcnn", or the smaller and faster "fsrcnn_s". weights: a weights file in place of the shipped one.
    restore: how strongly the traces of compression are removed, 0 to 1; "auto": by the quality that the picture was
    compressed at, as far as its pixels tell; 0 for clean pictures, for 16 bits, and for weights that have no restoring
    ones beside them.
    ensemble: the finest result, the mean of those of the picture turned and mirrored in all eight ways, in about eight
    times the time.
    device: "auto" (CUDA, else MPS, else CPU), "cpu", "cuda", "cuda:1" or "mps".

    Raises `Error`, with a message of one line, for an array or an argument that it does not take.
    """
    from fsrcnn.pictures.arrays import enlarge_array
    from fsrcnn.pictures.restoration import Restoration
    from fsrcnn.restore import checked_restore
    from fsrcnn.sizes import checked_size

    asked, size = checked_restore(restore), checked_size(upscale_factor, width, height, fit)
    network = load(variant, size.scale, weights=weights, ensemble=ensemble, device=device)
    return enlarge_array(picture, network, Restoration(asked, network), size)


def enlarge_file(
    source: AnyPath,
    target: AnyPath,
    upscale_factor: float | None = None,
    *,
    width: int | None = None,
    height: int | None = None,
    fit: tuple[int, int] | None = None,
    variant: str = "fsrcnn",
    weights: AnyPath | None = None,
    restore: "Restore" = "auto",
    ensemble: bool = False,
    device: str = "auto",
    accept_damaged: bool = False,
    memory_limit: int | None = None,
    deinterlace: "Deinterlace" = "auto",
) -> tuple[str, ...]:
    """Enlarges a picture or video file into another, as upscale.py does; returns warnings for the user.

    The suffix of `target` chooses the format. An existing target is replaced once the new file is complete.
    accept_damaged: a JPEG of which a part is lost is enlarged, in place of being refused. memory_limit: bytes that
    decoding a picture may need; None: 2 GiB. deinterlace: of videos, "auto" makes one frame of each that is interlaced,
    "double" one of each field, "off" enlarges them as they are. Other arguments as for `enlarge`; with restore="auto",
    what a JPEG's, a WebP's or a video's header says of its quality counts too.

    Raises `Error`, with a message of one line, if a file cannot be read, enlarged or written.
    """
    from fsrcnn.cli import enlarger
    from fsrcnn.pictures.formats import MEMORY_LIMIT
    from fsrcnn.pictures.restoration import Restoration
    from fsrcnn.plan import Request, job_of
    from fsrcnn.restore import checked_restore
    from fsrcnn.sizes import checked_size

    asked, size = checked_restore(restore), checked_size(upscale_factor, width, height, fit)
    with _one_error():
        job = job_of(_path("source", source), _path("target", target))
        network = load(variant, size.scale, weights=weights, ensemble=ensemble, device=device)
        limit = memory_limit or MEMORY_LIMIT
        request = Request((), size=size, accept_damaged=accept_damaged, memory_limit=limit, deinterlace=deinterlace)
        return enlarger(request, network, Restoration(asked, network))(job)


def load(
    variant: AnyPath = "fsrcnn",
    upscale_factor: int | None = None,
    *,
    weights: AnyPath | None = None,
    ensemble: bool = False,
    device: str = "auto",
) -> "Network":
    """A network ready to run: `network(lr)` enlarges luma, float32 H x W in [0, 1] (Y / 255 with Y in 16..235, as
    MATLAB's rgb2ycbcr has it), to scale*H x scale*W, neither rounded nor clipped.

    variant: "fsrcnn", "fsrcnn_s" or a weights file. upscale_factor: 2, 3 or 4; None: 2 for a shipped network, what the
    file says for a weights file. weights: a weights file in place of the shipped one. ensemble, device: as for
    `enlarge`.

    It is the network itself: what `enlarge` does besides (restoring, the error on flat colour, limits) it does not.
    `network.restored(0.5)` is the network that restores by half.

    Raises `Error`, with a message of one line, if there is no such network.
    """
    from fsrcnn.errors import RequestError, got
    from fsrcnn.geometry import SCALES, VARIANTS
    from fsrcnn.weights import shipped_weights

    if upscale_factor is not None:
        if not isinstance(upscale_factor, Integral) or upscale_factor not in SCALES:
            expected = ", ".join(map(str, SCALES))
            raise RequestError(f"upscale_factor: got {got(upscale_factor)}, expected one of {expected}")
        upscale_factor = int(upscale_factor)
    if not isinstance(ensemble, bool):
        raise RequestError(f"ensemble: got {got(ensemble)}, expected True or False")
    if not isinstance(device, str):
        raise RequestError(f"device: got {got(device)}, expected a name such as cpu or cuda:0")
    with _one_error():
        named = isinstance(variant, str) and variant in VARIANTS
        if weights is not None:
            path = _path("weights", weights)
        elif named:
            upscale_factor = upscale_factor or 2
            path = shipped_weights(str(variant), upscale_factor)
        else:
            path = _path("variant", variant)
            if not path.is_file():
                raise RequestError(f"variant: got {str(path)!r}, expected {', '.join(VARIANTS)} or a weights file")
        state = path.stat() if path.is_file() else None
        written = state and (state.st_mtime_ns, state.st_size, state.st_ino)
        return (_ensemble if ensemble else _network)(path.absolute(), written, upscale_factor, device)


@functools.lru_cache(NETWORKS_KEPT)
def _network(path: Path, _written: object, upscale_factor: int | None, device: str) -> "Network":
    """Cached: its error on flat colour is measured before its first picture. _written: changes with the file."""
    from fsrcnn.network import load_network

    return load_network(path, upscale_factor, device)


@functools.lru_cache(NETWORKS_KEPT)
def _ensemble(path: Path, written: object, upscale_factor: int | None, device: str) -> "Network":
    from fsrcnn.ensemble import Ensemble

    return Ensemble(_network(path, written, upscale_factor, device))


def _path(name: str, value: AnyPath) -> Path:
    from fsrcnn.errors import RequestError, got

    if not isinstance(value, str | os.PathLike) or not str(value) or "\0" in str(value):
        raise RequestError(f"{name}: got {got(value)}, expected the path of a file")
    return Path(value)


@contextlib.contextmanager
def _one_error() -> Iterator[None]:
    """Turns the system's errors into this package's."""
    from fsrcnn.errors import FailureError

    try:
        yield
    except OSError as error:
        raise FailureError(str(error)) from error

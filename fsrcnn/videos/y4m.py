"""Films as YUV4MPEG2, which programs pass to each other through pipes: a header of one line, then frames, raw.

Each frame is a line that begins with FRAME and its planes without gaps, 16 bits a sample (the low byte first) where it
has more than 8. The format is mjpegtools' (yuv4mpeg(5)); the names of 10 bits and XCOLORRANGE are FFmpeg's.
"""

import os
import re
import select
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from io import BufferedReader, RawIOBase
from threading import Event
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import ColorRange

from fsrcnn.errors import FailureError, RequestError
from fsrcnn.videos.frames import LEFT, is_full_range, plain_name, sample_planes

MAGIC = b"YUV4MPEG2"
FRAME = b"FRAME"
LONGEST_LINE = 1024  # bytes of a header
MOST_PIXELS = 2**28  # of a frame; a header that promises more is taken for damaged
CENTER = "center"
# The formats, by the header's C: the pixel format and where chroma lies. None: there is no C.
FORMATS: dict[str | None, tuple[str, str]] = {
    None: ("yuv420p", CENTER),
    "420": ("yuv420p", CENTER),
    "420jpeg": ("yuv420p", CENTER),
    "420mpeg2": ("yuv420p", LEFT),
    "420paldv": ("yuv420p", "topleft"),
    "422": ("yuv422p", LEFT),
    "444": ("yuv444p", LEFT),
    "mono": ("gray", LEFT),
    "420p10": ("yuv420p10le", LEFT),
    "422p10": ("yuv422p10le", LEFT),
    "444p10": ("yuv444p10le", LEFT),
    "mono10": ("gray10le", LEFT),
}
CODES = {described: code for code, described in FORMATS.items()}
RANGES = {"XCOLORRANGE=FULL": ColorRange.JPEG, "XCOLORRANGE=LIMITED": ColorRange.MPEG}
TOP_FIRST, BOTTOM_FIRST, MIXED, PROGRESSIVE = "t", "b", "m", "p"
DEFAULT_RATE = Fraction(25)  # where the header tells none
TURN = 0.2  # seconds
PIPE = 2**20  # bytes that a pipe of ours may hold; Linux gives 64 KiB otherwise, and a frame has more
READ_AT_ONCE = 2**16  # bytes


class Header(NamedTuple):
    """What a film's first line says. rate: frames a second, None: unknown. fields: "t" or "b" where it is interlaced,
    the top or the bottom one first; "p" where it is not; "m" where some frames are. shape: of pixels, width by height;
    None: unknown. notes: the X of other programs, as they are.
    """

    width: int
    height: int
    pixel_format: str = "yuv420p"
    chroma_location: str = LEFT
    rate: Fraction | None = None
    fields: str = PROGRESSIVE
    shape: Fraction | None = None
    color_range: ColorRange = ColorRange.UNSPECIFIED
    notes: tuple[str, ...] = ()

    @property
    def line(self) -> bytes:
        """The header as it is written."""
        code = CODES.get((self.pixel_format, self.chroma_location)) or CODES[self.pixel_format, LEFT]
        words = [
            MAGIC.decode(),
            f"W{self.width}",
            f"H{self.height}",
            f"F{_ratio(self.rate)}",
            f"I{self.fields}",
            f"A{_ratio(self.shape)}",
            f"C{code}",
            *self.notes,
            *(word for word, each in RANGES.items() if each == self.color_range),
        ]
        return " ".join(words).encode() + b"\n"


def _ratio(value: Fraction | None) -> str:
    return "0:0" if value is None else f"{value.numerator}:{value.denominator}"


def parsed(line: bytes) -> Header:
    """The header of a line, without its end. Raises RequestError for one that is not valid, or of a kind not read."""
    words = line.decode("latin-1").split()
    if not words or words[0] != MAGIC.decode():
        raise RequestError(f"does not begin with {MAGIC.decode()}")
    tags = {word[0]: word[1:] for word in words[1:] if word[0] != "X"}
    sizes = [tags.get(tag, "") for tag in "WH"]
    if not all(re.fullmatch(r"[0-9]{1,7}", size) and int(size) for size in sizes):
        raise RequestError(f"its header says a size of {' x '.join(size or 'nothing' for size in sizes)}")
    width, height = map(int, sizes)
    if width * height > MOST_PIXELS:
        raise RequestError(f"{width} x {height} pixels is more than is read ({MOST_PIXELS:,} in all)")
    if (code := tags.get("C")) not in FORMATS:
        known = ", ".join(filter(None, FORMATS))
        raise RequestError(f"frames of format C{code} are not read, only {known}; let ffmpeg write -pix_fmt yuv420p")
    notes = [word for word in words[1:] if word[0] == "X" and not word.startswith("XYSCSS=")]
    colours = [RANGES[note] for note in notes if note in RANGES]
    return Header(
        width,
        height,
        *FORMATS[code],
        _parsed_ratio(tags.get("F", "0:0"), "frame rate"),
        tags.get("I", "p") if tags.get("I", "p") in (TOP_FIRST, BOTTOM_FIRST, MIXED) else PROGRESSIVE,
        _parsed_ratio(tags.get("A", "0:0"), "shape of pixels"),
        colours[0] if colours else ColorRange.UNSPECIFIED,
        tuple(note for note in notes if note not in RANGES),
    )


def _parsed_ratio(text: str, what: str) -> Fraction | None:
    numbers = re.fullmatch(r"([0-9]{1,10}):([0-9]{1,10})", text)
    if not numbers:
        raise RequestError(f"its header says a {what} of {text!r}, expected two numbers such as 25:1")
    above, below = map(int, numbers.groups())
    return Fraction(above, below) if above and below else None


# --- reading ---


class Incoming(RawIOBase):
    """What comes through a pipe or from a file, by its descriptor. Waits for it in short turns, so that `stop` ends it.

    It does not close the descriptor.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._stopped = Event()
        self._is_waited_for = os.name == "posix" and not stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._ahead = b""  # read already
        _enlarge_pipe(descriptor)

    def head(self, number: int) -> bytes:
        """The first bytes, fewer where it ends; they are read again after."""
        assert not self._ahead
        content = bytearray()
        while len(content) < number and (more := self.read(number - len(content))):
            content += more
        self._ahead = bytes(content)
        return self._ahead

    def stop(self) -> None:
        """Lets the reader see an end."""
        self._stopped.set()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        if self._ahead:
            taken, self._ahead = self._ahead[: len(buffer)], self._ahead[len(buffer) :]
            buffer[: len(taken)] = taken
            return len(taken)
        while self._is_waited_for and not select.select([self._descriptor], [], [], TURN)[0]:
            if self._stopped.is_set():
                return 0
        if self._stopped.is_set():
            return 0
        if hasattr(os, "readv"):
            return os.readv(self._descriptor, [buffer])
        content = os.read(self._descriptor, len(buffer))
        buffer[: len(content)] = content
        return len(content)


def _enlarge_pipe(descriptor: int) -> None:
    """Lets a pipe hold more, on Linux, if the system allows it: programs then wait for each other less often."""
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):  # no pipe, or the user's pipes hold too much already
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE)


class Reader:
    """A film that comes in. broken: once all frames are read, why it ended early; empty: it did not.

    Raises RequestError, naming `name`, if what comes is no such film.
    """

    def __init__(self, incoming: BufferedReader, name: str) -> None:
        self._incoming, self._name, self.broken = incoming, name, ""
        line = incoming.readline(LONGEST_LINE)
        try:
            if not line.endswith(b"\n"):
                raise RequestError("ends within its header" if len(line) < LONGEST_LINE else "has no header")
            self.header = parsed(line[:-1])
        except RequestError as error:
            raise RequestError(f"{name}: {error}") from None

    def frames(self) -> Iterator[av.VideoFrame]:
        """The frames, their times counted in frames."""
        header, number = self.header, 0
        time_base = 1 / (header.rate or DEFAULT_RATE)
        while not self.broken and (line := self._incoming.readline(LONGEST_LINE)):
            if not (line.startswith(FRAME) and line.endswith(b"\n")):
                self.broken = f"{self._name}: damaged after frame {number}"
                return
            frame = av.VideoFrame(header.width, header.height, header.pixel_format)
            if not all(self._fill(plane) for plane in sample_planes(frame)):
                self.broken = f"{self._name}: ends within frame {number + 1}"
                return
            frame.pts, frame.duration, frame.time_base = number, 1, time_base
            frame.color_range = header.color_range
            number += 1
            yield frame

    def _fill(self, plane: "np.ndarray[tuple[int, int], np.dtype[np.uint8 | np.uint16]]") -> bool:
        """Whether the plane is there."""
        packed = np.empty(plane.shape, plane.dtype.newbyteorder("<"))
        if self._incoming.readinto(packed.data.cast("B")) < packed.nbytes:
            return False
        plane[:] = packed
        return True


# --- writing ---


class Outgoing:
    """What goes out to another program, by its descriptor, without a buffer."""

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor, self._name = descriptor, name
        _enlarge_pipe(descriptor)

    def write(self, content: "bytes | memoryview") -> None:
        """Writes all of it. Raises FailureError where the other program takes no more of it, or the disk is full."""
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except BrokenPipeError as error:
            raise FailureError(f"{self._name}: the program that reads it has ended; see what it says") from error
        except OSError as error:
            raise FailureError(f"{self._name}: writing it failed ({error.strerror}); free space") from error


def header_of(
    frame: av.VideoFrame, chroma_location: str, rate: Fraction, fields: str, shape: Fraction | None
) -> Header:
    """The header of a film of frames like this one."""
    colour = ColorRange.JPEG if is_full_range(frame) else ColorRange(frame.color_range)
    name = plain_name(frame.format.name)
    return Header(frame.width, frame.height, name, chroma_location, rate, fields, shape, colour)


def write_frame(out: Outgoing, frame: av.VideoFrame) -> None:
    """Writes one frame, in one of FORMATS."""
    out.write(FRAME + b"\n")
    for plane in sample_planes(frame):
        packed = np.ascontiguousarray(plane, plane.dtype.newbyteorder("<"))
        out.write(packed.data.cast("B"))

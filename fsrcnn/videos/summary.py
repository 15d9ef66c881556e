"""FFmpeg's summary of a file, a line for each stream: it tells what PyAV does not."""

import re

import av
from av.container import Container
from av.stream import Stream


def line_of(container: Container, stream: Stream) -> str:
    """The stream's line, as `ffprobe -v verbose` prints it; empty: there is none."""
    return next((line for line in lines_of(container) if re.match(rf"\s*Stream #0:{stream.index}\b", line)), "")


def lines_of(container: Container) -> list[str]:
    """A line for each stream, also for those that FFmpeg met after PyAV had made its list."""
    before = av.logging.get_level()
    av.logging.set_level(av.logging.VERBOSE)  # PyAV's, and FFmpeg's below, as both keep lines back
    av.logging.set_libav_level(av.logging.VERBOSE)
    try:
        lines = container.dumps_format().splitlines()  # type: ignore[attr-defined]
    finally:
        av.logging.set_libav_level(av.logging.INFO)  # as FFmpeg starts
        av.logging.set_level(before)
    return [line for line in lines if re.match(r"\s*Stream #0:\d", line)]

"""Films through pipes: YUV4MPEG2 as FFmpeg writes and reads it, exact, and everything that can go wrong with it."""

import io
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange
from made import HEIGHT, TIME_BASE, TIMES, WIDTH, make_clip, needed
from made import network as shipped_network

from fsrcnn.ahead import AHEAD, MOST_AHEAD, number_ahead
from fsrcnn.errors import FailureError, RequestError
from fsrcnn.network import Network
from fsrcnn.videos import streams, y4m
from fsrcnn.videos.frames import bytes_of, sample_planes
from fsrcnn.videos.target import Encoding
from fsrcnn.videos.upscale import upscale_video

NAME = "standard input"
FRAMES = 5
SMALL = b"YUV4MPEG2 W8 H6 F25:1 Ip A1:1 C420mpeg2\n"
SMALL_FRAME = b"FRAME\n" + bytes(8 * 6 * 3 // 2)


def making(reel: streams.Reel, network: Network) -> streams.Making:
    return streams.making_of(reel, "film", network)[0]


@pytest.fixture(scope="module")
def network() -> Network:
    return shipped_network("fsrcnn_s", 2)


def from_ffmpeg(pixel_format: str, *arguments: str, size: str = "66x46") -> bytes:
    needed(bool(shutil.which("ffmpeg")), "ffmpeg")
    pattern = f"testsrc2=size={size}:rate=24000/1001,setsar=4/3"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", pattern, "-frames:v", str(FRAMES), *arguments]
    command += ["-pix_fmt", pixel_format, "-strict", "-1", "-f", "yuv4mpegpipe", "-"]
    return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout


def reader_of(content: bytes) -> y4m.Reader:
    return y4m.Reader(io.BufferedReader(io.BytesIO(content)), NAME)  # type: ignore[arg-type]


@contextmanager
def fed(content: bytes) -> Iterator[y4m.Incoming]:
    """What comes through a pipe, in pieces that fit nothing."""
    reading, writing = os.pipe()

    def feed() -> None:
        try:
            for start in range(0, len(content), 777):
                os.write(writing, content[start : start + 777])
        except BrokenPipeError:
            pass
        finally:
            os.close(writing)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield y4m.Incoming(reading)
    finally:
        os.close(reading)
        thread.join()


def enlarged(content: bytes, network: Network, tmp_path: Path, deinterlace: str = "auto") -> tuple[bytes, list[str]]:
    """What comes out for what goes in, and the warnings."""
    with (
        fed(content) as incoming,
        (tmp_path / "out.y4m").open("wb") as file,
        streams.y4m_reel(incoming, NAME, deinterlace, None) as reel,  # type: ignore[arg-type]
    ):
        how, warnings = streams.making_of(reel, NAME, network)
        written = streams.to_y4m(reel, how, y4m.Outgoing(file.fileno(), "standard output"))
        assert not reel.broken()
    return (tmp_path / "out.y4m").read_bytes(), warnings + written.warnings


# --- the format ---


@pytest.mark.parametrize(
    "pixel_format",
    "gray gray10le yuv420p yuvj420p yuv422p yuv444p yuv420p10le yuv422p10le yuv444p10le".split(),
)
def test_what_ffmpeg_writes_is_written_again(tmp_path: Path, pixel_format: str):
    content = from_ffmpeg(pixel_format)
    reader = reader_of(content)
    frames = list(reader.frames())
    assert reader.header.rate == Fraction(24000, 1001)
    assert reader.header.shape == Fraction(4, 3)
    assert not reader.broken
    assert [frame.pts * frame.time_base for frame in frames] == [n * Fraction(1001, 24000) for n in range(FRAMES)]
    written = written_to(tmp_path / "again.y4m", reader.header, frames)
    head, rest = written.split(b"\n", 1)
    assert rest == content.split(b"\n", 1)[1]
    without_ffmpegs_own = [word for word in content.split(b"\n")[0].split() if not word.startswith(b"XYSCSS")]
    assert head.split() == without_ffmpegs_own


def written_to(path: Path, header: y4m.Header, frames: list[av.VideoFrame]) -> bytes:
    with path.open("wb") as file:
        out = y4m.Outgoing(file.fileno(), "standard output")
        out.write(header.line)
        for frame in frames:
            y4m.write_frame(out, frame)
    return path.read_bytes()


def test_a_header_is_read_as_it_is_written():
    for code, (pixel_format, location) in y4m.FORMATS.items():
        for fields in "tbmp":
            header = y4m.Header(
                34, 22, pixel_format, location, Fraction(30000, 1001), fields, None, ColorRange.JPEG, ("XNOTE=1",)
            )
            assert y4m.parsed(header.line[:-1]) == header, code
    assert y4m.parsed(b"YUV4MPEG2 H2 W4") == y4m.Header(4, 2, "yuv420p", y4m.CENTER)  # what the format leaves open


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"YUV4MPEG2 W0 H6\n", "its header says a size of 0 x 6"),
        (b"YUV4MPEG2 W8\n", "its header says a size of 8 x nothing"),
        (b"YUV4MPEG2 W999999 H999999\n", r"999999 x 999999 pixels is more than is read"),
        (b"YUV4MPEG2 W8 H6 C411\n", "frames of format C411 are not read, only 420, .*yuv420p"),
        (b"YUV4MPEG2 W8 H6 Fsoon\n", "its header says a frame rate of 'soon', expected"),
        (b"YUV4MPEG2 W8 H6 A1\n", "its header says a shape of pixels of '1'"),
        (b"YUV4MPEG2 W8 H6", "ends within its header"),
        (b"YUV4MPEG2 " + b"X" * 5000, "has no header"),
        (b"RIFF\n", "does not begin with YUV4MPEG2"),
    ],
)
def test_a_header_that_is_wrong_is_named(line: bytes, message: str):
    with pytest.raises(RequestError, match=f"^{NAME}: {message}"):
        reader_of(line)


@pytest.mark.parametrize(
    ("rest", "frames", "broken"),
    [
        (b"", 2, ""),
        (b"FRA", 2, "damaged after frame 2"),
        (b"FRAME\n", 2, "ends within frame 3"),
        (b"FRAME\n" + bytes(50), 2, "ends within frame 3"),
        (b"frame\n" + bytes(72), 2, "damaged after frame 2"),
        (b"FRAME Ip\n" + bytes(72), 3, ""),
    ],
)
def test_a_film_that_ends_early_is_read_up_to_there(rest: bytes, frames: int, broken: str):
    reader = reader_of(SMALL + 2 * SMALL_FRAME + rest)
    assert len(list(reader.frames())) == frames
    assert reader.broken == (f"{NAME}: {broken}" if broken else "")


# --- enlarged ---


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le", "gray"])
def test_a_pipe_gives_what_a_file_gives(network: Network, tmp_path: Path, pixel_format: str):
    even = [2 * number for number in range(FRAMES)]  # a constant rate
    clip = make_clip(tmp_path / "lr.mkv", pixel_format, times=even, color_range=1)
    upscale_video(clip, tmp_path / "sr.mkv", network, "ffv1")
    with av.open(str(tmp_path / "sr.mkv")) as container:
        expected = [b"".join(plane.tobytes() for plane in sample_planes(f)) for f in container.decode(video=0)]
    with streams.film_reel(clip, "auto", None, False) as reel, (tmp_path / "a.y4m").open("wb") as file:
        assert streams.to_y4m(reel, making(reel, network), y4m.Outgoing(file.fileno(), "out")) == (FRAMES, 0, [])
    with av.open(str(clip)) as container:
        lr = list(container.decode(video=0))
    content = written_to(tmp_path / "lr.y4m", y4m.header_of(lr[0], "left", Fraction(25), "p", None), lr)
    through, warnings = enlarged(content, network, tmp_path)
    assert warnings == []
    assert through == (tmp_path / "a.y4m").read_bytes()
    frames = through.split(b"\n", 1)[1].split(b"FRAME\n")[1:]
    assert len(frames) == FRAMES
    assert frames == expected


def test_shape_range_place_of_chroma_and_rate_stay(network: Network, tmp_path: Path):
    head = b"YUV4MPEG2 W8 H6 F24000:1001 Ip A4:3 C420paldv XCOLORRANGE=FULL\n"
    content, warnings = enlarged(head + SMALL_FRAME, network, tmp_path)
    assert content.split(b"\n")[0] + b"\n" == head.replace(b"W8 H6", b"W16 H12")
    assert warnings == []


@pytest.mark.parametrize(
    ("deinterlace", "fields", "rate", "frames"),
    [("auto", b"p", b"25:1", 4), ("double", b"p", b"50:1", 8), ("off", b"t", b"25:1", 4)],
)
def test_the_header_says_whether_it_is_interlaced(
    network: Network, tmp_path: Path, deinterlace: str, fields: bytes, rate: bytes, frames: int
):
    head = b"YUV4MPEG2 W32 H24 F25:1 It A1:1 C420jpeg\n"
    rows = np.random.default_rng(0).integers(16, 235, (4, 32 * 24 * 3 // 2), dtype=np.uint8)
    content, warnings = enlarged(
        head + b"".join(b"FRAME\n" + row.tobytes() for row in rows), network, tmp_path, deinterlace
    )
    assert content.split(b"\n")[0] == b"YUV4MPEG2 W64 H48 F%b I%b A1:1 C420jpeg" % (rate, fields)
    assert len(content.split(b"\n", 1)[1]) == frames * (6 + 64 * 48 * 3 // 2)
    assert len(warnings) == 1
    assert "interlaced" in warnings[0]


def test_frames_of_a_film_whose_times_vary_are_repeated(network: Network, tmp_path: Path):
    clip = make_clip(tmp_path / "lr.mkv")  # times in fiftieths
    with streams.film_reel(clip, "auto", None, False) as reel:
        rate = reel.rate
        with (tmp_path / "a.y4m").open("wb") as file:
            written = streams.to_y4m(reel, making(reel, network), y4m.Outgoing(file.fileno(), "out"))
    due = [int(time * TIME_BASE * rate + Fraction(1, 2)) for time in TIMES]
    assert written.frames == due[-1] + 1
    assert [line for line in written.warnings if "its times vary" in line]


def test_a_film_from_a_pipe_becomes_a_file(network: Network, tmp_path: Path):
    content = from_ffmpeg("yuv420p10le", "-color_range", "pc")
    with fed(content) as incoming, streams.y4m_reel(incoming, NAME, "auto", None) as reel:
        written = streams.to_film(reel, making(reel, network), tmp_path / "sr.mkv", Encoding("ffv1"))
    assert written == (FRAMES, 0, [])
    with av.open(str(tmp_path / "sr.mkv")) as container:
        video = container.streams.video[0]
        assert (video.width, video.height, video.pix_fmt) == (132, 92, "yuv420p10le")
        assert video.sample_aspect_ratio == Fraction(4, 3)
        times = [float(frame.time) for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, np.arange(FRAMES) * 1001 / 24000, atol=1e-3)


# --- what goes wrong ---


def test_a_reader_that_ends_is_named(network: Network):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with (
            fed(SMALL + 50 * SMALL_FRAME) as incoming,
            streams.y4m_reel(incoming, NAME, "auto", None) as reel,
            pytest.raises(FailureError, match=r"^out: the program that reads it has ended; see what it says$"),
        ):
            streams.to_y4m(reel, making(reel, network), y4m.Outgoing(writing, "out"))
    finally:
        os.close(writing)


def test_it_does_not_wait_for_a_film_that_stalls(network: Network):
    reading, writing = os.pipe()
    os.write(writing, SMALL + 2 * SMALL_FRAME)  # and no more
    started = time.monotonic()
    with (
        streams.y4m_reel(y4m.Incoming(reading), NAME, "auto", None) as reel,
        pytest.raises(KeyboardInterrupt),
    ):
        interrupt(reel, network)
    assert time.monotonic() - started < 10
    os.close(reading)
    os.close(writing)


def interrupt(reel: streams.Reel, network: Network) -> None:
    with streams.made_ahead(reel, making(reel, network), lambda _, frame: frame) as items:
        next(items)
        raise KeyboardInterrupt


def test_it_reads_no_further_than_it_can_write(network: Network):
    taken = [0]

    def frames() -> Iterator[av.VideoFrame]:
        for number in range(1000):
            frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            taken[0] = number
            yield frame

    with (
        fed(SMALL + SMALL_FRAME) as incoming,
        streams.y4m_reel(incoming, NAME, "auto", None) as reel,
        streams.made_ahead(reel._replace(items=frames()), making(reel, network), lambda _, frame: frame) as items,
    ):
        for _ in range(3):
            next(items)
        time.sleep(0.3)
        assert taken[0] <= 3 + AHEAD + max(AHEAD, network.threads) + 2


def test_large_frames_wait_in_smaller_numbers():
    eight_k = 7680 * 4320 * 3 // 2
    assert number_ahead(2, eight_k) == AHEAD
    assert number_ahead(64, 1280 * 720 * 3 // 2) == 64
    assert number_ahead(64, eight_k) == MOST_AHEAD // eight_k == 21
    assert bytes_of(av.VideoFrame(192, 108, "yuv420p"), 7680, 4320) == eight_k
    assert bytes_of(av.VideoFrame(192, 108, "yuv444p10le"), 384, 216) == 2 * 3 * 384 * 216
    assert bytes_of(av.VideoFrame(7680, 4320, "yuv420p"), 192, 108) == eight_k  # as many wait for a thread

"""Interlaced films made here, field by field: what they are taken for, and what becomes of their frames."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from made import network as shipped_network

from fsrcnn.network import Network
from fsrcnn.videos import Deinterlace
from fsrcnn.videos.deinterlace import Scan
from fsrcnn.videos.frames import sample_planes
from fsrcnn.videos.source import open_source
from fsrcnn.videos.upscale import upscale_video

WIDTH, HEIGHT, FRAMES, RATE = 96, 64, 20, 25


@pytest.fixture(scope="module")
def network() -> Network:
    return shipped_network("fsrcnn_s", 2)


def moment(time: float) -> np.ndarray:
    """A picture whose stripes move by 4 pixels in one unit of time. float, HEIGHT x WIDTH."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return 128 + 90 * np.sin((columns + 0.3 * rows - 4 * time) / 4)


def woven(even: np.ndarray, odd: np.ndarray) -> np.ndarray:
    frame = even.copy()
    frame[1::2] = odd[1::2]
    return frame


def noisy(frame: np.ndarray, number: int) -> np.ndarray:
    return frame + np.random.default_rng(number).normal(0, 25, frame.shape)


def telecined(number: int) -> np.ndarray:
    """Film at four frames in five: its fields are shown 2, 3, 2, 3 times."""
    shown = [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    even, odd = (4 * (at // 10) + shown[at % 10] for at in (2 * number, 2 * number + 1))
    return woven(moment(even), moment(odd))


FILMS: dict[str, Callable[[int], np.ndarray]] = {
    "progressive": lambda n: moment(2 * n),
    "top first": lambda n: woven(moment(2 * n), moment(2 * n + 1)),
    "bottom first": lambda n: woven(moment(2 * n + 1), moment(2 * n)),
    "telecined": telecined,
    "still": lambda n: moment(0),
    "noise": lambda n: noisy(moment(2 * n), n),
    "combed noise": lambda n: noisy(woven(moment(2 * n), moment(2 * n + 1)), n),
    "lines": lambda n: 255.0 * ((np.mgrid[:HEIGHT, :WIDTH][0] + n) % 2),
}


def make_film(path: Path, film: str, is_flagged: bool) -> Path:
    options = {"x264-params": "tff=1"} if is_flagged else {}
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=RATE, options=options | {"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(FRAMES):
            luma = FILMS[film](number).clip(0, 255).round().astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(luma, "gray").reformat(format="yuv420p")
            sample_planes(frame)[0][:] = luma
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("film", "is_flagged", "kind"),
    [
        ("progressive", False, "progressive"),
        ("top first", True, "interlaced"),
        ("top first", False, "interlaced"),  # the flags lie
        ("bottom first", False, "interlaced"),
        ("telecined", False, "telecined"),
        ("still", True, "interlaced"),  # the pictures tell nothing
        ("still", False, "progressive"),
        ("noise", False, "progressive"),
        ("combed noise", True, "interlaced"),
        ("lines", False, "progressive"),
    ],
)
def test_a_film_is_taken_for_what_it_is(tmp_path: Path, film: str, is_flagged: bool, kind: str):
    with open_source(make_film(tmp_path / "film.mkv", film, is_flagged), "auto") as source:
        assert (source.scan.kind, source.scan.is_flagged) == (kind, is_flagged)


def test_the_order_of_fields_is_the_pictures_own(tmp_path: Path):
    for film, top_first in (("top first", True), ("bottom first", False)):
        with open_source(make_film(tmp_path / "film.mkv", film, is_flagged=True), "auto") as source:  # tff, both
            assert source.scan == Scan("interlaced", True, top_first)


def lumas(path: Path) -> tuple[list[np.ndarray], list[Fraction]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [sample_planes(frame)[0].astype(float) for frame in frames], [f.pts * f.time_base for f in frames]


def combing(frame: np.ndarray) -> float:
    """How far odd rows are from the mean of their neighbours, in the network's enlargement of two rows for each."""
    rows = frame[::2]
    return float(np.abs(2 * rows[1:-1] - rows[:-2] - rows[2:])[4:-4].mean())


@pytest.mark.parametrize(("film", "is_flagged"), [("top first", True), ("bottom first", False)])
@pytest.mark.parametrize("deinterlace", ["auto", "double", "off"])
def test_frames_are_deinterlaced(
    network: Network, tmp_path: Path, film: str, is_flagged: bool, deinterlace: Deinterlace
):
    source, target = make_film(tmp_path / "film.mkv", film, is_flagged), tmp_path / "large.mkv"
    said = upscale_video(source, target, network, "ffv1", deinterlace=deinterlace).warnings
    frames, times = lumas(target)
    if deinterlace == "off":
        assert combing(frames[5]) > 60
        assert said == (("is interlaced and enlarged as if it were not; its edges comb",) if is_flagged else ())
        return
    marked = "" if is_flagged else ", though not marked so"
    of_each = {"auto": "a frame for each", "double": "a frame for each field"}[deinterlace]
    assert said == (f"is interlaced{marked}; deinterlaced, {of_each}",)
    fields = 2 if deinterlace == "double" else 1
    assert times == [Fraction(n, RATE * fields) for n in range(FRAMES * fields)]
    assert max(map(combing, frames)) < 20
    for number in range(4, FRAMES - 4):  # each frame shows one moment, in order
        for field in range(fields):
            expected = moment(2 * number + field)
            small = frames[fields * number + field].reshape(HEIGHT, 2, WIDTH, 2).mean((1, 3))
            assert np.abs(small - expected)[8:-8, 8:-8].mean() < 6


def test_a_flag_that_lies_is_said(network: Network, tmp_path: Path):
    source = make_film(tmp_path / "film.mkv", "progressive", is_flagged=True)
    (said,) = upscale_video(source, tmp_path / "large.mp4", network).warnings
    assert said == "is marked as interlaced, but its pictures are not; enlarged as it is"


def test_telecine_is_said(network: Network, tmp_path: Path):
    source = make_film(tmp_path / "film.mkv", "telecined", is_flagged=False)
    result = upscale_video(source, tmp_path / "large.mp4", network)
    assert result.frames == FRAMES
    assert result.warnings == ("is telecined (24 frames a second as 60 fields); deinterlaced, a frame for each",)

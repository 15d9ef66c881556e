"""Videos made here, enlarged, and read back: what must be exact is compared exactly."""

import gc
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.video.frame import PictureType
from made import FRAMES, HEIGHT, TIME_BASE, TIMES, WIDTH, make_clip, moving_pattern, posix, shipped, small_files
from made import network as shipped_network

from fsrcnn.ahead import AHEAD, ahead, map_ahead
from fsrcnn.errors import FailureError, RequestError
from fsrcnn.geometry import SCALES
from fsrcnn.integers import enlarge_samples, integer_network
from fsrcnn.network import Network, SamplePlane
from fsrcnn.videos import VIDEO_SUFFIXES, frames
from fsrcnn.videos import source as reading
from fsrcnn.videos.source import open_source
from fsrcnn.videos.upscale import VideoResult, upscale_video
from fsrcnn.weights import load_weights, shipped_weights
from imgproc import imresize, to_uint8

Networks = Callable[[int], Network]


@pytest.fixture(scope="module")
def network() -> Networks:
    return lambda scale: shipped_network("fsrcnn_s", scale)


def decoded(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    return [plane.copy() for plane in frames.sample_planes(frame)]


def times(path: Path) -> list[Fraction]:
    return [frame.pts * frame.time_base for frame in decoded(path)]


def copied_packets(path: Path, kind: str) -> list[tuple[bytes, Fraction]]:
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [(bytes(packet), packet.pts * packet.time_base) for packet in container.demux(stream) if packet.size]


@pytest.mark.parametrize("deinterlace", ["off", "double"])
def test_frames_are_freed_as_soon_as_they_are_done(network: Networks, tmp_path: Path, deinterlace: str):
    """Not when the garbage collector comes by, which to it are a few objects: 3 GB of a film of 4K."""

    def alive() -> int:
        return sum(type(each) is av.VideoFrame for each in gc.get_objects())

    source = make_clip(tmp_path / "a.mkv")
    gc.disable()
    try:
        before = alive()
        upscale_video(source, tmp_path / "b.mkv", network(2), deinterlace=deinterlace)
        assert alive() == before
    finally:
        gc.enable()


# Pixel format, codec, the container, range; samples to the network's 0..1 and back, each written out.
EXACT = [
    ("yuv420p", "ffv1", "mkv", 1, lambda y: y / 255, lambda x: x * 255),
    ("yuv422p", "libx264", "mp4", 1, lambda y: y / 255, lambda x: x * 255),
    ("yuv444p", "libx264", "mp4", 0, lambda y: y / 255, lambda x: x * 255),
    ("gray", "ffv1", "mkv", 1, lambda y: y / 255, lambda x: x * 255),
    ("yuv420p10le", "ffv1", "mkv", 1, lambda y: y / 1020, lambda x: x * 1020),
    ("yuv444p10le", "ffv1", "mkv", 1, lambda y: y / 1020, lambda x: x * 1020),
    (
        "yuv420p",
        "libx264",
        "mp4",
        2,
        lambda y: (y * (219 / 255) + 16) / 255,
        lambda x: (x * 255 - 16) / (219 / 255),
    ),
    (
        "yuv422p10le",
        "ffv1",
        "mkv",
        2,
        lambda y: (y * (219 / 1023) + 16) / 255,
        lambda x: (x * 255 - 16) / (219 / 1023),
    ),
]


@pytest.mark.parametrize(
    ("pixel_format", "codec", "suffix", "color_range", "to_network", "from_network"),
    EXACT,
    ids=[f"{name} range {color_range}" for name, _, _, color_range, *_ in EXACT],
)
def test_luma_is_the_networks_output_rounded(
    network: Networks,
    tmp_path: Path,
    pixel_format: str,
    codec: str,
    suffix: str,
    color_range: int,
    to_network: Callable[[torch.Tensor], torch.Tensor],
    from_network: Callable[[torch.Tensor], torch.Tensor],
):
    source = make_clip(tmp_path / "lr.mkv", pixel_format, color_range=color_range)
    target = tmp_path / f"sr.{suffix}"
    result = upscale_video(source, target, network(2), codec, quality=0 if codec == "libx264" else None)
    assert result == VideoResult(FRAMES, ())
    lr_frames, sr_frames = decoded(source), decoded(target)
    assert [frame.format.name.replace("yuvj", "yuv") for frame in sr_frames] == [pixel_format] * FRAMES
    assert frames.is_full_range(sr_frames[0]) == (color_range == 2)
    peak = 1023 if "10" in pixel_format else 255
    in_integers = integer_network(load_weights(shipped_weights("fsrcnn_s", 2))) if network(2).in_integers else None
    for lr, sr in zip(lr_frames, sr_frames, strict=True):
        if in_integers and peak == 255:
            assert np.array_equal(planes(sr)[0], enlarge_samples(in_integers, planes(lr)[0], color_range == 2))
            continue
        with torch.inference_mode():
            output = shipped("fsrcnn_s", 2)(to_network(torch.from_numpy(planes(lr)[0].astype(np.float32)))[None, None])
        exact = np.clip(from_network(output.double())[0, 0].numpy(), 0, peak)
        assert np.abs(planes(sr)[0] - exact).max() < 0.5 + 1e-3 * peak / 255  # of float32's own rounding
    assert times(target) == [time * TIME_BASE for time in TIMES]


@pytest.mark.parametrize("scale", SCALES)
def test_unsubsampled_chroma_is_matlabs_bicubic(scale: int):
    chroma = np.random.default_rng(0).integers(0, 256, (2, 9, 14), dtype=np.uint8)
    expected = [to_uint8(imresize(plane, scale)) for plane in chroma]
    weights = frames.chroma_weights(scale, 1, 1)
    for plane, right in zip(chroma, expected, strict=True):
        np.testing.assert_array_equal(frames.upscale_chroma(plane, 8, weights), right)


@pytest.mark.parametrize("scale", SCALES)
def test_subsampled_chroma_stays_where_it_is_on_the_luma(scale: int):
    # Each 4:2:0 sample holds the luma position it sits at: rows 0.5, 2.5, ..., columns 0, 2, ...; 16 steps a pixel.
    rows, columns = np.meshgrid(2 * np.arange(12) + 0.5, 2 * np.arange(14), indexing="ij")
    chroma = (16 * np.stack([rows, columns])).astype(np.uint16)
    sr = np.stack([frames.upscale_chroma(plane, 10, frames.chroma_weights(scale, 2, 2)) for plane in chroma])
    # Luma pixel p of the enlarged picture lies at (p + 0.5) / scale - 0.5 of the small one.
    row = ((2 * np.arange(12 * scale) + 0.5) + 0.5) / scale - 0.5
    column = (2 * np.arange(14 * scale) + 0.5) / scale - 0.5
    inner = slice(3 * scale, -3 * scale)  # away from the mirrored border
    np.testing.assert_allclose(sr[0, inner, 0], (16 * row)[inner], atol=0.51)
    np.testing.assert_allclose(sr[1, 0, inner], (16 * column)[inner], atol=0.51)


COLOURS = {"color_range": 1, "color_primaries": 9, "color_trc": 16, "colorspace": 9}  # BT.2020, PQ


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_everything_else_is_kept(network: Networks, tmp_path: Path, suffix: str):
    with_text = suffix == "mkv"
    source = make_clip(
        tmp_path / f"lr.{suffix}",
        codec="libx264",
        rotation=90,
        tone=True,
        subtitle=with_text,
        sample_aspect_ratio=Fraction(4, 3),
        **COLOURS,
    )
    target = tmp_path / f"sr.{suffix}"
    assert upscale_video(source, target, network(2)).warnings == ()
    assert times(target) == times(source) == [time * TIME_BASE for time in TIMES]
    assert copied_packets(target, "audio") == copied_packets(source, "audio")
    assert decoded(target)[0].rotation == 90
    with av.open(str(target)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.pix_fmt) == (2 * WIDTH, 2 * HEIGHT, "yuv420p")
        assert {name: getattr(stream.codec_context, name) for name in COLOURS} == COLOURS
        assert stream.sample_aspect_ratio == Fraction(4, 3)
        assert container.streams.audio[0].language == "fin"
        assert container.metadata["title"] == "A moving pattern"
        (chapter,) = container.chapters()
        assert chapter["metadata"]["title"] == "All of it"
        assert chapter["end"] * chapter["time_base"] == Fraction(3, 10)
        if with_text:
            assert container.streams.subtitles[0].language == "swe"
            assert container.streams.subtitles[0].disposition & av.stream.Disposition.forced
            assert container.streams.attachments[0].data == b"a font"
    if with_text:
        assert copied_packets(target, "subtitles") == [(b"A line of text", Fraction(1, 10))]


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".webm", "vp9"), (".ogv", "vp8"), (".wmv", "h264"), (".mp4", "h264"), (".ts", "h264"), (".mpg", "h264")],
)
def test_the_encoder_fits_the_container(network: Networks, tmp_path: Path, suffix: str, codec: str):
    source = make_clip(tmp_path / "lr.mkv", times=list(range(0, 2 * FRAMES, 2)))
    upscale_video(source, tmp_path / f"sr{suffix}", network(2))
    with av.open(str(tmp_path / f"sr{suffix}")) as container:
        assert container.streams.video[0].codec_context.name.removeprefix("lib") == codec
        assert len(list(container.decode(video=0))) == FRAMES


def priority_here() -> tuple[int, int] | None:
    """This thread's priority, on Linux."""
    known = hasattr(os, "sched_getscheduler")
    return (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority) if known else None


@pytest.mark.parametrize(
    ("codec", "preset", "faster"),
    [("libx264", "slow", "ultrafast"), ("libvpx-vp9", "2", "8"), ("libsvtav1", "8", "12")],
)
def test_presets_reach_the_encoder(network: Networks, tmp_path: Path, codec: str, preset: str, faster: str):
    source, priority = make_clip(tmp_path / "lr.mkv", size=(128, 96)), priority_here()
    for name in (preset, faster):
        upscale_video(source, tmp_path / f"{name}.mkv", network(2), codec, preset=name)
    assert priority_here() == priority  # which SVT-AV1 raises for root
    assert (tmp_path / f"{preset}.mkv").stat().st_size != (tmp_path / f"{faster}.mkv").stat().st_size


def test_a_trial_takes_the_first_seconds_of_every_stream(network: Networks, tmp_path: Path):
    source = make_clip(tmp_path / "lr.mp4", codec="libx264", tone=True)
    target = tmp_path / "sr.mp4"
    assert upscale_video(source, target, network(2), duration=0.24).frames == 4  # the fifth starts just then
    assert times(target) == [time * TIME_BASE for time in TIMES[:4]]
    sound = copied_packets(source, "audio")
    assert copied_packets(target, "audio") == [packet for packet in sound if packet[1] < 0.24] != sound


def test_odd_sizes_are_made_even_for_subsampled_chroma(network: Networks, tmp_path: Path):
    source = make_clip(tmp_path / "lr.mkv", size=(23, 17))
    result = upscale_video(source, tmp_path / "sr.mp4", network(3), quality=0)
    assert "69 x 51 made even by repeating the last row or column: 70 x 52" in result.warnings[0]
    luma, cb, _ = planes(decoded(tmp_path / "sr.mp4")[0])
    assert (luma.shape, cb.shape) == ((52, 70), (26, 35))
    np.testing.assert_array_equal(luma[:, 69], luma[:, 68])
    np.testing.assert_array_equal(luma[51], luma[50])
    whole = make_clip(tmp_path / "whole.mkv", "yuv444p", size=(23, 17))
    assert upscale_video(whole, tmp_path / "whole.mp4", network(3)).warnings == ()


def test_what_is_not_kept_is_warned_of(network: Networks, tmp_path: Path):
    rgb = make_clip(tmp_path / "rgb.mkv", "gbrp10le")
    result = upscale_video(rgb, tmp_path / "sr.mkv", network(2), "ffv1")
    assert result.warnings == ("gbrp10le is converted to yuv444p10le",)
    frame = decoded(tmp_path / "sr.mkv")[0]
    assert (frame.format.name, frame.color_range, frame.colorspace) == ("yuv444p10le", 1, 6)  # limited, BT.601
    interlaced = make_clip(tmp_path / "interlaced.mp4", codec="libx264", options={"x264-params": "tff=1"})
    assert "interlaced" in upscale_video(interlaced, tmp_path / "sr.mp4", network(2)).warnings[0]


@pytest.mark.parametrize("suffix", ["avi", "wmv"])
def test_frames_keep_their_times_where_a_file_has_one_for_each(network: Networks, tmp_path: Path, suffix: str):
    source, target = make_clip(tmp_path / "lr.mkv"), tmp_path / f"sr.{suffix}"
    upscale_video(source, target, network(2))
    with av.open(str(target)) as container:
        written = [packet.dts * packet.time_base for packet in container.demux(video=0) if packet.size]
    assert written == [time * TIME_BASE for time in TIMES]
    assert all(frame.pict_type != PictureType.B for frame in decoded(target))  # these are shown at another time


def film_with_late_sound(path: Path) -> Path:
    """Twenty seconds, of which the last three have sound. An FLV does not say in its header that it has."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=2)
        video.width, video.height, video.pix_fmt = 32, 16, "yuv420p"
        sound = output.add_stream("libmp3lame" if path.suffix == ".flv" else "ac3", rate=44100, layout="mono")
        for number in range(40):
            frame = av.VideoFrame.from_ndarray(moving_pattern(number, 16, 32, 8).astype(np.uint8), "gray").reformat(
                format="yuv420p"
            )
            frame.pts, frame.time_base = number, Fraction(1, 2)
            output.mux(video.encode(frame))
        wave = av.AudioFrame.from_ndarray(np.zeros((1, 3 * 44100), np.float32), "fltp", "mono")
        wave.sample_rate, wave.pts, wave.time_base = 44100, 17 * 44100, Fraction(1, 44100)
        output.mux([*video.encode(None), *sound.encode(wave), *sound.encode(None)])
    if path.suffix == ".flv":
        content = bytearray(path.read_bytes())
        content[4] = 1  # has video
        path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", ["ts", "mpg", "flv"])
def test_sound_that_begins_late_is_kept(network: Networks, tmp_path: Path, suffix: str):
    source, target = film_with_late_sound(tmp_path / f"lr.{suffix}"), tmp_path / f"sr.{suffix}"
    assert upscale_video(source, target, network(2)).warnings == ()
    with open_source(source) as lr, open_source(target) as sr:
        (before,), (after,) = lr.container.streams.audio, sr.container.streams.audio
        kept = [[bytes(packet) for packet in each.container.demux(each) if packet.size] for each in (before, after)]
        assert kept[0] == kept[1] != []


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        ("ts", "left out, as the first 64 MiB do not tell what it is: stream 1 (sound ac3)"),
        ("flv", "left out: 1 streams that begin after the first 64 MiB"),
    ],
)
def test_sound_that_begins_too_late_is_said(
    network: Networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, message: str
):
    monkeypatch.setattr(reading, "SEARCHED", {"probesize": "1000"})
    film = film_with_late_sound(tmp_path / f"lr.{suffix}")
    result = upscale_video(film, tmp_path / f"sr.{suffix}", network(2))
    assert (result.frames, result.warnings) == (40, (message,))


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_cut_off_video_keeps_what_is_there(network: Networks, tmp_path: Path, suffix: str):
    source = make_clip(tmp_path / f"lr.{suffix}", codec="libx264", times=list(range(0, 500, 50)), max_b_frames=0)
    if suffix == "mp4":  # its index goes first, as in a file made for download
        with (
            av.open(str(source)) as whole,
            av.open(str(source) + ".mp4", "w", options={"movflags": "faststart"}) as fast,
        ):
            stream = fast.add_stream_from_template(whole.streams.video[0], opaque=True)
            for packet in whole.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    fast.mux(packet)
        source = Path(str(source) + ".mp4")
    source.write_bytes(source.read_bytes()[: int(0.7 * source.stat().st_size)])
    target = tmp_path / f"sr.{suffix}"
    result = upscale_video(source, target, network(2))
    assert 3 <= result.frames < FRAMES
    assert any("cut off" in warning and "of its 9.0 seconds" in warning for warning in result.warnings)
    assert len(decoded(target)) == result.frames


def test_damage_in_the_middle_is_passed_over(network: Networks, tmp_path: Path):
    source = make_clip(tmp_path / "lr.mkv", codec="libx264", max_b_frames=0)
    with av.open(str(source)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][5]
    content = bytearray(source.read_bytes())
    content[packet.pos + packet.size // 2 : packet.pos + packet.size] = b"\xff" * (packet.size - packet.size // 2)
    source.write_bytes(content)
    result = upscale_video(source, tmp_path / "sr.mp4", network(2))
    assert result.warnings == ("damaged (packets: 1); what could be decoded is kept",)
    assert len(decoded(tmp_path / "sr.mp4")) == result.frames >= FRAMES - 1


class Interrupting(Network):
    """A network during whose third frame the user presses Ctrl-C."""

    def __init__(self, network: Network) -> None:
        super().__init__(network.sizes, 1)
        self.network, self.calls = network, 0

    def enlarge_samples(self, lr: SamplePlane, sr: SamplePlane, bits: int, full_range: bool) -> None:
        self.calls += 1
        if self.calls == 3:
            signal.raise_signal(signal.SIGINT)
        self.network.enlarge_samples(lr, sr, bits, full_range)


def test_an_interruption_leaves_the_target_as_it_was(network: Networks, tmp_path: Path):
    source = make_clip(tmp_path / "lr.mkv")
    target = tmp_path / "sr.mkv"
    target.write_bytes(b"an older one")
    with pytest.raises(KeyboardInterrupt):
        upscale_video(source, target, Interrupting(network(2)))
    assert target.read_bytes() == b"an older one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lr.mkv", "sr.mkv"]


PLAYLISTS = {
    "ffconcat": "ffconcat version 1.0\nfile {other}\n",
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n",
    "DASH": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>'
    '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{other}</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>",
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
    "ASX": '<asx version="3.0"><entry><ref href="{other}"/></entry></asx>',
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES))
def test_a_playlist_does_not_open_what_it_names(tmp_path: Path, kind: str, suffix: str):
    make_clip(tmp_path / "other.mkv")
    path = tmp_path / f"list{suffix}"
    path.write_text(PLAYLISTS[kind].format(other="other.mkv"), encoding="utf-8")
    with pytest.raises(RequestError, match=r"list\.\w+: not (a video|one frame)"), open_source(path):
        pass


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(suffix, "mpeg4") for suffix in (".avi", ".m4v", ".mkv", ".mov", ".mp4")]
    + [(suffix, "mpeg2video") for suffix in (".m2ts", ".mpeg", ".mpg", ".mts", ".ts")]
    + [(".flv", "flv"), (".ogv", "libvpx"), (".webm", "libvpx"), (".wmv", "wmv2")],
)
def test_every_container_is_read(tmp_path: Path, suffix: str, codec: str):
    with open_source(make_clip(tmp_path / f"clip{suffix}", codec=codec, times=list(range(5)))) as source:
        assert (source.first.width, source.first.height) == (WIDTH, HEIGHT)


@posix
def test_a_full_disk_is_reported_and_leaves_the_target_as_it_was(network: Networks, tmp_path: Path):
    source = make_clip(tmp_path / "lr.mkv")
    small_files(20_000)
    try:
        with pytest.raises(FailureError, match=r"sr\.mkv: cannot be written: .*; make room"):
            upscale_video(source, tmp_path / "sr.mkv", network(2), "ffv1")
    finally:
        small_files(None)
    assert [path.name for path in tmp_path.iterdir()] == ["lr.mkv"]


def doubled_out_of_order(number: int) -> int:
    """Twice the number, the later ones sooner."""
    time.sleep(0.01 * (number % 2 == 0))
    return 2 * number


@pytest.mark.parametrize("of_each", [False, True])
def test_a_step_is_only_a_few_items_ahead_and_passes_errors_on(of_each: bool):
    made = []

    def items() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number
        raise OSError("at the end")

    with (
        ThreadPoolExecutor(2) as pool,
        map_ahead(doubled_out_of_order, items(), pool, AHEAD) if of_each else ahead(items()) as results,
    ):
        for number in range(20):
            assert next(results) == (2 * number if of_each else number)
            assert len(made) <= number + 1 + AHEAD
        with pytest.raises(OSError, match="at the end"):
            next(results)


def test_x265_gets_no_pictures_that_it_writes_beyond(network: Networks, tmp_path: Path):
    source = make_clip(tmp_path / "lr.mkv", size=(24, 36))
    with pytest.raises(RequestError, match=r"libx265 needs a width of 50 pixels, and the result has 48; choose"):
        upscale_video(source, tmp_path / "sr.mkv", network(2), "libx265")
    assert not (tmp_path / "sr.mkv").exists()


# The source, the target, the arguments, and what the one-line message names.
MISTAKES = [
    ("missing.mp4", "sr.mp4", {}, "missing.mp4: no such file"),
    ("empty.mp4", "sr.mp4", {}, "empty.mp4: the file is empty"),
    ("text.mp4", "sr.mp4", {}, "text.mp4: not a video"),
    ("sound.m4a", "sr.mp4", {}, "sound.m4a: holds no video stream, only audio"),
    ("lr.mkv", "lr.mkv", {}, "lr.mkv: is the source itself"),
    ("lr.mkv", "sr.film", {}, "sr.film: no video container has this suffix; use .mp4 or .mkv"),
    ("lr.mkv", "sr.mkv", {"codec": "x264"}, "codec: no encoder is called x264; choose libx264"),
    ("lr.mkv", "sr.mkv", {"codec": "aac"}, "codec: aac encodes audio"),
    ("lr.mkv", "sr.mkv", {"codec": "mpeg4"}, "codec: mpeg4 cannot take yuv420p10le, only yuv420p"),
    ("lr.mkv", "sr.mkv", {"codec": "ffv1", "quality": 3}, "quality: ffv1 has no constant rate factor"),
    ("lr.mkv", "sr.mkv", {"duration": 0}, "duration: got 0"),
    ("lr.mkv", "sr.mkv", {"codec": "ffv1", "preset": "fast"}, "preset: ffv1 has no presets; leave it out"),
    ("lr.mkv", "sr.webm", {"codec": "libx264"}, "sr.webm: .webm cannot hold libx264; choose another codec or .mkv"),
    ("lr.mkv", "sr.mkv", {"quality": -50}, "sr.mkv: libx264 in .mkv cannot be started"),
    ("lr.mkv", "sr.mkv", {"deinterlace": "on"}, "deinterlace: got 'on', expected auto, off, double"),
]


@pytest.mark.parametrize(("source", "target", "arguments", "named"), MISTAKES, ids=[named for *_, named in MISTAKES])
def test_a_mistake_gets_one_line_and_changes_nothing(
    network: Networks, tmp_path: Path, source: str, target: str, arguments: dict[str, Any], named: str
):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video at all", encoding="utf-8")
    make_clip(tmp_path / "lr.mkv", "yuv420p10le", subtitle=True)
    with av.open(str(tmp_path / "sound.m4a"), "w") as output:
        sound = output.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        output.mux([*sound.encode(frame), *sound.encode()])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(RequestError) as complaint:
        upscale_video(tmp_path / source, tmp_path / target, network(2), **arguments)
    assert named in str(complaint.value)
    assert "\n" not in str(complaint.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

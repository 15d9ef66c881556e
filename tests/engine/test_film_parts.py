"""Films made in parts: interrupted and resumed, shared by processes, begun anywhere, always the same film."""

import gc
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext
from made import TIME_BASE, make_clip, moving_pattern, network, posix, started
from tqdm import tqdm

from fsrcnn.errors import FailureError, RequestError
from fsrcnn.network import Network, SamplePlane
from fsrcnn.videos.frames import sample_planes
from fsrcnn.videos.packets import read_footer
from fsrcnn.videos.parts import Parts, Run, cut, folder_of, new_run
from fsrcnn.videos.source import Begin, End, open_source, read_parts, timeline
from fsrcnn.videos.streams import film_reel
from fsrcnn.videos.upscale import upscale_video

SCRIPT = Path(__file__).parents[2] / "upscale.py"
EVERY, SECONDS = 10, 88  # a frame in so many fiftieths of a second; four parts
TIMES = list(range(0, 50 * SECONDS, EVERY))
SIZE = 32, 48
UNEVEN = [time + (time // EVERY) % 3 for time in TIMES]


def make_film(path: Path, times: list[int] = TIMES) -> Path:
    """A film with sound, which lies among its frames."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=5, options={"g": "50", "preset": "ultrafast", "bf": "2"})
        video.width, video.height, video.pix_fmt = SIZE[1], SIZE[0], "yuv420p"
        video.codec_context.time_base = TIME_BASE
        sound = output.add_stream("aac", rate=8000, layout="mono")
        for index, (time, until) in enumerate(pairwise([*times, times[-1] + EVERY])):
            frame = av.VideoFrame(*SIZE[::-1], "yuv420p")
            for plane in sample_planes(frame):
                plane[:] = moving_pattern(index, *plane.shape, 8)
            frame.pts, frame.time_base = time, TIME_BASE
            output.mux(video.encode(frame))
            wave = np.sin(np.arange(160 * time, 160 * until) * 0.3, dtype=np.float32)[None]
            tone = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
            tone.sample_rate, tone.pts, tone.time_base = 8000, 160 * time, Fraction(1, 8000)
            output.mux(sound.encode(tone))
        output.mux([*video.encode(None), *sound.encode(None)])
    return path


def contents(path: Path) -> dict[str, object]:
    """What a film is, decoded: the frames' times and pixels, the sound's."""
    with av.open(str(path)) as container:
        video = [
            (frame.pts * frame.time_base, hashlib.sha256(frame.to_ndarray().tobytes()).hexdigest())
            for frame in container.decode(video=0)
        ]
    with av.open(str(path)) as container:
        sound = [(frame.pts, frame.to_ndarray().tobytes()) for frame in container.decode(audio=0)]
    with av.open(str(path)) as container:
        decoded_at = [packet.dts for packet in container.demux(video=0) if packet.size and packet.dts is not None]
    assert decoded_at == sorted(set(decoded_at))
    assert sound
    return {"video": video, "sound": sound}


class Watched(Network):
    """A network that counts its frames and fails at one of them."""

    def __init__(self, network: Network, at: int = 0, failing: Callable[[], None] = lambda: None) -> None:
        super().__init__(network.sizes, 1)
        self.network, self.frames, self.at, self.failing, self.digest = network, 0, at, failing, network.digest

    def enlarge_samples(self, lr: SamplePlane, sr: SamplePlane, bits: int, full_range: bool) -> None:
        self.frames += 1
        if self.frames == self.at:
            self.failing()
        self.network.enlarge_samples(lr, sr, bits, full_range)


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(("suffix", "times"), [("mkv", TIMES), ("mp4", UNEVEN), ("ts", TIMES)])
def test_a_killed_film_goes_on_and_is_the_same(tmp_path: Path, suffix: str, times: list[int]):
    small = network("fsrcnn_s", 2)
    source, whole, resumed = (tmp_path / f"{name}.{suffix}" for name in ("film", "whole", "resumed"))
    make_film(source, times)
    assert upscale_video(source, whole, Watched(small)).frames == len(TIMES)
    with pytest.raises(KeyboardInterrupt):
        upscale_video(source, resumed, Watched(small, 250, press_ctrl_c))
    kept = sorted(folder_of(resumed).glob("*.part"))
    assert 1 <= len(kept) <= 2
    assert not resumed.exists()
    had = sum(read_footer(path).frames for path in kept)
    assert had > len(TIMES) / 8
    counting = Watched(small)
    assert upscale_video(source, resumed, counting).frames == len(TIMES)
    assert counting.frames == len(TIMES) - had
    assert contents(resumed) == contents(whole)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def alive() -> int:
    return sum(type(each) is VideoCodecContext for each in gc.get_objects())


def test_the_decoder_that_looked_into_a_film_is_freed(tmp_path: Path):
    """It was kept with its frames, a dozen of a film of 4K, as long as the film was open."""
    source = make_clip(tmp_path / "film.mkv")
    gc.disable()  # what other tests have left stays counted
    try:
        before = alive()
        with open_source(source, "auto"):
            assert alive() == before + 1
    finally:
        gc.enable()


def test_the_encoders_of_parts_are_freed(tmp_path: Path):
    """Each part's encoder was kept to the end: 0.4 GB and 8 threads a minute of a film of 4K."""
    source, most = make_film(tmp_path / "film.mkv", TIMES[::5]), 0

    class Bar(tqdm):
        def update(self, number: float | None = 1) -> None:
            nonlocal most
            self.n += number or 0
            if self.n % 10 == 0:
                most = max(most, alive())

    gc.disable()
    try:
        before = alive()
        upscale_video(source, tmp_path / "large.mkv", network("fsrcnn_s", 2), bar=Bar(disable=True))
        # The source's, the one that decodes the parts, and the encoders of a part and of the end of the one before.
        assert before < most <= before + 4
        assert alive() == before
    finally:
        gc.enable()


def one_by_one(source: Path, deinterlace: str, parts: list[int]) -> list[list[tuple[Fraction, str]]]:
    """The frames of some parts of a film, read one after the other: their times and pixels."""
    found: list[list[tuple[Fraction, str]]] = []
    with open_source(source, deinterlace) as opened:
        end, can_seek = timeline(opened)
        cuts, left = cut(0.0, end, 0.0, None), iter(parts)
        assert cuts.number == 4
        for item in read_parts(opened, cuts, lambda: next(left, None), can_seek):
            if isinstance(item, Begin):
                found.append([])
            elif not isinstance(item, End):
                found[-1].append((item.pts * item.time_base, hashlib.sha256(item.to_ndarray().tobytes()).hexdigest()))
    return found


# The container, the codec, how it is encoded, and what is done about its fields.
READ = {
    "H.264, open groups": ("mkv", "libx264", {"g": "30", "bf": "3", "x264-params": "open-gop=1"}, "off"),
    "H.264, one key frame": ("mkv", "libx264", {"g": "10000"}, "off"),
    "H.264, refreshed bit by bit": ("mp4", "libx264", {"g": "25", "x264-params": "intra-refresh=1"}, "off"),
    "H.264, transport stream": ("ts", "libx264", {"g": "30", "bf": "2"}, "off"),
    "H.264, AVI": ("avi", "libx264", {"g": "30", "bf": "2"}, "off"),
    "H.264, FLV": ("flv", "libx264", {"g": "30", "bf": "2"}, "off"),
    "HEVC, open groups": ("mkv", "libx265", {"x265-params": "keyint=30:open-gop=1:log-level=error"}, "off"),
    "MPEG-2, program stream": ("mpg", "mpeg2video", {"g": "12", "bf": "2"}, "off"),
    "MPEG-2, fields": ("ts", "mpeg2video", {"g": "12", "bf": "2", "flags": "+ilme+ildct"}, "double"),
    "VP9": ("webm", "libvpx-vp9", {"g": "30", "cpu-used": "8"}, "off"),
    "MPEG-4": ("mov", "mpeg4", {"g": "30", "bf": "2"}, "off"),
}


@pytest.mark.parametrize("kind", READ)
def test_a_part_that_is_read_alone_has_the_frames_that_it_has_in_the_film(tmp_path: Path, kind: str):
    suffix, codec, options, deinterlace = READ[kind]
    step = 2 if codec == "mpeg2video" else 10  # which has 25 frames a second at least
    source = make_clip(
        tmp_path / f"film.{suffix}",
        codec=codec,
        times=list(range(0, 50 * SECONDS, step)),
        size=(64, 32),  # x265 writes behind its memory where pictures are narrower than 50
        options=options,
    )
    whole = one_by_one(source, deinterlace, [0, 1, 2, 3])
    assert [len(frames) > 0 for frames in whole] == [True] * 4
    assert one_by_one(source, deinterlace, [2]) == [whole[2]]
    assert one_by_one(source, deinterlace, [0, 3]) == [whole[0], whole[3]]


@pytest.mark.parametrize(
    ("film", "number", "each"), [(19, 1, 20), (85, 4, 20), (240, 6, 40), (600, 10, 60), (7200, 120, 60)]
)
def test_long_films_have_long_parts(film: float, number: int, each: float):
    cuts = cut(3, 3 + film, 0, None)
    assert (cuts.number, cuts.seconds) == (number, each)
    assert cuts.is_in(number - 1, 2 + film, is_key=False)
    assert not cuts.is_in(1, 2.9 + each / 2, is_key=True)


@posix
def test_sigkill_loses_one_part_at_most(tmp_path: Path):
    source = make_film(tmp_path / "film.mkv")
    target = tmp_path / "film_x2.mkv"
    command = [sys.executable, SCRIPT, source, "--variant", "fsrcnn_s", "--device", "cpu"]
    with started(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not list(folder_of(target).glob("*.part")):
            time.sleep(0.01)
        process.kill()
    kept = list(folder_of(target).glob("*.part"))
    assert kept
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    uninterrupted = tmp_path / "again.mkv"
    subprocess.run([*command, "--output", uninterrupted], check=True, capture_output=True, timeout=60)
    assert contents(target) == contents(uninterrupted)
    assert not folder_of(target).exists()


def test_other_settings_make_all_parts_anew_and_say_so(tmp_path: Path):
    small = network("fsrcnn_s", 2)
    source, target = make_film(tmp_path / "film.mkv"), tmp_path / "large.mkv"

    def interrupt(**settings: object) -> int:
        with pytest.raises(KeyboardInterrupt):
            upscale_video(source, target, Watched(small, 250, press_ctrl_c), **settings)
        return len(list(folder_of(target).glob("*.part")))

    assert interrupt()
    counting = Watched(small)
    result = upscale_video(source, target, counting, quality=40)
    assert result.warnings == ("finished parts of an earlier run are removed: other quality",)
    assert counting.frames == len(TIMES)
    assert interrupt(quality=40)
    os.utime(source, (1, 1))
    assert upscale_video(source, target, Watched(small), quality=40).warnings == (
        "finished parts of an earlier run are removed: other source",
    )
    assert not folder_of(target).exists()


def test_two_runs_do_not_make_one_film_at_the_same_time(tmp_path: Path):
    target = tmp_path / "large.mkv"
    with (
        Parts(target, 4, {"codec": "libx264"}, new_run()).opened(),
        pytest.raises(FailureError, match=r"large\.mkv: is being enlarged by another run"),
    ):
        upscale_video(make_film(tmp_path / "film.mkv"), target, network("fsrcnn_s", 2))
    assert not folder_of(target).exists()


def test_processes_take_each_part_once(tmp_path: Path):
    run = Run("abc", is_shared=True)
    mine, other = (Parts(tmp_path / "large.mkv", 4, {}, run) for _ in range(2))
    with mine.opened(), other.opened():
        assert [mine.take(), other.take(), other.take(), mine.take(), mine.take(), other.take()] == [
            *(0, 1, 2, 3),
            *(None, None),
        ]
        assert not mine.take_join()  # not one is finished
        for part in range(4):
            mine.path(part).touch()
        assert [mine.take_join(), other.take_join()] == [True, False]


def test_a_film_that_fails_in_one_process_is_left_by_the_others(tmp_path: Path):
    run = Run("abc", is_shared=True)
    source, target = make_film(tmp_path / "film.mkv"), tmp_path / "large.mkv"
    small = network("fsrcnn_s", 2)

    def fail() -> None:
        raise RuntimeError("a broken disk")

    with pytest.raises(RuntimeError, match="a broken disk"):
        upscale_video(source, target, Watched(small, 1, fail), run=run)
    counting = Watched(small)
    assert upscale_video(source, target, counting, run=run).frames is None
    assert counting.frames == 0


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_a_trial_begins_anywhere(tmp_path: Path, suffix: str):
    source, target = make_film(tmp_path / f"film.{suffix}"), tmp_path / f"large.{suffix}"
    result = upscale_video(source, target, network("fsrcnn_s", 2), codec="libx264", quality=0, start=21, duration=2)
    assert result.frames == 10
    with av.open(str(source)) as container:
        start = (container.start_time or 0) / av.time_base
        frames = [f for f in container.decode(video=0) if 21 - 1e-6 <= f.time - start < 23 - 1e-6]
        expected = [frame.to_ndarray()[:32] for frame in frames]
    with av.open(str(target)) as container:
        made = list(container.decode(video=0))
    apart = [frame.time - frames[0].time for frame in frames]
    assert [frame.time - made[0].time for frame in made] == pytest.approx(apart, abs=0.002)
    for small, large in zip(expected, made, strict=True):
        reduced = large.to_ndarray()[:64].reshape(32, 2, 48, 2).mean((1, 3))
        assert np.abs(reduced - small).mean() < 6  # frames one tick apart differ by more than 40
    with av.open(str(target)) as container:
        times = [packet.pts * packet.time_base for packet in container.demux(audio=0) if packet.size]
    assert 1.7 < times[-1] - times[0] < 2
    behind = float(times[0]) - made[0].time  # as in the source
    assert -0.13 - (frames[0].time - start - 21) <= behind <= 0.13


def test_a_trial_that_begins_behind_the_end_gets_one_line(tmp_path: Path):
    with pytest.raises(RequestError, match=r"start: got 99 seconds, and .*film\.mkv has 8\d\.\d; start earlier"):
        upscale_video(make_film(tmp_path / "film.mkv"), tmp_path / "large.mkv", network("fsrcnn_s", 2), start=99)


def test_a_trial_between_two_frames_gets_one_line_and_leaves_nothing(tmp_path: Path):
    film = make_clip(tmp_path / "film.mkv", times=[0, 50, 100])
    with pytest.raises(RequestError, match=r"start, duration: no frame of .*film\.mkv begins in what they take"):
        upscale_video(film, tmp_path / "large.mkv", network("fsrcnn_s", 2), start=0.5, duration=0.3)
    assert list(tmp_path.iterdir()) == [film]
    with pytest.raises(RequestError, match="start, duration"), film_reel(film, "auto", 0.3, False, 0.5):
        pass


def test_a_cut_film_is_whole_as_far_as_it_goes(tmp_path: Path):
    source = make_film(tmp_path / "film.mkv")
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    result = upscale_video(source, tmp_path / "large.mkv", network("fsrcnn_s", 2))
    with av.open(str(tmp_path / "large.mkv")) as container:
        assert len(list(container.decode(video=0))) == result.frames
    assert 0 < (result.frames or 0) < len(TIMES)
    assert any("cut off" in warning for warning in result.warnings)


@posix
def test_two_processes_make_one_film_as_one_does(tmp_path: Path):
    source = make_film(tmp_path / "film.mkv")
    settings = [SCRIPT, source, "--variant", "fsrcnn_s", "--device", "cpu", "--preset", "ultrafast"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *torchrun, *settings, "--output", tmp_path / "by_two.mkv"],
        check=True,
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert re.match(r"1 enlarged in [\d.]+ s, as .*by_two\.mkv; restored: 1 of 1", done.stdout)
    subprocess.run(
        [sys.executable, *settings, "--output", tmp_path / "by_one.mkv"], check=True, capture_output=True, timeout=60
    )
    assert contents(tmp_path / "by_two.mkv") == contents(tmp_path / "by_one.mkv")
    assert not folder_of(tmp_path / "by_two.mkv").exists()

"""The command in real pipelines with FFmpeg, and its exit codes and lines where one of them breaks."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
import pytest
from made import FRAMES, load, make_clip, needed, network, noise, posix, save, started

from fsrcnn import cli
from fsrcnn.cli import read_request
from fsrcnn.errors import RequestError, run_script
from fsrcnn.piped import check, parsed_rate
from fsrcnn.videos.upscale import upscale_video

ROOT = Path(__file__).parents[1]
FSRCNN = [sys.executable, str(ROOT / "upscale.py"), "--variant", "fsrcnn_s"]
HEADER = b"YUV4MPEG2 W16 H12 F25:1 Ip A1:1 C420mpeg2 XCOLORRANGE=LIMITED\n"
FRAME = b"FRAME\n" + bytes(range(16)) * 18
LARGE = 6 + 32 * 24 * 3 // 2  # bytes of a frame, enlarged
SECONDS = 60
EVEN = list(range(0, 20, 2))  # times of frames, a constant rate


class Run(Protocol):
    """Runs the command in this process: returns the exit code, standard output, and the lines of standard error."""

    def __call__(self, *arguments: str | Path, given: bytes = b"") -> tuple[int, bytes, list[str]]: ...


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> Run:
    def run(*arguments: str | Path, given: bytes = b"") -> tuple[int, bytes, list[str]]:
        settings = ["--variant", "fsrcnn_s", "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", ["upscale.py", *map(str, arguments), *settings])
        capfdbinary.readouterr()
        with standard_input(given, tmp_path / "given"), pytest.raises(SystemExit) as stop:
            run_script(cli.upscale)
        out, errors = capfdbinary.readouterr()
        return int(stop.value.code or 0), out, errors.decode().splitlines()

    return run


@contextmanager
def standard_input(given: bytes, path: Path) -> Iterator[None]:
    """This process's standard input, from a file of that content."""
    path.write_bytes(given)
    with path.open("rb") as file:
        before = os.dup(0)
        os.dup2(file.fileno(), 0)
        try:
            yield
        finally:
            os.dup2(before, 0)
            os.close(before)


@contextmanager
def pipeline(*commands: list[str], errors: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes of which each reads what the one before it writes."""
    with ExitStack() as stack, errors.open("wb") as log:
        processes: list[subprocess.Popen[bytes]] = []
        for command in commands:
            before = processes[-1].stdout if processes else subprocess.DEVNULL
            processes.append(stack.enter_context(started(command, stdin=before, stdout=subprocess.PIPE, stderr=log)))
            if processes[1:]:
                assert processes[-2].stdout
                processes[-2].stdout.close()  # so that its writer hears of the reader's end
        yield processes


def test_ffmpegs_pipelines_can_hold_it(tmp_path: Path):
    needed(bool(shutil.which("ffmpeg")), "ffmpeg")
    clip, result = make_clip(tmp_path / "lr.mkv", "yuv422p10le", times=EVEN, color_range=1), tmp_path / "sr.mkv"
    ffmpeg = ["ffmpeg", "-v", "error"]
    reading = [*ffmpeg, "-i", str(clip), "-strict", "-1", "-f", "yuv4mpegpipe", "-"]
    writing = [*ffmpeg, "-i", "-", "-c:v", "ffv1", str(result)]
    with pipeline(reading, [*FSRCNN, "-", "--output", "-"], writing, errors=tmp_path / "errors") as processes:
        assert [process.wait(SECONDS) for process in processes] == [0, 0, 0], (tmp_path / "errors").read_text()
    (line,) = (tmp_path / "errors").read_text().splitlines()
    assert re.fullmatch(rf"{FRAMES} frames enlarged in [0-9.]+ s, to standard output", line)
    upscale_video(clip, tmp_path / "by_file.mkv", network("fsrcnn_s", 2), "ffv1")
    assert frames(result) == frames(tmp_path / "by_file.mkv")


def frames(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]


def test_standard_output_has_nothing_but_the_film():
    command = [*FSRCNN, "-", "--output", "-"]
    done = subprocess.run(command, input=HEADER + 3 * FRAME, capture_output=True, timeout=SECONDS, check=True)
    out, said = done.stdout, done.stderr.decode().splitlines()
    assert out.split(b"\n")[0] + b"\n" == HEADER.replace(b"W16 H12", b"W32 H24")
    assert len(out.split(b"\n", 1)[1]) == 3 * LARGE
    (line,) = said
    assert re.fullmatch(r"3 frames enlarged in [0-9.]+ s, to standard output", line)


def test_frames_before_a_break_are_written(run: Run):
    code, out, said = run("-", "--output", "-", given=HEADER + 2 * FRAME + FRAME[:100])
    assert code == 1
    assert len(out.split(b"\n", 1)[1]) == 2 * LARGE
    assert said[-1] == "error: standard input: ends within frame 3; the frames before it are written"


def test_a_film_in_a_file_ends_where_the_pipe_broke(run: Run, tmp_path: Path):
    code, out, said = run("-", "--output", tmp_path / "sr.mkv", given=HEADER + 2 * FRAME + b"FRA")
    assert code == 1
    assert re.fullmatch(rb"2 frames enlarged in [0-9.]+ s, as .*sr\.mkv\n", out)
    assert said == ["error: standard input: damaged after frame 2; the frames before it are written"]
    assert len(frames(tmp_path / "sr.mkv")) == 2


@posix
def test_a_reader_that_ends_gives_one_line():
    command = [*FSRCNN, "-", "--output", "-"]
    with started(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(HEADER + FRAME)
        process.stdin.flush()
        assert process.stdout.read(10) == HEADER[:10]
        process.stdout.close()
        with suppress(BrokenPipeError):
            process.stdin.write(50 * FRAME)
            process.stdin.close()
        assert process.wait(SECONDS) == 1
        said = process.stderr.read().decode().splitlines()
    assert said == ["error: standard output: the program that reads it has ended; see what it says"]


@pytest.mark.parametrize("codec", ["libx265", "libsvtav1"])
def test_encoders_say_nothing(tmp_path: Path, codec: str):
    film = make_clip(tmp_path / "film.mkv", size=(64, 48))
    command = [*FSRCNN, str(film), "--codec", codec]
    told_nothing = {name: value for name, value in os.environ.items() if name != "SVT_LOG"}
    done = subprocess.run(command, capture_output=True, text=True, env=told_nothing)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has such a disk")
def test_a_full_disk_behind_standard_output_gives_one_line(tmp_path: Path):
    film = make_clip(tmp_path / "film.mkv")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*FSRCNN, str(film), "--output", "-"], stdout=full, stderr=subprocess.PIPE, text=True)
    expected = "error: standard output: writing it failed (No space left on device); free space\n"
    assert (done.returncode, done.stderr) == (1, expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (b"", "standard input: is empty; see what the program before it says"),
        (b"hello", "standard input: neither a picture that is known nor a film as YUV4MPEG2; "),
        (HEADER, "standard input: holds no frame"),
        (HEADER + FRAME[:50], "standard input: ends within frame 1"),
        (b"YUV4MPEG2 W16 H12 C411\n", "standard input: frames of format C411 are not read, only 420"),
    ],
)
def test_what_is_no_film_is_named(run: Run, given: bytes, message: str):
    code, out, said = run("-", "--output", "-", given=given)
    assert (code, out) == (2, b"")
    assert len(said) == 1
    assert said[0].startswith(f"error: {message}")


def test_pictures_pass_too(run: Run, tmp_path: Path):
    picture = save(tmp_path / "a.png", noise(9, 12, 3))
    assert run(picture, "--output", tmp_path / "b.png")[0] == 0
    expected = (tmp_path / "b.png").read_bytes()
    code, out, said = run("-", "--output", "-", given=picture.read_bytes())
    assert (code, len(said)) == (0, 1)
    assert out == expected
    code, out, _ = run("-", "--output", "-", "--format", "jpg", given=picture.read_bytes())
    assert (code, out[:2]) == (0, b"\xff\xd8")
    code, out, said = run("-", "--output", "-", given=picture.read_bytes()[:200])
    assert (code, out) == (1, b"")
    assert said[-1].startswith("error: standard input: not a readable picture")


def test_the_last_line_says_the_size_and_any_name(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    given = save(tmp_path / "a.png", noise(8, 9, 3)).read_bytes()
    for done in (
        r"1 resized to a width of 12 in \d+\.\d s, as {x}\.png",
        r"0 resized .*; {x}\.png was there already .*",
    ):
        code, out, _ = run("-", "--width", "12", "--output", "{x}.png", given=given)
        assert code == 0
        assert re.fullmatch(done, out.decode().strip())


def test_a_film_becomes_pictures_and_they_a_film(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "film.mkv", times=EVEN)
    code, out, said = run("film.mkv", "--frames", "frames")
    assert (code, said) == (0, [])
    assert re.match(rb"10 frames enlarged in [0-9.]+ s, in frames, 25 a second", out)
    code, out, _ = run("film.mkv", "--frames", "frames")
    assert code == 0
    assert b"; 10 were there already" in out
    for otherwise in (["--upscale-factor", "3"], ["--ensemble"], ["--restore", "1"]):
        code, _, said = run("film.mkv", "--frames", "frames", *otherwise)
        assert code == 2
        assert said[-1].startswith("error: frames: frames/000001.png is no frame of this film as it is asked for")
    code, out, _ = run("frames", "--fps", "24000/1001")
    assert code == 0
    assert re.search(rb", as frames_x2\.mp4", out)
    with av.open(str(tmp_path / "frames_x2.mp4")) as container:
        assert container.streams.video[0].guessed_rate == Fraction(24000, 1001)
    assert load(tmp_path / "frames" / "000010.png").dtype == np.uint8
    code, out, _ = run("frames", "--fps", "24")
    assert (code, out) == (0, b"0 enlarged; frames_x2.mp4 was there already (--overwrite does it again)\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-"], "output: standard input needs one"),
        (["-", "a.png", "--output", "-"], "inputs: got 2, expected one"),
        (["film.mkv", "--frames", "f", "--output", "f"], "frames: takes the place of output"),
        (["-", "--fps", "24", "--output", "-"], "fps: is for pictures"),
    ],
)
def test_what_does_not_fit_together_is_named(arguments: list[str], message: str):
    with pytest.raises(RequestError, match=f"^{message}"):
        check(read_request(arguments), processes=1)


def test_one_process_alone():
    with pytest.raises(RequestError, match="are for one process"):
        check(read_request(["film.mkv", "--output", "-"]), processes=2)


@posix
@pytest.mark.parametrize(
    ("descriptor", "arguments", "name"),
    [(0, ["-", "--output", "a.mkv"], "standard input"), (1, ["film.mkv", "--output", "-"], "standard output")],
)
def test_no_film_goes_through_a_terminal(descriptor: int, arguments: list[str], name: str):
    controller, terminal = os.openpty()
    before = os.dup(descriptor)
    os.dup2(terminal, descriptor)
    try:
        with pytest.raises(RequestError, match=f"^{name}: is a terminal; pipe "):
            check(read_request(arguments), processes=1)
    finally:
        os.dup2(before, descriptor)
        for each in (before, controller, terminal):
            os.close(each)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("24", Fraction(24)),
        ("24000/1001", Fraction(24000, 1001)),
        ("23.976", Fraction(24000, 1001)),
        ("29.97", Fraction(30000, 1001)),
        ("12.5", Fraction(25, 2)),
        ("25.0", Fraction(25)),
    ],
)
def test_rates_mean_what_they_say(text: str, rate: Fraction):
    assert parsed_rate(text) == rate
    assert read_request(["shots", "--fps", text]).fps == rate


@pytest.mark.parametrize("text", ["0", "-1", "24/0", "fast", "1e3", "2000", "", "nan"])
def test_what_is_no_rate_is_named(text: str):
    with pytest.raises(RequestError, match=r"fps"):
        read_request(["shots", f"--fps={text}"])

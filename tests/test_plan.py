"""Which files are enlarged, which are left alone, and what is said of the others."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from made import load, make_clip, noise, posix, save
from PIL import Image

import fsrcnn
from fsrcnn import cli
from fsrcnn.errors import run_script
from fsrcnn.files import written_whole
from fsrcnn.native.cache import folder
from fsrcnn.stamp import is_stamped, stamp
from fsrcnn.videos import VIDEO_SUFFIXES

Run = Callable[..., tuple[int, str, str]]
COMMAND = [sys.executable, str(Path(__file__).parents[1] / "upscale.py"), "--device", "cpu", "--variant", "fsrcnn_s"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs upscale.py in tmp_path, with the small network on the CPU; returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        command = ["upscale.py", *map(str, arguments), "--device", "cpu", "--variant", "fsrcnn_s"]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as stop:
            run_script(cli.upscale)
        return stop.value.code or 0, *capsys.readouterr()

    return run


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


# --- one file does not end the others ---


def test_whatever_is_wrong_is_named_and_the_others_go_on(run: Run, tmp_path: Path):
    for name in ("a.png", "b.png", "taken.png", "n" * 251 + ".png", "line\nred\x1b[31m.png"):
        save(tmp_path / name, noise(5, 4, 3))
    Image.fromarray(noise(5, 4, 3)).quantize(16).save(tmp_path / "a.gif")
    (tmp_path / "taken_x2.png").mkdir()
    (tmp_path / "away.png").symlink_to("nowhere.png")
    (tmp_path / "notes.txt").touch()
    code, said, errors = run(".", "missing.png", "none*.png", "[*", "notes.txt", "x" * 300)
    assert code == 1
    assert sorted(path.name for path in tmp_path.glob("*_x2.png")) == [
        "a_x2.png",
        "b_x2.png",
        "line\nred\x1b[31m_x2.png",
        "taken_x2.png",
    ]
    assert said.startswith("3 enlarged in ")
    *problems, last = errors.splitlines()
    for problem in (
        "a.gif: would become a_x2.png, as a.png does; enlarge it alone, with --output FILE",
        "away.png: not a file, or a link that leads to none; remove it",
        "taken.png: its result taken_x2.png is there already, as a folder",
        "missing.png: no such file or folder",
        "none*.png: nothing to enlarge here",
        "[*: nothing to enlarge here",
        "notes.txt: no known picture or video",
        f"{'x' * 300}: no such file or folder",
        f"{'n' * 251}.png: its result {'n' * 251}_x2.png cannot be written (File name too long)",
    ):
        assert [line for line in problems if line.startswith(f"failed: {problem}")], problem
    assert len(problems) == 9
    assert last.startswith("error: 9 of 12 failed: ")
    code, said, errors = run("line\nred\x1b[31m.png", "a.png", "--overwrite", "--suffix", "", "--output", "o")
    assert (code, said.count("\n")) == (0, 1)
    save(tmp_path / "bad\n\x1b]0;.png", noise(5, 4, 3)).write_bytes(b"bad")
    code, said, errors = run("bad\n\x1b]0;.png")
    assert (code, said, "\x1b" in errors, errors.count("\n")) == (1, "", False, 1)
    assert "bad\\n\\x1b]0;.png: not a readable picture" in errors


def test_an_exception_that_nobody_foresaw_is_its_files_alone(run: Run, tmp_path: Path):
    save(tmp_path / "a.png", noise(5, 4, 3))
    palette = bytearray(b"BM" + bytes(52))
    palette[10], palette[14], palette[18], palette[22], palette[26], palette[28] = 54, 40, 4, 5, 1, 8
    palette[46:50] = (2**31).to_bytes(4, "little")  # colours of the palette, which Pillow does not check
    (tmp_path / "b.bmp").write_bytes(palette)
    code, said, errors = run(".")
    assert (code, said.split(" in ")[0]) == (1, "1 enlarged")
    assert errors.startswith("failed: b.bmp: ")
    assert errors.count("\n") == 2
    with pytest.raises(fsrcnn.Error, match=r"b\.bmp: "):
        fsrcnn.enlarge_file("b.bmp", "c.bmp", variant="fsrcnn_s")


def test_videos_without_pyav_end_no_pictures(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save(tmp_path / "a.png", noise(5, 4, 3))
    make_clip(tmp_path / "b.mkv")
    monkeypatch.setitem(sys.modules, "av", None)  # as if it were not installed
    for module in [name for name in sys.modules if name.startswith("fsrcnn.videos.")]:
        monkeypatch.delitem(sys.modules, module)
    code, said, errors = run(".")
    assert (code, said.split(" in ")[0]) == (1, "1 enlarged")
    assert errors.startswith("failed: b.mkv: videos need PyAV: pip install av (")


@posix
def test_names_that_are_not_utf8_are_enlarged(run: Run, tmp_path: Path):
    if sys.platform == "darwin":
        pytest.skip("left out: macOS has no such names")
    folder = tmp_path / os.fsdecode(b"f\xff")
    for suffix in (".png", ".jpg", ".bmp", ".tif", ".webp"):
        Image.fromarray(noise(5, 4, 3)).save(tmp_path / f"a{suffix}")
        folder.mkdir(exist_ok=True)
        (tmp_path / f"a{suffix}").rename(folder / os.fsdecode(b"a\xfe" + suffix.encode()))
    make_clip(tmp_path / "a.mkv").rename(folder / os.fsdecode(b"a\xfd.mkv"))
    code, said, errors = run(".")
    assert (code, said.split(" in ")[0]) == (0, "6 enlarged"), errors
    assert len(list(folder.glob("*_x2.*"))) == 6


@posix
def test_a_folder_that_cannot_be_read_is_named(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its path is too long; a folder without permission would be read by root."""
    save(tmp_path / "a.png", noise(5, 4, 3))
    for _ in range(17):
        Path("d" * 250).mkdir()
        monkeypatch.chdir("d" * 250)
    monkeypatch.chdir(tmp_path)
    code, said, errors = run(".")
    assert (code, said.split(" in ")[0]) == (1, "1 enlarged")
    assert "ddd: cannot be read (File name too long)" in errors


# The command line, in a folder with a.png, a.gif, sub/a.png; how it ends, and what the one-line message must name.
REFUSED = [
    ([""], "INPUT: got '', expected a path; . is the folder"),
    (["a.png", "--output", ""], "--output: got '', expected a path"),
    (["a.png", "--output=~nobody-here/X"], "--output: got '~nobody-here/X', and there is no such user"),
    (["a.png", "--output", "res.xyz"], "output: res.xyz has no known format"),
    (["a.png", "--output", "notes.txt/x"], "output: notes.txt is a file, expected a folder"),
    (["a.png", "--suffix", "/../../evil"], "suffix: got '/../../evil', expected a part of a name"),
    (["a.png", "--suffix", ".."], "suffix: got '..', expected"),
    (["a.png", "--suffix", "a\nb"], "suffix: got 'a\\nb', expected"),
    (["a.png", "--suffix", "a\0b"], "suffix: got 'a\\x00b', expected"),
    (["a.png", "--output", "sub/..", "--suffix", "", "--overwrite"], "a.png: would be replaced by its own result"),
    (["a.png", "--output", "link", "--suffix", "", "--overwrite"], "a.png: would be replaced by its own result"),
    (["a.png", "sub/a.png", "--output", "out"], "a.png and sub/a.png: would both become out/a_x2.png"),
    (["a.gif", "--suffix", "_x2/"], "suffix: got '_x2/'"),
    (["**.png"], "**.png: cannot be searched"),
    (["a.png", "--output", "b.png", "--format", "jpg"], "format: got jpg, and output is b.png; leave one"),
]


@posix
@pytest.mark.parametrize(("arguments", "named"), REFUSED, ids=[" ".join(each[0]) for each in REFUSED])
def test_what_would_do_harm_is_refused_in_one_line(run: Run, tmp_path: Path, arguments: list[str], named: str):
    save(Path("a.png"), noise(5, 4, 3))
    save(Path("sub/a.png"), noise(5, 4, 3))
    Image.fromarray(noise(5, 4, 3)).save("a.gif")
    Path("notes.txt").touch()
    Path("link").symlink_to(".")
    before = {name: (tmp_path / name).read_bytes() for name in tree(tmp_path) if name != "link"}
    code, _, errors = run(*arguments)
    assert (code, errors.count("\n")) == (2, 1)
    assert named in errors
    assert {name: (tmp_path / name).read_bytes() for name in tree(tmp_path) if name != "link"} == before


@posix
def test_no_result_replaces_another_source(run: Run, tmp_path: Path):
    save(tmp_path / "a.png", noise(5, 4, 3))
    Image.fromarray(noise(5, 4, 3)).save(tmp_path / "a.gif")
    Path("b.png").hardlink_to("a.png")
    Path("b_x2.png").symlink_to("a.png")
    before = (tmp_path / "a.png").read_bytes()
    code, _, errors = run("a.gif", "b.png", "a.png", "--suffix", "", "--output", "new/..", "--overwrite")
    assert code == 2
    assert "failed: a.gif: would become new/../a.png, as a.png does" in errors
    assert "failed: b.png: its result would replace a.png" in errors
    code, _, errors = run("b.png", "--overwrite")
    assert (code, "would be replaced" in errors) == (2, True)
    assert (tmp_path / "a.png").read_bytes() == before
    assert Path("b_x2.png").is_symlink()


@posix
def test_home_is_meant_by_a_tilde(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder().parent))  # what is compiled stays where it was
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    save(tmp_path / "home" / "a.png", noise(5, 4, 3))
    assert run("~/*.png", "--output=~/large")[0] == 0
    assert tree(tmp_path) == ["home/a.png", "home/large/a_x2.png"]


# --- what is left out, and said ---


def test_hidden_files_are_left_out_unless_they_are_named(run: Run, tmp_path: Path):
    for name in ("a.png", ".b.png", "._a.png", ".git/c.png", "sub/.thumbs/d.png", "sub/e.png"):
        save(tmp_path / "in" / name, noise(5, 4, 3))
    assert run("in", "--output", "1")[0] == run("in/**/*.png", "--output", "2")[0] == 0
    assert tree(tmp_path / "1") == tree(tmp_path / "2") == ["a_x2.png", "sub/e_x2.png"]
    assert run("in/.b.png", "in/.git", "in/sub/.thumb*/*", "--output", "3")[0] == 0
    assert tree(tmp_path / "3") == [".b_x2.png", ".thumbs/d_x2.png", "c_x2.png"]


def test_what_is_not_read_is_counted(run: Run, tmp_path: Path):
    save(tmp_path / "a.png", noise(5, 4, 3))
    for name in ("1.heic", "2.HEIC", "3.nef", "notes.txt", "data.json"):
        (tmp_path / name).touch()
    code, said, _ = run(".", tmp_path, "*.heic")
    assert code == 1  # for the pattern, which leads to nothing else
    assert re.fullmatch(r"1 enlarged in \d+\.\d s, as a_x2\.png; not read: 2 \.heic, 1 \.nef\n", said)
    (tmp_path / "raw").mkdir()
    (tmp_path / "3.nef").rename(tmp_path / "raw/3.nef")
    code, _, errors = run("raw")
    assert (code, errors.endswith("; not read: 1 .nef\n")) == (2, True)


def test_the_last_line_says_how_many_how_long_and_where(run: Run, tmp_path: Path):
    save(tmp_path / "in/a.png", noise(5, 4, 3))
    save(tmp_path / "in/b.png", noise(5, 4, 3))
    assert re.fullmatch(r"2 enlarged in \d+\.\d s, beside their sources\n", run("in")[1])
    assert run("in")[1] == "0 enlarged; 2 were there already (--overwrite does them again)\n"
    left = "results of earlier runs, left as they are: 2"
    assert re.fullmatch(rf"2 enlarged in \d+\.\d s, beside their sources; {left}\n", run("in", "--suffix", "_b")[1])
    assert re.fullmatch(r"2 enlarged in \d+\.\d s, in out; results .*: 4\n", run("in", "--output", "out")[1])


# --- results are known again ---


def test_other_suffixes_do_not_enlarge_results(run: Run, tmp_path: Path):
    save(tmp_path / "p.png", noise(5, 4, 3))
    save(tmp_path / "q.jpg", noise(5, 4, 3))
    made = [run(".", "--suffix", suffix)[1].split(" ")[0] for suffix in ("_a", "_b", "_a", "2")]
    assert made == ["2", "2", "0", "2"]
    assert len(tree(tmp_path)) == 8
    # A result is enlarged if it is named without other files, as a shell's *.png has them.
    assert run("p.png", "p_a.png")[1].startswith("1 enlarged ")
    assert run("p.png", "p_a.png")[1].endswith("; results of earlier runs, left as they are: 1\n")
    assert run("p_a.png")[0] == 0
    assert load(tmp_path / "p_a_x2.png").shape == (20, 16, 3)
    assert fsrcnn.enlarge_file("p_b.png", "large.png", variant="fsrcnn_s") == ()
    # Results of versions that made no mark, by their names.
    (tmp_path / "old").mkdir()
    for name in ("r.gif", "r_x3.png"):
        Image.fromarray(noise(5, 4, 3)).save(tmp_path / "old" / name)
    assert run("old")[1].endswith("; results of earlier runs, left as they are: 1\n")


def test_an_output_inside_the_input_is_left_out_of_the_search(run: Run, tmp_path: Path):
    save(tmp_path / "in/a.png", noise(5, 4, 3))
    save(tmp_path / "in/large/b.png", noise(5, 4, 3))  # not marked
    for pattern in ("in", "in/**/*.png"):
        assert run(pattern, "--output", "in/large")[0] == 0
        assert tree(tmp_path) == ["in/a.png", "in/large/a_x2.png", "in/large/b.png"]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".tif", ".webp", ".bmp"])
def test_the_mark_of_a_picture(tmp_path: Path, suffix: str):
    """It is found again, and other programs read the file as before, without warnings."""
    picture = Image.fromarray(noise(40, 31, 3))
    settings = {".jpg": {"exif": Image.Exif(), "comment": b"mine"}, ".webp": {"icc_profile": b"x" * 3_000_000}}
    path = tmp_path / f"a{suffix}"
    picture.save(path, **settings.get(suffix, {}))
    before = load(path) if suffix != ".bmp" else None
    assert not is_stamped(path)
    stamp(path, 3)
    assert is_stamped(path)
    if before is not None:
        np.testing.assert_array_equal(load(path), before)
    with Image.open(path) as marked:
        marked.load()
        assert marked.info.get("icc_profile", b"x" * 3_000_000) == b"x" * 3_000_000
        if suffix == ".jpg":
            assert {b"Enlarged 3x by FSRCNN", b"mine"} == {text for name, text in marked.applist if name == "COM"}
        if suffix == ".png":
            assert marked.info["FSRCNN"] == "Enlarged 3x by FSRCNN"
    content = path.read_bytes()
    for kind, at, without in ((".webp", 4, 8), (".bmp", 2, 0)):  # where the header has the size of the file
        assert suffix != kind or int.from_bytes(content[at : at + 4], "little") == len(content) - without
    for cut in (0, 2, 9):
        path.write_bytes(content[:cut])
        assert not is_stamped(path)


CODECS = {".webm": "libvpx-vp9", ".ogv": "libvpx", ".wmv": "wmv2", ".mpg": "mpeg2video", ".mpeg": "mpeg2video"}


@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES))
def test_the_mark_of_a_video(tmp_path: Path, suffix: str):
    import av

    def facts(path: Path) -> tuple[object, ...]:
        with av.open(str(path)) as video:
            frames = [(frame.pts, frame.to_ndarray().sum()) for frame in video.decode(video=0)]
            return video.duration, dict(video.metadata), len(video.streams), frames

    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w") as output:
        stream = output.add_stream(CODECS.get(suffix, "libx264"), rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(5):
            frame = av.VideoFrame.from_ndarray(np.roll(noise(72, 64), index, 0), "yuv420p")
            frame.pts = index
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    before = facts(path)
    assert not is_stamped(path)
    stamp(path, 2)
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture() as said:
            assert facts(path) == before
    finally:
        av.logging.set_level(None)
    assert said == []
    assert is_stamped(path)


# --- unfinished files ---


@posix
def test_leftovers_of_killed_processes_are_removed(tmp_path: Path):
    save(tmp_path / "a.png", np.zeros((1500, 1500, 3), dtype=np.uint8))
    with subprocess.Popen([*COMMAND, tmp_path], stderr=subprocess.DEVNULL) as process:
        try:
            while not (left := list(tmp_path.glob(".a_x2.*"))):
                assert process.poll() is None
                time.sleep(0.01)
        finally:
            process.kill()
    (left,) = left
    others = [left.name.replace(f"-{process.pid}-", f"-{os.getpid()}-"), ".a.0123abcd-1-0123456789abcdef.png", ".a.png"]
    for name in others:
        (tmp_path / name).touch()
    assert left.exists()
    with written_whole(tmp_path / "b.txt") as unfinished:
        unfinished.write_text("b", encoding="utf-8")
    assert tree(tmp_path) == sorted([*others, "a.png", "b.txt"])


@posix
def test_unfinished_files_are_new_ones_with_short_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mine = tmp_path / "mine.txt"
    mine.write_text("mine", encoding="utf-8")
    for name in ("é" * 125 + ".txt", "a." + "b" * 250, "\n"):
        with written_whole(tmp_path / name) as unfinished:
            assert len(os.fsencode(unfinished.name)) <= 143  # what eCryptfs takes
            assert unfinished.stat().st_size == 0
    monkeypatch.setattr("secrets.token_hex", lambda _: "0123456789abcdef")
    with written_whole(tmp_path / "a.txt") as unfinished:
        pass
    unfinished.symlink_to(mine)
    with pytest.raises(FileExistsError), written_whole(tmp_path / "a.txt"):
        raise AssertionError
    assert mine.read_text(encoding="utf-8") == "mine"


# --- signals ---


def heard() -> None:
    """For a child process: signals that this one was started to ignore are heard."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_an_interruption_while_importing_is_quiet(tmp_path: Path, number: signal.Signals):
    command = [sys.executable, "-X", "importtime", *COMMAND[1:], tmp_path]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heard) as process:
        try:
            for line in process.stderr:
                if line.endswith("numpy.version\n"):
                    process.send_signal(number)
                    break
            rest = [line for line in process.stderr if not line.startswith("import time:")]
        finally:
            process.kill()
    assert process.returncode == 128 + number
    assert rest == ["interrupted\n"]


@posix
def test_after_an_interruption_the_same_command_goes_on(tmp_path: Path):
    for index in range(60):
        save(tmp_path / f"{index:02}.png", np.zeros((500, 500, 3), dtype=np.uint8))
    with subprocess.Popen([*COMMAND, tmp_path], stderr=subprocess.PIPE, text=True, preexec_fn=heard) as process:
        try:
            while len(list(tmp_path.glob("*_x2.png"))) < 2:
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            errors = process.stderr.read()
        finally:
            process.kill()
    assert process.returncode == 130
    (said,) = errors.splitlines()
    done = int(re.fullmatch(r"interrupted: (\d+) of 60 done; the same command goes on", said)[1])
    there = len(list(tmp_path.glob("*_x2.png")))
    assert 2 <= done == there < 60
    assert not list(tmp_path.glob(".*"))


@posix
def test_ctrl_c_that_is_ignored_stays_ignored(tmp_path: Path):
    """As a shell's & and nohup have it."""
    save(tmp_path / "a.png", np.zeros((1500, 1500, 3), dtype=np.uint8))
    ignored = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    with subprocess.Popen([*COMMAND, tmp_path], stderr=subprocess.PIPE, preexec_fn=ignored) as process:
        try:
            while not list(tmp_path.glob(".a_x2.*")):
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert load(tmp_path / "a_x2.png").shape == (3000, 3000, 3)


def test_a_trial_does_not_stand_in_for_the_whole_film(run: Run, tmp_path: Path):
    make_clip(tmp_path / "film.mkv")
    save(tmp_path / "photo.png", noise(8, 8, 3))
    assert run("film.mkv", "photo.png", "--duration", "0.2")[0] == 0
    assert run("film.mkv", "photo.png")[1].startswith("1 enlarged")
    assert run("film.mkv", "--start", "0.2", "--suffix", "_large")[0] == 0
    assert tree(tmp_path) == [
        *("film.mkv", "film_large_trial.mkv", "film_x2.mkv", "film_x2_trial.mkv"),
        *("photo.png", "photo_x2.png"),
    ]
    assert "start: got -1.0, expected seconds, zero or more" in run("film.mkv", "--start", "-1")[2]

"""The benchmarks run, write the numbers of the documents' tables, and refuse to time ways that disagree."""

import json
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from made import needed

from benchmarks import (
    ablation,
    browser,
    ensemble,
    files,
    large_sets,
    network,
    node,
    peers,
    programs,
    report,
    restore,
    training,
)
from dataset import read_image
from fsrcnn.errors import FailureError
from training import threads as training_threads

SMALL = network.Case("fsrcnn_s", 3, 120, 120)


def capability_and_part(ways: list[str], conditions: peers.Conditions) -> tuple[str, dict[str, Any]]:
    """The instructions that PyTorch has chosen in this process, and what is measured in it."""
    return torch.backends.cpu.get_cpu_capability(), network.measured([SMALL], ways, conditions)


@pytest.fixture
def result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that the benchmarks write; they take no flags here, and as little time as possible."""
    path = tmp_path / "result.json"
    settings: dict[ModuleType, dict[str, object]] = {
        network: {"CASES": [SMALL], "FEWER": [], "LARGEST": SMALL, "ROUNDS": 3, "SHORTEST": 0},
        node: {"CASES": [SMALL], "ROUNDS": 1, "SHORTEST": 1},
        browser: {
            "CASES": [SMALL],
            "ROUNDS": 1,
            "SHORTEST": 1,
            "FILM_SECONDS": 1,
            "SCREENSHOTS": {tmp_path / "page.png": (640, 400)},
        },
        programs: {"PICTURES": ("chelsea",), "VARIANTS": ("fsrcnn_s",), "SCALES": (4,), "WIDTH": 20, "ROUNDS": 1},
        training: {"STEPS": 2, "ROUNDS": 1},
        files: {
            **{"ROUNDS": 1, "PICTURES": 2, "PICTURE_SIZE": (64, 48), "FRAMES": 5, "FRAME_SIZE": (64, 36)},
            "LARGE_SIDE": 64,
        },
        restore: {"QUALITIES": (40, restore.CLEAN)},
        ensemble: {
            **{"VARIANTS": ("fsrcnn_s",), "SCALES": (2,), "SETS": ("Train",), "WIDTH": 80, "HEIGHT": 40, "FRAMES": 2},
            **{"ROUNDS": 1, "FILM_ROUNDS": 1},
        },
        ablation: {"SIZES": {"d": (48,), "s": (12,), "m": (2, 3)}},
    }
    for module, values in settings.items():
        for name, value in (values | {"RESULT": path}).items():
            monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(sys, "argv", ["benchmarks"])
    threads = torch.get_num_threads()
    monkeypatch.setattr(training_threads, "_taken", None)
    yield path
    torch.set_num_threads(threads)


def test_network_beside_other_ways_to_run_it(result: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    names = (peers.OURS, peers.PLAIN)
    monkeypatch.setattr(peers, "WAYS", {name: peers.WAYS[name] for name in names})
    monkeypatch.setattr(network, "LOSS_SET", str(data_dir / "Train"))
    network.main()
    said = json.loads(result.read_text(encoding="utf-8"))
    weights = 32 * 25 + 32 * 5 + 5 * 5 * 9 + 5 * 32 + 32 * 81
    assert said["cases"][str(SMALL)]["multiply_adds"] == weights * 40 * 40
    assert said["multiply_adds_per_second"]["vector units"] > 1e9
    head, _, row = report.speed_table(said).splitlines()
    assert head.count("|") == row.count("|")
    assert row.startswith(f"| {SMALL} | **")
    assert row.count("x)") == 1
    assert row.count("| not measured") == 3
    assert [*said["peak_memory_bytes"][str(SMALL)]] == ([*names] if sys.platform == "linux" else [])


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="left out: AVX2 is of x86-64")
def test_network_without_avx512_in_a_process_of_its_own():
    conditions, ways = peers.Conditions(1, avx2=True), [peers.OURS, peers.PLAIN]
    capability, said = network.in_process(capability_and_part, ways, conditions=conditions)
    assert (capability, said["threads"], said["avx2"]) == ("AVX2", 1, True)
    times = said["cases"][str(SMALL)]["milliseconds"]
    assert {name: len(rounds) for name, rounds in times.items()} == dict.fromkeys(ways, network.ROUNDS)


def test_network_loses_little_in_integers(data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(network, "LOSS_SET", str(data_dir / "Train"))
    ways = {name: peers.WAYS[name] for name in (peers.OURS, peers.INTEGERS, peers.PLAIN)}
    assert network.losses(SMALL.of, ways, peers.Conditions(1)) == {peers.INTEGERS: pytest.approx(0, abs=0.01)}


def test_browser_beside_onnxruntime_web(result: Path):
    needed(bool(shutil.which("chromium")), "chromium")
    for path, command in browser.NEEDED.items():
        needed(path.exists(), f"{path} ({command})")
    browser.main()
    said = json.loads(result.read_text(encoding="utf-8"))
    assert (result.parent / "page.png").stat().st_size > 10_000
    assert all(film["frames_per_second"] > 0 for film in said["films"].values())
    head, _, *rows = report.browser_table(said).splitlines()
    assert all(row.startswith(f"| {SMALL} | ") and row.count("|") == head.count("|") for row in rows)
    assert len(report.film_table(said).splitlines()) == 4


def test_node_beside_onnxruntime_web(result: Path):
    needed(bool(node.PEER.is_file() and shutil.which("node") and shutil.which("wasm-ld")), "wasm-ld or Node's packages")
    node.main()
    said = json.loads(result.read_text(encoding="utf-8"))
    assert {"SIMD", "onnxruntime-web"} <= said["milliseconds"][str(SMALL)].keys()


def test_network_that_disagrees_is_not_timed(result: Path, monkeypatch: pytest.MonkeyPatch):
    wrong = peers.Way(peers.plain, lambda network, _: lambda x: peers.torch_runner(network.model)(x) + 2e-5)
    monkeypatch.setattr(peers, "WAYS", {peers.PLAIN: peers.WAYS[peers.PLAIN], "wrong": wrong})
    with pytest.raises(FailureError, match=r"wrong is 2\.0e-05 from"):
        network.main()
    assert not result.exists()


@pytest.mark.parametrize(
    ("module", "table", "rows"),
    [
        (training, report.training_speed_table, ["x2", "x3", "x4"]),
        (
            files,
            report.files_table,
            [
                *("the network alone, 64 x 48", "the network alone, 64 x 48, integers"),
                *("PNG, 64 x 48", "JPEG, 64 x 48"),
                *("PNG, 64 x 48, `--restore 0`", "PNG, 64 x 48, `--restore 0`, float32"),
                *("H.264, 64 x 36", "H.264, 64 x 36, `--restore 0`", "H.264, 64 x 36, `--restore 0`, float32"),
                "H.264, 64 x 36, bicubic in place of the network",
                *("one PNG, 64 x 64", "one PNG, 16 x 16"),
            ],
        ),
    ],
)
def test_training_and_files(result: Path, module: ModuleType, table: Callable[[dict], str], rows: list[str]):
    module.main()
    written = table(json.loads(result.read_text(encoding="utf-8"))).splitlines()[2:]
    assert [line.split(" | ")[0].strip("| ") for line in written] == rows


def test_ablation_goes_on_where_it_was(
    result: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    flags = ["--data-dir", data_dir, "--train-sets", "Train", "--steps", 2, "--results-dir", result.parent]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *map(str, flags)])
    monkeypatch.setattr(ablation, "TEST_SET", "BSDS200")
    (result.parent / "ablation_d48_s12_m3").mkdir()
    (result.parent / "ablation_d48_s12_m3" / "last.pth").write_bytes(b"not a saved run")
    with pytest.raises(FailureError, match="ablation_d48_s12_m3 ended with exit code 2"):
        ablation.main()
    (result.parent / "ablation_d48_s12_m3" / "last.pth").unlink()
    capfd.readouterr()
    ablation.main()
    assert capfd.readouterr().out.count("step 0 of 2") == 1  # the first network was there already
    cells = json.loads(result.read_text(encoding="utf-8"))["networks"]
    assert [(cell["m"], cell["weights"]) for cell in cells] == [(2, 8832), (3, 10128)]  # as the paper has them
    assert all(20 < cell["BSDS200"] == pytest.approx(cell["validation"], abs=1e-3) for cell in cells)
    assert "| 48, 12, 3 | 10,128 |" in report.ablation_table(json.loads(result.read_text(encoding="utf-8")))


def test_programs_with_numbers_of_16_bits(result: Path):
    needed(programs.PYTHON.is_file(), "the programs' environment (`make extra`)")
    needed(any(Path("/usr/share/vulkan/icd.d").glob("lvp_icd.*")), "Mesa's llvmpipe (package mesa-vulkan-drivers)")
    programs.main()
    said = json.loads(result.read_text(encoding="utf-8"))
    exact, *reduced = said["psnr"]["fsrcnn_s_x4"].values()
    assert all(exact > 25 and abs(exact - each) < 0.2 for each in reduced)
    assert report.programs_table(said).count("\n") == 2
    assert [*said["milliseconds"]] == [programs.PEER, "fsrcnn_s_x2"]
    assert report.programs_speed_table(said).splitlines()[2].endswith(" ms | 1 |")


def test_the_mean_of_eight_beside_those_of_fewer(
    result: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--data-dir", str(data_dir)])
    monkeypatch.setattr(ensemble, "keep_freed_memory", lambda: None)  # for the rest of this process
    ensemble.main()
    said = json.loads(result.read_text(encoding="utf-8"))
    for scores in said["psnr"]["fsrcnn_s x2"].values():
        one, _, turns, mirrored, eight = scores.values()
        assert one < min(turns, mirrored) < max(turns, mirrored) < eight
    assert report.ensemble_table(said) in (shown := capsys.readouterr().out)
    plane, film = report.ensemble_speed_table(said).splitlines()[2:]
    assert plane in shown
    assert film.startswith("| fsrcnn_s x2, H.264, 640 x 360 | ")


def test_restore_goes_on_where_it_was(
    result: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    flags = ["--data-dir", data_dir, "--sets", "Train", "--upscale-factor", 2]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *map(str, flags)])
    restore.main()
    assert "3 entries, 3 of them new" in capsys.readouterr().out
    compressed, clean, small = json.loads(result.read_text(encoding="utf-8"))["entries"]
    assert (compressed["quality"], clean["quality"], small["variant"]) == (40, None, "fsrcnn_s")
    assert (compressed["pictures"], compressed["restored"], compressed["strength"]) == (3, 3, pytest.approx(0.9))
    for what in ("luma", "rgb"):
        assert compressed["restore auto"][what] > max(compressed[each][what] for each in ("bicubic", "restore 0"))
    assert clean["restored"] == clean["least over restore 0"] == 0
    assert clean["restore auto"] == clean["restore 0"] != clean["bicubic"]
    restore.main()
    assert "3 entries, 0 of them new" in capsys.readouterr().out
    assert report.restored_cell(compressed).count("**") == 2


@pytest.mark.skipif(sys.platform != "linux", reason="left out: measures Linux's kinds of memory")
def test_large_sets_are_made_and_measured(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(large_sets, "STEPS", 2)
    made = large_sets.Made("made", 3, 100, 130, "none")
    large_sets.make_set(made, tmp_path / made.name, sorted((data_dir / "Train").iterdir()))
    pictures = [read_image(path) for path in sorted((tmp_path / made.name).iterdir())]
    assert [picture.shape for picture in pictures] == 3 * [(100, 130, 3)]
    assert len({picture.tobytes() for picture in pictures}) == 3
    flags = ["--train-sets", str(tmp_path / made.name), "--data-dir", str(data_dir), "--reductions", "none"]
    run = large_sets.measured("run", tmp_path, [*flags, "--cache-dir", str(tmp_path / "cache"), "--batch-size", "2"])
    assert run["seconds_to_first_step"] > 0.5
    assert 1e8 < run["RssAnon"] < 2e9
    assert run["RssFile"] > 1e7
    row = {"bytes": 2e9, "first": run, "again": run, "limited": run}
    said = {"sets": {"T91": {**row, "limited": None}, "made": row}, "limit": 1.5e9}
    head, _, *rows = report.large_sets_table(said).splitlines()
    assert all(row.count("|") == head.count("|") for row in rows)
    assert [row.split(" | ")[0] for row in rows] == ["| T91", "| made", "| the same, in 1.5 GB of memory"]
    large_sets.forget(tmp_path / "cache")

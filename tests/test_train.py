"""Training: repeatable, resumable to the bit, and better than bicubic interpolation."""

import csv
import dataclasses
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import skimage.data
import torch
from made import network, posix, small_files, started
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train
from config import RECIPES, Config, read_config
from dataset import VALIDATION_QUALITIES, evaluation_pair, validation_pairs
from evaluation.scores import upscale_luma
from fsrcnn.devices import join_processes
from fsrcnn.errors import FailureError, RequestError
from fsrcnn.network import load_network
from fsrcnn.weights import INTEGER_RANGES, load_weights, read_pth, shipped_weights
from imgproc import to_uint8
from training.lock import locked
from training.log import Log, LossMeter, crops
from training.patches import TrainingPatches
from training.restart import note_start
from training.run import NotFiniteError, load_run, save_run, start_run
from training.seeds import print_spread, spread
from training.step import loss_to_train, train_step

ROOT = Path(__file__).parent.parent
X3 = ["--upscale-factor", "3"]


def config_of(data_dir: Path, results_dir: Path, **settings: object) -> Config:
    """A small run on the CPU."""
    small = {"upscale_factor": (3,), "train_sets": ("Train",), "batch_size": 8, "device": "cpu", "exp_name": "run"}
    return Config(data_dir=data_dir, results_dir=results_dir, **(small | settings))


def weights_of(results_dir: Path) -> dict[str, torch.Tensor]:
    """The network's tensors in last.pth."""
    saved = torch.load(results_dir / "run" / "last.pth", weights_only=True)
    return {f"{part}.{name}": value for part in ("model", "average") for name, value in saved[part].items()}


def log_of(results_dir: Path, field: str) -> list[str]:
    with (results_dir / "run" / "log.csv").open(newline="", encoding="utf-8") as file:
        return [row[field] for row in csv.DictReader(file)]


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_same_seed_same_weights(data_dir: Path, tmp_path: Path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train.train(config_of(data_dir, tmp_path / name, steps=4, seed=seed))
    assert equal(weights_of(tmp_path / "a"), weights_of(tmp_path / "b"))
    assert not equal(weights_of(tmp_path / "a"), weights_of(tmp_path / "c"))


def test_seeds_are_what_is_asked_for():
    for given, seeds in (("3", (7, 8, 9)), ("1 5 9", (1, 5, 9)), ("1,5,9", (1, 5, 9)), ("0 1", (0, 1))):
        config = read_config("train", "", ["--seed", "7", "--seeds", *given.split()])
        runs = train.runs_to_do(dataclasses.replace(config, upscale_factor=(2, 3)))
        assert [(run.upscale_factor, run.seed, run.exp_name) for run in runs] == [
            ((scale,), seed, f"fsrcnn_x{scale}_seed{seed}") for scale in (2, 3) for seed in seeds
        ]
    assert [run.exp_name for run in train.runs_to_do(read_config("train", "", ["--exp-name", "a", *X3]))] == ["a"]


def test_a_spread_of_infinite_scores_is_told(capsys: pytest.CaptureFixture[str]):
    spreads = spread({seed: {"flat": {"psnr": psnr, "ssim": 1.0}} for seed, psnr in enumerate((math.inf, 50.0))})
    assert (spreads["flat"]["psnr"]["mean"], spreads["flat"]["psnr"]["standard_deviation"]) == (math.inf, None)
    print_spread("run", spreads)
    assert capsys.readouterr().out.splitlines()[-1].split() == ["standard", "deviation", "nan", "/", "0.0000"]


def test_several_seeds_are_trained_once_and_scored(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    flags = "--variant fsrcnn_s --train-sets Train --steps 3 --batch-size 1 --patch-size 8 --device cpu".split()
    flags += [*X3, "--test-sets", "Samples", "--data-dir", str(data_dir), "--results-dir", str(tmp_path)]

    def run(*more: str) -> int:
        monkeypatch.setattr(sys, "argv", ["train.py", *flags, *more])
        return train.main()

    assert run("--seeds", "2") == 0
    finished = [tmp_path / f"fsrcnn_s_x3_seed{seed}" / "last.pth" for seed in (0, 1)]
    times = [path.stat().st_mtime_ns for path in finished]
    with pytest.raises(RequestError, match="fsrcnn_s_x3_seed0 holds a run: --resume goes on with it"):
        run("--seeds", "3")
    assert run("--seeds", "3", "--resume") == 0
    assert [path.stat().st_mtime_ns for path in finished] == times
    said = json.loads((tmp_path / "fsrcnn_s_x3_seeds.json").read_text(encoding="utf-8"))
    assert said["recipe"]["steps"] == 3
    assert "seed" not in said["recipe"]
    for seed in "012":
        best = json.loads((tmp_path / f"fsrcnn_s_x3_seed{seed}" / "best.json").read_text(encoding="utf-8"))
        assert best["recipe"]["seed"] == int(seed)
        for metric in ("psnr", "ssim"):
            assert said["scores"]["validation"][metric]["seeds"][seed] == best["validation"][metric]
            assert said["scores"]["Samples"][metric]["seeds"][seed] == pytest.approx(best["samples"][metric])
    psnr = said["scores"]["Samples"]["psnr"]
    each = [psnr["seeds"][seed] for seed in "012"]
    assert len(set(each)) == 3
    assert psnr["mean"] == pytest.approx(sum(each) / 3)
    assert psnr["standard_deviation"] == pytest.approx((sum((value - sum(each) / 3) ** 2 for value in each) / 2) ** 0.5)
    shown = capsys.readouterr().out.splitlines()
    assert shown[-2].split()[:2] == ["standard", "deviation"]
    assert shown[-3].split()[-3] == f"{psnr['mean']:.3f}"


@posix
def test_a_signal_at_a_seeds_end_starts_no_other(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    flags = "--variant fsrcnn_s --train-sets Train --steps 1 --batch-size 1 --patch-size 8 --device cpu --seeds 2"
    flags += f" --upscale-factor 3 --test-sets Samples --data-dir {data_dir} --results-dir {tmp_path}"
    monkeypatch.setattr(sys, "argv", ["train.py", *flags.split()])
    best, other = (tmp_path / f"fsrcnn_s_x3_seed{seed}" / "best.safetensors" for seed in (0, 1))
    interrupts = Thread(target=lambda: (wait_for(best), os.kill(os.getpid(), signal.SIGINT)))
    interrupts.start()
    try:
        with suppress(KeyboardInterrupt):  # a signal that finds the last step done interrupts what follows
            assert train.main() == 128 + signal.SIGINT
    finally:
        interrupts.join()
    assert not other.parent.exists()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--resume"])
    assert train.main() == 0
    assert all(INTEGER_RANGES in load_weights(path).additions for path in (best, other))


def wait_for(path: Path) -> None:
    until = time.monotonic() + 60
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.001)


def test_200_steps_beat_bicubic_on_pictures_never_seen(data_dir: Path, tmp_path: Path):
    config = config_of(data_dir, tmp_path, steps=200, validate_every=100)
    train.train(config)
    pairs = validation_pairs(data_dir, 3)
    bicubic = np.mean([pair.score(pair.bicubic())["psnr"] for pair in pairs])
    network = load_network(tmp_path / "run" / "best.safetensors", 3, "cpu")
    psnr = np.mean([pair.score(upscale_luma(network, pair.lr))["psnr"] for pair in pairs])
    assert psnr > bicubic + 0.3
    said = json.loads((tmp_path / "run" / "best.json").read_text(encoding="utf-8"))
    assert said["validation"]["psnr"] == pytest.approx(psnr, abs=1e-3)
    assert said["recipe"]["steps"] == 200
    assert log_of(tmp_path, "step") == ["100", "200"]
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))


def test_a_restoring_training_goes_on_to_the_same_weights_and_is_worth_it(data_dir: Path, tmp_path: Path):
    shipped = shipped_weights("fsrcnn_s", 2)
    settings = {"variant": "fsrcnn_s", "upscale_factor": (2,), "transfer_from": shipped, "validate_every": 60}
    settings = {**RECIPES["restore"], **settings, "train_sets": ("Train",), "steps": 60, "warmup_steps": 0}
    whole, halves = (config_of(data_dir, tmp_path / name, **settings) for name in ("whole", "halves"))
    train.train(whole)
    patches = TrainingPatches(train.training_pictures(halves), halves.patch_size, halves.seed)
    begun = start_run(halves, torch.device("cpu"))
    batch_loss = loss_to_train(begun, halves)
    for _ in range(23):
        train_step(begun, halves, batch_loss, patches)
    (tmp_path / "halves" / "run").mkdir(parents=True)
    save_run(begun, halves, tmp_path / "halves" / "run")
    train.train(halves)
    assert equal(weights_of(tmp_path / "whole"), weights_of(tmp_path / "halves"))
    pairs = train.judged_on(validation_pairs(data_dir, 2), whole)
    assert len(pairs) == 20 * len(VALIDATION_QUALITIES)
    network = load_network(shipped, 2, "cpu")
    before = np.mean([pair.score(upscale_luma(network, pair.lr))["psnr"] for pair in pairs])
    assert float(log_of(tmp_path / "whole", "psnr")[-1]) > before + 0.1


def test_paper_recipe_lowers_the_loss(data_dir: Path, tmp_path: Path):
    settings = {**RECIPES["paper"], "train_sets": ("Train",), "steps": 200, "validate_every": 50}
    config = config_of(data_dir, tmp_path, **settings)
    train.train(config)
    losses = [float(loss) for loss in log_of(tmp_path, "loss")]
    assert losses[-1] < losses[0] / 2


def test_transfer_takes_the_convolutions_and_trains_the_deconvolution(data_dir: Path, tmp_path: Path):
    train.train(config_of(data_dir, tmp_path, steps=60))
    x3 = tmp_path / "run" / "best.safetensors"
    settings = {"upscale_factor": (2,), "transfer_from": x3, "steps": 60}
    train.train(config_of(data_dir, tmp_path, exp_name="x2", deconv_only_steps=60, **settings))
    train.train(config_of(data_dir, tmp_path, exp_name="x2_all", deconv_only_steps=30, **settings))
    before, frozen, tuned = (load_weights(tmp_path / name / "best.safetensors") for name in ("run", "x2", "x2_all"))
    for name, one in before.parameters.items():
        if not name.startswith("deconv."):
            # The average of equal values, but for rounding.
            np.testing.assert_allclose(frozen.parameters[name], one, atol=1e-6, rtol=0)
            assert not np.allclose(tuned.parameters[name], one, atol=1e-6)
    with pytest.raises(RequestError, match=r"not {'upscale_factor': 2, 'd': 32"):
        train.train(config_of(data_dir, tmp_path, exp_name="s", variant="fsrcnn_s", **settings))


def test_a_run_from_before_a_setting_existed_goes_on_by_its_default(data_dir: Path, tmp_path: Path):
    config, last = config_of(data_dir, tmp_path, steps=20), tmp_path / "run" / "last.pth"
    train.train(config)
    saved = read_pth(last)
    del saved["config"]["sampling"]
    torch.save(saved, last)
    assert load_run(config, torch.device("cpu"), last.parent).step == 20
    with pytest.raises(RequestError, match=r"sampling: the run in .* was started with uniform"):
        load_run(dataclasses.replace(config, sampling="psnr"), torch.device("cpu"), last.parent)


def test_a_loss_that_is_not_finite_ends_the_run(data_dir: Path, tmp_path: Path):
    with pytest.raises(FailureError, match=r"not finite at step \d+; nothing had been saved yet; .*learning_rate"):
        train.train(config_of(data_dir, tmp_path, steps=100, learning_rate=1e30))
    assert not (tmp_path / "run" / "best.safetensors").exists()


def test_the_first_loss_that_is_not_finite_is_named():
    losses = LossMeter(torch.device("cpu"))
    for loss in (1.0, 2.0, 6.0):
        losses.add(torch.tensor(loss))
    assert losses.read(13) == 3
    for loss in (1.0, math.inf, math.nan, 1.0):
        losses.add(torch.tensor(loss))
    with pytest.raises(NotFiniteError, match="the loss is not finite at step 15"):
        losses.read(17)


def test_what_was_good_is_kept_of_a_run_that_becomes_unstable(data_dir: Path, tmp_path: Path):
    config, folder = config_of(data_dir, tmp_path, variant="fsrcnn_s", steps=3), tmp_path / "run"
    run = start_run(config, torch.device("cpu"))
    save_run(run, config, folder)
    good = (folder / "last.pth").read_bytes()
    with torch.no_grad():
        run.model.get_parameter("map.0.bias")[0] = torch.nan
    with pytest.raises(NotFiniteError, match="the weights are not finite at step 0"):
        save_run(run, config, folder)
    assert (folder / "last.pth").read_bytes() == good
    saved = read_pth(folder / "last.pth")
    saved["model"]["map.0.bias"][0] = torch.nan
    torch.save(saved, folder / "last.pth")
    bad = (folder / "last.pth").read_bytes()
    with pytest.raises(FailureError, match=r"not finite at step 1; .*run holds what was saved before; .* was 0\.005"):
        train.train(config)
    assert (folder / "last.pth").read_bytes() == bad


def test_patches_of_one_pixel_train(data_dir: Path, tmp_path: Path):
    train.train(config_of(data_dir, tmp_path, patch_size=1, batch_size=16, steps=12))
    assert all(value.isfinite().all() for value in weights_of(tmp_path).values())


def damaged(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


def test_a_damaged_run_goes_on_from_the_one_before(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    config, folder = config_of(data_dir, tmp_path, variant="fsrcnn_s", steps=3, validate_every=1), tmp_path / "run"
    train.train(config)
    weights, last = weights_of(tmp_path), folder / "last.pth"
    content = last.read_bytes()
    last.write_bytes(damaged(content, len(content) // 2))
    with (folder / "log.csv").open("ab") as log:
        log.write(b"4,0.1,\xff\x00,0.1,0.1,0.1,0.1\r\n4,0.2,0.00")
    capsys.readouterr()
    train.train(config)
    errors = capsys.readouterr().err
    assert f"{last}: damaged, or not a PyTorch weights file: going on from {folder / 'previous.pth'}, step 2" in errors
    assert f"{folder / 'log.csv'}: left out: 2 damaged lines" in errors
    assert equal(weights, weights_of(tmp_path))
    assert log_of(tmp_path, "step") == ["1", "2", "3"]
    assert (folder / "damaged.pth").read_bytes() == damaged(content, len(content) // 2)
    last.unlink()  # as for a moment while it is replaced
    train.train(config)
    assert equal(weights, weights_of(tmp_path))
    for name in ("last.pth", "previous.pth"):
        (folder / name).write_bytes(b"PK")
    with pytest.raises(RequestError, match=r"previous\.pth: damaged"):
        train.train(config)


def test_no_flipped_bit_of_a_run_goes_unseen(data_dir: Path, tmp_path: Path):
    config = config_of(data_dir, tmp_path, variant="fsrcnn_s")
    save_run(start_run(config, torch.device("cpu")), config, tmp_path)
    content, path = (tmp_path / "last.pth").read_bytes(), tmp_path / "damaged.pth"
    expected = repr(read_pth(tmp_path / "last.pth"))
    for position in np.random.default_rng(0).integers(0, len(content), 100):
        path.write_bytes(damaged(content, int(position)))
        with suppress(RequestError):
            assert repr(read_pth(path)) == expected


def test_a_run_without_its_log_header_is_refused(data_dir: Path, tmp_path: Path):
    config = config_of(data_dir, tmp_path, variant="fsrcnn_s", steps=2)
    save_run(start_run(config, torch.device("cpu")), config, tmp_path / "run")
    (tmp_path / "run" / "log.csv").write_bytes(b"\0" * 100)
    with pytest.raises(RequestError, match=r"log\.csv: its first line is not step,seconds,.*move it away"):
        Log(tmp_path / "run", 1)
    assert (tmp_path / "run" / "log.csv").read_bytes() == b"\0" * 100


def test_two_runs_do_not_share_a_folder(data_dir: Path, tmp_path: Path):
    folder, held = tmp_path / "run", "from pathlib import Path; from training.lock import locked; import sys, time\n"
    held += "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", held, str(folder)], cwd=ROOT, text=True, stdout=subprocess.PIPE)
    try:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RequestError, match=rf"run: process {holder.pid} on .* is training in it; .*--exp-name"):
            train.train(config_of(data_dir, tmp_path))
        assert [path.name for path in folder.iterdir()] == [".lock"]
    finally:
        holder.kill()  # SIGKILL: it cannot let go of the lock itself
        holder.communicate()
    with locked(folder):
        pass
    assert not folder.exists()


@posix
def test_a_full_disk_is_named_and_leaves_the_saved_run(data_dir: Path, tmp_path: Path):
    config, folder = config_of(data_dir, tmp_path, variant="fsrcnn_s", steps=2, validate_every=1), tmp_path / "run"
    save_run(start_run(config, torch.device("cpu")), config, folder)
    before = (folder / "last.pth").read_bytes()
    train.training_pictures(config)  # prepares them, in larger files
    small_files(len(before) - 1)
    try:
        with pytest.raises(FailureError, match=r"last\.pth: cannot be written: File too large; make room"):
            train.train(config)
    finally:
        small_files(None)
    assert (folder / "last.pth").read_bytes() == before
    assert not list(folder.glob(".*"))


@posix
def test_a_full_disk_for_tensorboard_alone_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    small_files(2000)
    try:
        with Log(tmp_path, 0) as log:
            for step in (1, 2):
                log.write(step, 1.0, {"psnr": 30.5}, torch.randint(256, (3, 50, 50), dtype=torch.uint8))
    finally:
        small_files(None)
    (line,) = capsys.readouterr().err.splitlines()
    assert "tfevents" in line
    assert line.endswith("File too large; nothing more is written to it, only to log.csv")
    assert len((tmp_path / "log.csv").read_text(encoding="utf-8").splitlines()) == 3


def test_tensorboard_reads_the_events(tmp_path: Path):
    with Log(tmp_path, 0) as log:
        log.write(2, 1.0, {"loss": 0.25, "psnr": 30.5}, torch.zeros(3, 8, 8, dtype=torch.uint8))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("psnr")] == [(2, 30.5)]
    assert events.Tags()["images"] == ["bicubic, FSRCNN, ground truth"]


def test_a_grid_for_tensorboard_takes_pictures_of_any_size():
    sizes = ((60, 200), (300, 130))
    wide, high = (evaluation_pair("", skimage.data.chelsea()[:height, :width], 2) for height, width in sizes)
    grid = crops(network("fsrcnn_s", 2), [wide, high]).numpy()
    assert grid.shape == (3, 246, 368)  # tiles of 120 pixels a side, with 2 black pixels around each
    for left, pictures in ((2, (wide.bicubic(), high.bicubic())), (246, (wide.hr, high.hr))):
        of_wide, of_high = map(to_uint8, pictures)
        assert (grid[:, 2:62, left : left + 120] == of_wide[:, 40:160]).all()
        assert (grid[:, 124:244, left : left + 120] == of_high[90:210, 5:125]).all()
    assert not grid[:, 62:124].any()


def test_processes_together_do_not_take_mps(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    with pytest.raises(RequestError, match="device: mps cannot train in several processes; leave torchrun out"):
        join_processes("mps")


def test_a_port_that_no_process_finds_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("MASTER_PORT", "0")  # as `torchrun --master-port 0` passes it on
    with pytest.raises(RequestError, match="torchrun: --master-port 0 is no port; leave it out, or --standalone"):
        join_processes("cpu")


@posix
def test_two_processes_train_as_one_does(data_dir: Path, tmp_path: Path):
    flags = ["train.py", "--upscale-factor", "2", "--train-sets", "Train", "--device", "cpu", "--exp-name", "run"]
    flags += ["--steps", "30", "--validate-every", "10", "--data-dir", str(data_dir)]
    # Adaptive optimisers turn rounding errors in gradients near zero into whole steps. SGD shows the sums of gradients
    # alone, at rates low enough for it not to oscillate.
    flags += ["--recipe", "paper", "--learning-rate", "1e-4", "--deconv-learning-rate", "1e-5"]
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *flags]

    def run_two(results: str, *more: str) -> subprocess.CompletedProcess[str]:
        command = [*two, "--results-dir", str(tmp_path / results), *more]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    config = read_config("train", "", [*flags[1:], "--results-dir", str(tmp_path / "one")])
    train.train(config)
    done = run_two("two")
    assert done.returncode == 0, done.stderr
    for field in ("loss", "psnr"):
        expected, got = ([float(value) for value in log_of(tmp_path / name, field)] for name in ("one", "two"))
        assert got == pytest.approx(expected, rel=1e-5)
    # One process's run goes on with two.
    config = dataclasses.replace(config, results_dir=tmp_path / "resumed")
    pictures = train.training_pictures(config)
    patches = TrainingPatches(pictures, config.patch_size, config.seed, margin=config.patch_margin)
    begun = start_run(config, torch.device("cpu"))
    batch_loss = loss_to_train(begun, config)
    for _ in range(10):
        train_step(begun, config, batch_loss, patches)
    (tmp_path / "resumed" / "run").mkdir(parents=True)
    save_run(begun, config, tmp_path / "resumed" / "run")
    done = run_two("resumed", "--resume")
    assert done.returncode == 0, done.stderr
    expected, got = ([float(value) for value in log_of(tmp_path / name, "loss")] for name in ("one", "resumed"))
    assert got == pytest.approx(expected[1:], rel=1e-5)
    failed = run_two("three", "--batch-size", "3")
    assert failed.returncode != 0
    assert "batch_size: got 3, expected a multiple of the 2 processes" in failed.stderr


def workers(results_dir: Path) -> list[int]:
    """The processes that torchrun has started with this folder for results."""
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    mine = [line for line in listed.splitlines() if f"--results-dir {results_dir}" in line]
    return [int(line.split()[0]) for line in mine if "torch.distributed.run" not in line]


def listens(place: tuple[str, int]) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(place) == 0


@posix
def test_two_machines_go_on_after_a_process_was_killed(data_dir: Path, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = free.getsockname()
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    flags = ["train.py", "--variant", "fsrcnn_s", "--upscale-factor", "2", "--train-sets", "Train", "--device", "cpu"]
    flags += ["--batch-size", "2", "--patch-size", "8", "--exp-name", "run", "--data-dir", str(data_dir)]
    flags += ["--steps", "400", "--validate-every", "100", "--results-dir"]
    machine = [*torchrun, "--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3"]
    machine += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{place[1]}", "--rdzv-id", "test", *flags]
    one, other, whole = (tmp_path / name for name in ("one", "other", "whole"))  # each machine has its own folder
    quiet = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with ExitStack() as stack:
        first = stack.enter_context(started([*machine, str(one)], **quiet))
        while first.poll() is None and not listens(place):  # on one machine either would serve it
            time.sleep(0.1)
        second = stack.enter_context(started([*machine, str(other)], **quiet))
        stack.callback(lambda: [os.kill(pid, signal.SIGKILL) for folder in (one, other) for pid in workers(folder)])
        logs = {folder: folder / "run" / "log.csv" for folder in (one, other)}
        while first.poll() is None and not any(
            log.is_file() and "\n100," in log.read_text(encoding="utf-8") for log in logs.values()
        ):
            time.sleep(0.01)
        writes, idle = (one, other) if logs[one].is_file() else (other, one)
        (killed,) = workers(idle)
        os.kill(killed, signal.SIGKILL)
        outputs = {one: first.communicate()[0], other: second.communicate()[0]}
    assert (first.returncode, second.returncode) == (0, 0), outputs
    begun = [int(step) for step in re.findall(r"step (\d+) of 400\n", outputs[writes])]
    assert begun[0] == 0
    assert 100 <= begun[-1] < 400
    assert "another process of this training has ended" in outputs[writes]
    assert not idle.exists()
    done = subprocess.run(
        [*torchrun, "--standalone", "--nproc-per-node", "2", *flags, str(whole)], **quiet, check=False
    )
    assert done.returncode == 0, done.stdout
    assert equal(weights_of(writes), weights_of(whole))
    assert log_of(writes, "loss") == log_of(whole, "loss")


def test_a_restart_goes_on_with_what_the_same_torchrun_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def under(torchrun: str, attempt: int) -> None:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(attempt))
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", f"/tmp/{torchrun}/attempt_{attempt}/0/error.json")

    config, folder = config_of(tmp_path, tmp_path), tmp_path / "run"
    under("a", 0)
    assert train.runs_to_do(config)
    folder.mkdir()
    note_start(folder)
    (folder / "last.pth").touch()
    under("a", 1)
    assert train.runs_to_do(config)
    for attempt in (0, 1):  # of another torchrun, whose first start has been refused
        under("b", attempt)
        with pytest.raises(RequestError, match="run holds a run: --resume goes on with it"):
            train.runs_to_do(config)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    with pytest.raises(RequestError, match="run holds a run: --resume goes on with it"):
        train.runs_to_do(config)


def start_and_stop(
    command: list[str], results_dir: Path, logged: str, number: signal.Signals
) -> subprocess.CompletedProcess[str]:
    """Starts a training and sends it the signal once this is in its log."""
    log = results_dir / "run" / "log.csv"
    with started(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while process.poll() is None and not (log.is_file() and logged in log.read_text(encoding="utf-8")):
            time.sleep(0.01)
        process.send_signal(number)
        output, errors = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def to_interrupt(data_dir: Path, results_dir: Path) -> list[str]:
    """The command of a training that takes some seconds."""
    settings = ["--upscale-factor", "2", "--train-sets", "Train", "--batch-size", "8", "--device", "cpu"]
    settings += ["--exp-name", "run", "--steps", "160", "--validate-every", "40", "--data-dir", str(data_dir)]
    return [sys.executable, "train.py", *settings, "--results-dir", str(results_dir)]


@posix
def test_an_interrupted_run_goes_on_to_the_same_weights(data_dir: Path, tmp_path: Path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    subprocess.run(to_interrupt(data_dir, whole), cwd=ROOT, check=True, capture_output=True)
    command, step = to_interrupt(data_dir, parts), 0
    for number, logged in ((signal.SIGINT, 40), (signal.SIGTERM, 80)):
        stopped = start_and_stop(command, parts, f"\n{logged},", number)
        assert stopped.returncode == 128 + number, stopped.stderr
        assert f"step {step} of 160" in stopped.stdout
        assert "--resume" in stopped.stdout.splitlines()[-1]
        step = torch.load(parts / "run" / "last.pth", weights_only=True)["step"]
        assert logged <= step < 160
        command = [*to_interrupt(data_dir, parts), "--resume"]
    resumed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert f"step {step} of 160" in resumed.stdout
    assert equal(weights_of(whole), weights_of(parts))
    for results in (whole, parts):
        assert log_of(results, "step") == ["40", "80", "120", "160"]


# Makes its standard input the terminal that it is closed with, and then becomes the command.
IN_TERMINAL = (
    "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


@posix
def test_a_closed_terminal_saves_the_run(data_dir: Path, tmp_path: Path):
    flags = "--upscale-factor 2 --variant fsrcnn_s --train-sets Train --batch-size 1 --patch-size 8 --device cpu"
    flags += " --exp-name run --steps 300 --validate-every 1"
    command = [sys.executable, "-c", IN_TERMINAL, "train.py", *flags.split()]
    ours, theirs = os.openpty()
    os.set_blocking(ours, False)
    process = subprocess.Popen(
        [*command, "--data-dir", str(data_dir), "--results-dir", str(tmp_path)],
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        shown, log = b"", tmp_path / "run" / "log.csv"
        while process.poll() is None and not (log.is_file() and "\n1," in log.read_text(encoding="utf-8")):
            time.sleep(0.01)
            with suppress(BlockingIOError):
                shown += os.read(ours, 10_000)
        os.close(ours)
        assert process.wait(60) == 128 + signal.SIGHUP, shown
    finally:
        process.kill()
    assert 1 <= read_pth(tmp_path / "run" / "last.pth")["step"] < 300
    assert not (tmp_path / "run" / ".lock").exists()

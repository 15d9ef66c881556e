"""Writes the tables of README.md and docs/ and the training curves from the files in results/:
`python -m benchmarks.report`.
"""

import json
import math
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import skimage.data

from benchmarks.peers import FLOAT_COLUMNS, INTEGERS, OURS, REDUCED_COLUMNS, Conditions
from benchmarks.restore import CLEAN, METHODS, QUALITIES, SMALL_NETWORKS_QUALITY, Case, reduced, write_small
from benchmarks.restore import SETS as TESTED
from benchmarks.sizes import BICUBIC
from dataset import read_image, write_image
from fsrcnn.errors import Parser, run_script
from fsrcnn.files import written_whole
from fsrcnn.geometry import SCALES, VARIANTS, variant_sizes
from fsrcnn.network import load_network
from fsrcnn.pictures.restoration import Restoration
from fsrcnn.pictures.upscale import upscale_picture
from fsrcnn.restore import AUTO, Restore
from fsrcnn.weights import PRETRAINED, shipped_weights
from imgproc import imresize, modcrop, to_uint8
from training.log import draw_curve, read_log

ROOT = Path(__file__).parents[1]
TEST = ROOT / "results" / "test"
QUICK, TRANSFER, BY_PAPER = (ROOT / "results" / name for name in ("quick", "transfer", "paper"))
BENCHMARK = ROOT / "results" / "benchmark"
SETS = ("Set5", "Set14", "BSD100")

Score = tuple[float, float | None]  # PSNR in dB and, where it was reported, SSIM

# What others report, by set and scale. The paper's tables, with BSD100 as later papers quote it:
PAPER: dict[tuple[str, int], Score] = {
    ("Set5", 2): (37.00, 0.9558),
    ("Set5", 3): (33.16, 0.9140),
    ("Set5", 4): (30.71, 0.8657),
    ("Set14", 2): (32.63, 0.9088),
    ("Set14", 3): (29.43, 0.8242),
    ("Set14", 4): (27.59, 0.7535),
    ("BSD100", 2): (31.53, 0.8920),
    ("BSD100", 3): (28.53, 0.7910),
    ("BSD100", 4): (26.98, 0.7150),
}
# The paper's FSRCNN-s, trained on T91 alone:
PAPER_S: dict[tuple[str, int], Score] = {
    ("Set5", 2): (36.53, None),
    ("Set5", 3): (32.55, None),
    ("Set5", 4): (30.04, None),
    ("Set14", 2): (32.22, None),
    ("Set14", 3): (29.08, None),
    ("Set14", 4): (27.12, None),
}
# FSRCNN-PyTorch's README:
ORIGINAL: dict[tuple[str, int], Score] = {
    ("Set5", 2): (36.76, 0.9564),
    ("Set5", 3): (32.46, 0.9051),
    ("Set5", 4): (30.37, 0.8589),
    ("Set14", 2): (32.33, 0.9089),
    ("Set14", 3): (28.85, 0.8181),
    ("Set14", 4): (27.20, 0.7507),
}
# PSNR on Set5 at x3 by d, s, m:
PAPER_SIZES: dict[tuple[int, int, int], float] = {
    (48, 12, 2): 32.87,
    (48, 12, 3): 32.88,
    (48, 12, 4): 33.08,
    (56, 12, 2): 33.00,
    (56, 12, 3): 32.97,
    (56, 12, 4): 33.16,
    (48, 16, 2): 32.95,
    (48, 16, 3): 33.10,
    (48, 16, 4): 33.18,
    (56, 16, 2): 33.01,
    (56, 16, 3): 33.12,
    (56, 16, 4): 33.17,
}
# Trainings by the paper's recipe in results/paper/curves:
PAPER_CURVES = {
    "batch_8": "the recipe, batch 8",
    "seed_1": "from another seed",
    "one_slope": "with one slope a layer",
    "eight_bits": "with LR patches of 8 bits",
    "fixed_order": "with sub-images in a fixed order",
    "batch_128": "with batch 128",
    "batch_8_zeros": "as seen with zeros beyond the picture",
    "batch_32_zeros": "with batch 32, zeros",
    "fan_in_zeros": "from deviations by the inputs, zeros",
    "one_activation_zeros": "with one PReLU after the mapping layers, zeros",
    "adam_zeros": "with Adam, zeros",
    "soap_zeros": "with SOAP, zeros",
    "padded_batch_8": "with padded patches, batch 8",
    "padded_batch_32": "with padded patches, batch 32",
}
# What the long tests hold, by the part of reliability.json with their figures: the promise, the command, the figures.
RELIABILITY = {
    "pictures": ("A damaged picture is enlarged or refused in one line", "make fuzz", "{inputs:,} files"),
    "weights": ("A damaged weights file or checkpoint is refused in one line", "make fuzz", "{inputs:,} files"),
    "videos": ("A damaged video is enlarged or refused in one line", "make fuzz", "{inputs:,} files"),
    "requests": ("Odd names and options end in results or one line", "make fuzz", "{inputs:,} times 20 command lines"),
    "kill_training": (
        "A killed training goes on to the same weights, bit for bit",
        "python -m tests.soak kill_training",
        "{kills} kills in {steps:,} steps",
    ),
    "kill_folder": (
        "A killed batch leaves whole results alone, and the same command does the rest",
        "python -m tests.soak kill_folder",
        "{kills} kills in {pictures:,} pictures",
    ),
    "many_pictures": (
        "Damaged pictures do not stop the others; memory does not grow",
        "python -m tests.soak many_pictures",
        "{pictures:,} pictures, {damaged} damaged, in two processes: {early_mib:,} MiB, later {late_mib:,} MiB",
    ),
    "long_training": (
        "Memory and open files of a long training do not grow",
        "python -m tests.soak long_training",
        "{minutes:.0f} minutes: {early_mib:,} MiB, later {late_mib:,} MiB; {open_files} open files",
    ),
}
# The README's rows of compressed pictures, and its picture of one:
RESTORED_SET, RESTORED_QUALITIES = "LIVE1", (80, 60, 40)
SHOWN_QUALITY = 60
# The README's numbered facts:
FACTS = """\
1. **{least:.2f} to {most:.2f} dB above the paper** on Set5, Set14 and BSD100 at x2, x3 and x4.
2. **{parameters:,} parameters**: the paper's network, op for op.
3. **{rate:.0f} frames a second** to 1280x720 at x2 on two CPU cores by the network alone, {film:.0f} from H.264 file
   to H.264 file. The paper's small network: {small_rate:.0f} and {small_film:.0f}.
4. **Training {training:.1f} times as fast** as a plain PyTorch loop on the same two cores, at x3.
5. **No PyTorch to enlarge on a CPU**: the network is one compiled function, for files of 8 bits in [16-bit
   integers](docs/speed.md#in-integers-and-in-fewer-bits) where these are faster: {loss:.3f} dB lost at most."""


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def results_table(
    metrics: dict[str, Any],
    variant: str,
    references: dict[str, dict[tuple[str, int], Score]],
    sets: Sequence[str] = SETS,
) -> str:
    """A variant's scores beside bicubic interpolation's and others', in Markdown; the best of each row in bold, without
    the last column, of the means of eight results.
    """
    columns = ["set, scale", "bicubic", *references, "this repository", "`--ensemble`"]
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for set_name in sets:
        for scale in SCALES:
            entry = metrics[f"{variant}_x{scale}"][set_name]
            bicubic, ours = ((entry[method]["psnr"], entry[method]["ssim"]) for method in ("bicubic", "fsrcnn"))
            row = [bicubic, *(reference.get((set_name, scale)) for reference in references.values()), ours]
            psnr = max(f"{score[0]:.2f}" for score in row if score)
            ssim = max(f"{score[1]:.4f}" for score in row if score and score[1])
            cells = " | ".join(_cell(score, {psnr, ssim}) for score in row)
            finest = metrics[f"{variant}_x{scale}+"][set_name]["fsrcnn"]
            lines.append(f"| {set_name} x{scale} | {cells} | {_cell((finest['psnr'], finest['ssim']), set())} |")
    return "\n".join(lines)


def _cell(score: Score | None, best: set[str]) -> str:
    if score is None:
        return "not reported"
    texts = [f"{score[0]:.2f}"] + ([f"{score[1]:.4f}"] if score[1] else [])
    return " / ".join(f"**{text}**" if text in best else text for text in texts)


def training_table() -> str:
    """What the json files beside the shipped weights say of their training, in Markdown. Not of the restoring ones',
    whose validation pictures are compressed.
    """
    paths = [path for path in PRETRAINED.rglob("*.json") if not path.stem.endswith("_restore")]
    lines = ["| weights | steps | best at | minutes | validation |", "| --- | --- | --- | --- | --- |"]
    for path in sorted(paths, key=lambda path: (path.stem, path.parent == PRETRAINED)):
        said, before = read_json(path), " before fine-tuning" if path.parent != PRETRAINED else ""
        score = f"{said['validation']['psnr']:.3f} / {said['validation']['ssim']:.4f}"
        steps, best, minutes = said["recipe"]["steps"], said["step"], said["seconds"] / 60
        lines.append(f"| {path.stem}{before} | {steps:,} | {best:,} | {minutes:.0f} | {score} |")
    return "\n".join(lines)


def paper_table(zeros: dict[str, Any], replicate: dict[str, Any]) -> str:
    """Scores of the paper's own recipe, with zeros and with the replicated border beyond the pictures, in Markdown."""
    stages = {"": "T91", "_finetuned": "then General-100"}
    borders = {"zeros": zeros, "replicate": replicate}
    columns = [f"{stage}, {border}" for stage in stages.values() for border in borders]
    lines = [f"| set, scale | {' | '.join(columns)} | paper |", "| --- " * (len(columns) + 2) + "|"]
    for set_name, scale in product(SETS, SCALES):
        models = [(f"paper_x{scale}{stage}", metrics) for stage in stages for metrics in borders.values()]
        scores = [metrics[name][set_name]["fsrcnn"] if name in metrics else None for name, metrics in models]
        cells = [_cell((score["psnr"], score["ssim"]), set()) if score else "" for score in scores]
        cells.append(_cell(PAPER[set_name, scale], set()))
        lines.append(f"| {set_name} x{scale} | {' | '.join(cells)} |")
    return "\n".join(lines)


def transfer_logs() -> dict[str, dict[str, list[float]]]:
    """The logs of three ways to train the x2 network, the first of which does without the x3 network."""
    return {
        "from nothing": read_log(TRANSFER / "fsrcnn_x2_from_nothing.csv"),
        "x3's convolutions, deconvolution alone": read_log(TRANSFER / "fsrcnn_x2_deconvolution_alone.csv"),
        "x3's convolutions, everything": read_log(TRANSFER / "fsrcnn_x2_everything.csv"),
    }


def quick_table(metrics: dict[str, Any]) -> str:
    """Scores of short trainings from scratch at x3, in Markdown."""
    lines = ["| steps | minutes | Set5 x3 |", "| --- | --- | --- |"]
    trained = {name: read_json(QUICK / f"{name}.json") for name in metrics}
    for name, said in sorted(trained.items(), key=lambda item: item[1]["recipe"]["steps"]):
        steps, minutes, score = said["recipe"]["steps"], said["seconds"] / 60, metrics[name]["Set5"]["fsrcnn"]
        lines.append(f"| {steps:,} | {minutes:.1f} | {_cell((score['psnr'], score['ssim']), set())} |")
    for name, reported in (("FSRCNN-PyTorch", ORIGINAL), ("paper", PAPER)):
        lines.append(f"| *{name}* | | {_cell(reported['Set5', 3], set())} |")
    return "\n".join(lines)


def transfer_table() -> str:
    """Steps until the PSNR is within 0.05 dB of the best of the training from scratch, in Markdown."""
    logs = transfer_logs()
    goal = max(logs["from nothing"]["psnr"]) - 0.05
    lines = [f"| x2 network | steps to {goal:.2f} dB | best |", "| --- | --- | --- |"]
    for name, log in logs.items():
        first = next(index for index, psnr in enumerate(log["psnr"]) if psnr >= goal)
        lines.append(f"| {name} | {log['step'][first]:,.0f} | {max(log['psnr']):.2f} |")
    return "\n".join(lines)


def ablation_table(said: dict[str, Any]) -> str:
    """Scores of networks of the paper's sizes in the short trainings of benchmarks.ablation, in Markdown."""
    lines = ["| d, s, m | weights | Set5 x3 | paper, Set5 x3 | validation |", "| --- " * 5 + "|"]
    for cell in said["networks"]:
        sizes = cell["d"], cell["s"], cell["m"]
        psnr = cell.get("Set5")
        cells = [", ".join(map(str, sizes)), f"{cell['weights']:,}", f"{psnr:.2f}" if psnr else "not scored"]
        lines.append(f"| {' | '.join(cells)} | {PAPER_SIZES[sizes]:.2f} | {cell['validation']:.3f} |")
    return "\n".join(lines)


def fastest(medians: dict[str, float], ways: Sequence[str], ours: float, lost: dict[str, float]) -> str:
    """The cell of the fastest of the ways that were measured, with what it loses."""
    there = [way for way in ways if way in medians]
    if not there:
        return "not measured"
    best = min(there, key=lambda way: medians[way])
    loss = f", {-lost[best]:+.3f} dB" if best in lost else ""
    return f"{medians[best]:.1f} ms ({medians[best] / ours:.1f}x{loss})"


def speed_rows(said: dict[str, Any]) -> Iterator[tuple[str, dict[str, float], dict[str, float]]]:
    """Each case that benchmarks.network measured, with the medians of the ways and what they lose in dB."""
    for case, measured in said["cases"].items():
        medians = {way: statistics.median(rounds) for way, rounds in measured["milliseconds"].items()}
        yield case, medians, said.get("losses", {}).get(case.rpartition(" ")[0], {})


def speed_table(said: dict[str, Any]) -> str:
    """The medians that benchmarks.network wrote, all in float32, each peer in its faster form, in Markdown."""
    peers = {name: ways for name, ways in FLOAT_COLUMNS.items() if name != "PyTorch, sub-pixel"}
    lines = [f"| network, output | here | frames/s | {' | '.join(peers)} |", "| --- " * (3 + len(peers)) + "|"]
    for case, medians, lost in speed_rows(said):
        ours = medians[OURS]
        cells = [f"**{ours:.1f} ms**", f"{1e3 / ours:,.0f}"]
        cells += [fastest(medians, ways, ours, lost) for ways in peers.values()]
        lines.append(f"| {case} | {' | '.join(cells)} |")
    return "\n".join(lines)


def reduced_table(said: dict[str, Any]) -> str:
    """The same of the integer form, beside float32 and the peers in fewer bits, in Markdown."""
    head = ["here, integers", "frames/s", "here, float32", "OpenVINO, float32", *REDUCED_COLUMNS]
    lines = [f"| network, output | {' | '.join(head)} |", "| --- " * (1 + len(head)) + "|"]
    for case, medians, lost in speed_rows(said):
        if INTEGERS not in medians:
            continue
        ours = medians[INTEGERS]
        cells = [f"**{ours:.1f} ms** ({-lost[INTEGERS]:+.3f} dB)", f"{1e3 / ours:,.0f}"]
        columns = ((OURS,), FLOAT_COLUMNS["OpenVINO"], *REDUCED_COLUMNS.values())
        cells += [fastest(medians, ways, ours, lost) for ways in columns]
        lines.append(f"| {case} | {' | '.join(cells)} |")
    return "\n".join(lines)


def conditions_table(said: dict[str, Any]) -> str:
    """The same with one thread and with AVX2 alone, in Markdown."""
    head = ["here, integers", "here, float32", "OpenVINO, float32", "OpenVINO by default", "ONNX Runtime"]
    lines = [f"| | network, output | {' | '.join(head)} |", "| --- " * (2 + len(head)) + "|"]
    for part in said.get("others", []):
        conditions = Conditions(part["threads"], part["avx2"])
        for case, medians, _ in speed_rows(part):
            ours = medians[INTEGERS]
            columns = (
                (OURS,),
                FLOAT_COLUMNS["OpenVINO"],
                REDUCED_COLUMNS["OpenVINO by default"],
                FLOAT_COLUMNS["ONNX Runtime"],
            )
            cells = [f"**{ours:.1f} ms**", *(fastest(medians, ways, ours, {}) for ways in columns)]
            lines.append(f"| {conditions} | {case} | {' | '.join(cells)} |")
    return "\n".join(lines)


def node_table(said: dict[str, Any]) -> str:
    """The medians that benchmarks.node wrote, in Markdown."""
    names = list(next(iter(said["milliseconds"].values())))
    lines = [f"| network, output | {' | '.join(names)} | times |", "| --- " * (len(names) + 2) + "|"]
    for case, ways in said["milliseconds"].items():
        ours, *others = (statistics.median(ways[way]) for way in names)
        cells = [f"**{ours:.0f} ms**", *(f"{other:.0f} ms" for other in others), f"{others[-1] / ours:.1f}"]
        lines.append(f"| {case} | {' | '.join(cells)} |")
    return "\n".join(lines)


def programs_table(said: dict[str, Any]) -> str:
    """What benchmarks.programs found numbers of 16 bits to cost, in Markdown."""
    exact, *reduced = next(iter(said["psnr"].values()))
    lines = [f"| dB lost | {' | '.join(reduced)} |", "| --- " * (1 + len(reduced)) + "|"]
    for name, scores in said["psnr"].items():
        lines.append(f"| {name} | {' | '.join(f'{scores[exact] - scores[way]:.3f}' for way in reduced)} |")
    return "\n".join(lines)


def programs_speed_table(said: dict[str, Any]) -> str:
    """The medians that benchmarks.programs wrote, in Markdown."""
    medians = {name: statistics.median(rounds) for name, rounds in said["milliseconds"].items()}
    peer = max(medians.values())
    lines = [f"| {said['width']} x {said['height']} | | times as fast |", "| --- | --- | --- |"]
    lines += [f"| {name} | {each:.0f} ms | {peer / each:.0f} |" for name, each in medians.items()]
    return "\n".join(lines)


def training_speed_table(said: dict[str, Any]) -> str:
    """The medians that benchmarks.training wrote, in Markdown."""
    head = "scale | steps/s | a plain loop's | times | steps/s of the deconvolution alone | cutting patches"
    lines = [f"| {head} |", "| --- " * 6 + "|"]
    for scale, loops in said["milliseconds_per_step"].items():
        names = ("plain", "ours", "deconvolution", "cutting")
        plain, ours, deconv, cutting = (statistics.median(loops[name]) for name in names)
        cells = [f"**{1e3 / ours:.0f}**", f"{1e3 / plain:.0f}", f"{plain / ours:.1f}", f"{1e3 / deconv:.0f}"]
        lines.append(f"| {scale} | {' | '.join(cells)} | {cutting / ours:.0%} of a step |")
    return "\n".join(lines)


def processes_table(said: dict[str, Any]) -> str:
    """Steps a second that benchmarks.processes found in one process and in two, in Markdown."""
    lines = ["| batch | one process | two | times | two, beyond the steps on their halves |", "| --- " * 5 + "|"]
    for batch, times in said["milliseconds_per_step"].items():
        one, share, both = (times[name] for name in ("one", "share", "all"))
        rates = f"{1e3 / one:.0f} steps/s | {1e3 / both:.0f} steps/s"
        lines.append(f"| {batch} | {rates} | {one / both:.1f} | {both - share:.0f} ms |")
    return "\n".join(lines)


def seeds_table() -> str:
    """Mean and standard deviation of the PSNR over the seeds of train.py's runs, in Markdown."""
    paths = sorted(BENCHMARK.glob("seeds_*.json"))
    said = {path.stem.removeprefix("seeds_"): read_json(path)["scores"] for path in paths}
    sets = list(next(iter(said.values())))
    lines = [f"| network | {' | '.join(sets)} |", "| --- " * (len(sets) + 1) + "|"]
    for name, scores in said.items():
        psnr = [scores[each]["psnr"] for each in sets]
        cells = (f"{each['mean']:.3f} ± {each['standard_deviation']:.3f}" for each in psnr)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def large_sets_table(said: dict[str, Any]) -> str:
    """What benchmarks.large_sets wrote, in Markdown."""
    head = "set | prepared | first start | later starts | memory | and mapped | steps/s"
    lines = [f"| {head} |", "| --- " * 7 + "|"]
    for name, row in said["sets"].items():
        cells = [f"{row['bytes'] / 1e9:.2f} GB", f"{row['first']['seconds_to_first_step']:.0f} s"]
        most = {part: max(row["first"][part], row["again"][part]) for part in ("RssAnon", "RssFile")}
        lines.append(f"| {' | '.join([name, *cells, *trained_cells(row['again'] | most)])} |")
        if limited := row.get("limited"):
            limit = f"the same, in {said['limit'] / 1e9:.1f} GB of memory"
            lines.append(f"| {' | '.join([limit, '', '', *trained_cells(limited)])} |")
    return "\n".join(lines)


def trained_cells(run: dict[str, float]) -> list[str]:
    memory = [f"{run[part] / 1e6:,.0f} MB" for part in ("RssAnon", "RssFile")]
    return [f"{run['seconds_to_first_step']:.1f} s", *memory, f"{run['steps_per_second']:.0f}"]


def reliability_table(said: dict[str, Any]) -> str:
    """What the long tests tried without a fault, in Markdown; a test that has not run yet has no row."""
    figures = said.get("fuzz", {}) | said
    lines = ["| promise | test | tried |", "| --- " * 3 + "|"]
    for part, (promise, command, shown) in RELIABILITY.items():
        if part in figures:
            minutes = figures[part].get("seconds", 0) / 60
            faults = figures[part].get("outcomes", {}).get("fault", 0)
            tried = shown.format(**figures[part], minutes=minutes) + f", **{faults} faults**" * (faults > 0)
            lines.append(f"| {promise} | `{command}` | {tried} |")
    return "\n".join(lines)


def browser_table(said: dict[str, Any]) -> str:
    """The medians that benchmarks.browser wrote, in Markdown."""
    peers = sorted(
        {way for counts in said["milliseconds"].values() for ways in counts.values() for way in ways} - {"here"}
    )
    lines = [f"| network, output | threads | here | {' | '.join(peers)} |", "| --- " * (3 + len(peers)) + "|"]
    for case, counts in said["milliseconds"].items():
        for threads, ways in counts.items():
            medians = {way: statistics.median(rounds) for way, rounds in ways.items()}
            ours = medians.pop("here")
            cells = [f"{medians[peer]:.0f} ms ({medians[peer] / ours:.1f}x)" for peer in peers]
            lines.append(f"| {case} | {threads} | **{ours:.0f} ms** | {' | '.join(cells)} |")
    return "\n".join(lines)


def film_table(said: dict[str, Any]) -> str:
    """The frames a second that benchmarks.browser measured, in Markdown."""
    lines = ["| network | film, enlarged | frames a second |", "| --- | --- | --- |"]
    for variant, film in said["films"].items():
        lines.append(f"| {variant} | {film['width']}x{film['height']} | {film['frames_per_second']:.0f} |")
    return "\n".join(lines)


def files_table(said: dict[str, Any]) -> str:
    """The medians that benchmarks.files wrote, in Markdown: pictures or frames a second without start-up; seconds."""
    pictures, video, large = (said[each] for each in ("pictures", "video", "large"))
    size, frame, side = ("{width} x {height}".format(**each) for each in (pictures, video, large))
    times = {name: statistics.median(rounds) for name, rounds in said["seconds"].items()}

    def rate(task: str, number: int, start: float = times["start"]) -> str:
        return f"{number / (times[task] - start):.1f}"

    def row(what: str, task: str, number: int, start: float = times["start"], way: str = "") -> str:
        cells = (rate(f"{task}, {variant}{way}", number, start) for variant in VARIANTS)
        return f"| {what} | {' | '.join(cells)} |"

    def clean_rows(what: str, task: str, number: int) -> list[str]:
        ways = {", restore 0": "`--restore 0`", ", restore 0, float32": "`--restore 0`, float32"}
        measured = {way: said for way, said in ways.items() if f"{task}, fsrcnn{way}" in times}
        return [row(f"{what}, {said}", task, number, way=way) for way, said in measured.items()]

    largest = " | ".join(f"{times[f'large, {variant}']:.1f} s" for variant in VARIANTS)
    lines = ["| file to file, a second | fsrcnn | fsrcnn_s |", "| --- | --- | --- |"]
    lines.append(row(f"the network alone, {size}", "network", pictures["number"], 0))
    if "network, fsrcnn, integers" in times:
        lines.append(row(f"the network alone, {size}, integers", "network", pictures["number"], 0, ", integers"))
    lines += [row(f"{kind}, {size}", kind, pictures["number"]) for kind in ("PNG", "JPEG")]
    lines += clean_rows(f"PNG, {size}", "PNG", pictures["number"])
    lines.append(row(f"H.264, {frame}", "video", video["number"]))
    lines += clean_rows(f"H.264, {frame}", "video", video["number"])
    lines.append(
        f"| H.264, {frame}, bicubic in place of the network | {rate('video, bicubic', video['number'], 0)} | |"
    )
    lines += [f"| one PNG, {side} | {largest} |", f"| one PNG, 16 x 16 | {times['start']:.1f} s | |"]
    return "\n".join(lines)


def sizes_table(said: dict[str, Any]) -> str:
    """The luma's PSNR that benchmarks.sizes wrote, in Markdown; the best of each row in bold."""
    methods = (BICUBIC, *VARIANTS)
    lines = [f"| set, factor | {' | '.join(methods)} |", "| --- " * (1 + len(methods)) + "|"]
    for entry in said["entries"]:
        texts = [f"{entry[method]['luma']:.2f}" for method in methods]
        cells = " | ".join(f"**{text}**" if text == max(texts, key=float) else text for text in texts)
        lines.append(f"| {entry['set_name']} x{entry['upscale_factor']:g} | {cells} |")
    return "\n".join(lines)


def chains_table(said: dict[str, Any]) -> str:
    """The PSNR of networks in a row that benchmarks.sizes wrote, and how many LR pixels' work they do, in Markdown."""
    lines = [f"| factor | in this order | work | {' | '.join(VARIANTS)} |", "| --- " * (3 + len(VARIANTS)) + "|"]
    for entry in said["chains"]:
        chain = entry["chain"]
        work = sum(math.prod(chain[:number]) ** 2 for number in range(len(chain)))
        cells = " | ".join(f"{entry[variant]:.3f}" for variant in VARIANTS)
        lines.append(
            f"| x{entry['upscale_factor']} | {', then '.join(f'x{each}' for each in chain)} | {work} | {cells} |"
        )
    return "\n".join(lines)


def restore_entries(said: dict[str, Any]) -> dict[Case, dict[str, Any]]:
    """What benchmarks.restore wrote, by its cases."""
    return {Case(*(entry[field] for field in Case._fields)): entry for entry in said["entries"]}


def restored_cell(entry: dict[str, Any], what: str = "luma") -> str:
    """An entry's PSNR by every method; the best in bold."""
    texts = [f"{entry[method][what]:.2f}" for method in METHODS]
    best = max(texts, key=float)
    return " / ".join(f"**{text}**" if text == best else text for text in texts)


def quality_name(quality: int | None) -> str:
    return "clean" if quality is CLEAN else f"JPEG {quality}"


def restore_table(said: dict[str, Any]) -> str:
    """PSNR of fsrcnn at x2 by quality and set, and of R, G and B on the first set, in Markdown."""
    entries = restore_entries(said)
    lines = [f"| x2 | {' | '.join(TESTED)} | {TESTED[0]}, RGB |", "| --- " * (len(TESTED) + 2) + "|"]
    for quality in QUALITIES:
        found = [entries[Case(name, 2, "fsrcnn", quality)] for name in TESTED]
        cells = [*map(restored_cell, found), restored_cell(found[0], "rgb")]
        lines.append(f"| {quality_name(quality)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def restore_networks_table(said: dict[str, Any]) -> str:
    """PSNR of every network at one quality, in Markdown."""
    entries = restore_entries(said)
    lines = [f"| JPEG {SMALL_NETWORKS_QUALITY} | {' | '.join(TESTED)} |", "| --- " * (len(TESTED) + 1) + "|"]
    for variant, scale in product(VARIANTS, SCALES):
        cases = (Case(name, scale, variant, SMALL_NETWORKS_QUALITY) for name in TESTED)
        lines.append(f"| {variant} x{scale} | {' | '.join(restored_cell(entries[case]) for case in cases)} |")
    return "\n".join(lines)


def restored_rows(said: dict[str, Any]) -> str:
    """The README's rows, in Markdown."""
    entries = restore_entries(said)
    lines = [f"| {RESTORED_SET} x2 | bicubic | not restored | upscale.py |", "| --- | --- | --- | --- |"]
    for quality in RESTORED_QUALITIES:
        cell = restored_cell(entries[Case(RESTORED_SET, 2, "fsrcnn", quality)])
        lines.append(f"| {quality_name(quality)} | {cell.replace(' / ', ' | ')} |")
    return "\n".join(lines)


def films_table(said: dict[str, Any]) -> str:
    """What `--restore auto` gains in films, by codec and constant rate factor, in Markdown."""
    rows = {(row["codec"], row["crf"]): row for row in said["rows"]}
    codecs, factors = (dict.fromkeys(key) for key in zip(*rows, strict=True))
    lines = [f"| | {' | '.join(f'CRF {crf}' for crf in factors)} |", "| --- |" + " --- |" * len(factors)]
    for codec in codecs:
        cells = (f"{rows[codec, crf]['gain']:+.2f} ({rows[codec, crf]['least_gain']:+.2f})" for crf in factors)
        lines.append(f"| {codec} | {' | '.join(cells)} |")
    return "\n".join(lines)


def ensemble_table(said: dict[str, Any]) -> str:
    """What means of several results gain over one, by network, set and way, in Markdown."""
    scored = next(iter(said["psnr"].values()))
    one, *ways = next(iter(scored.values()))
    lines = [f"| dB gained: {', '.join(scored)} | {' | '.join(ways)} |", "| --- " * (1 + len(ways)) + "|"]
    for network, sets in said["psnr"].items():
        cells = (", ".join(f"{found[way] - found[one]:.2f}" for found in sets.values()) for way in ways)
        lines.append(f"| {network} | {' | '.join(cells)} |")
    return "\n".join(lines)


def ensemble_speed_table(said: dict[str, Any]) -> str:
    """How long one result and the mean of eight take, in Markdown; the least times, as the ratio is what counts."""
    planes, films = said["planes"], said["films"]
    size, frame = ("{width} x {height}".format(**each) for each in (planes, films))
    lines = ["| | one result | `--ensemble` | times as long |", "| --- " * 4 + "|"]

    def row(what: str, rounds: dict[str, list[float]], shown: Callable[[float], str]) -> None:
        one, eight = map(min, rounds.values())
        lines.append(f"| {what} | {shown(one)} | {shown(eight)} | {eight / one:.1f} |")

    for network, rounds in planes["seconds"].items():
        row(f"{network}, luma in memory, to {size}", rounds, lambda time: f"{1e3 * time:.0f} ms")
    for network, rounds in films["seconds"].items():
        row(f"{network}, H.264, {frame}", rounds, lambda time: f"{films['frames'] / time:.1f} frames/s")
    return "\n".join(lines)


def integers_table(said: dict[str, Any]) -> str:
    """What the integer form loses against float32, in Markdown: PSNR from LR of 8 bits, and pixels that differ."""
    header = ["", *(f"{name}, dB" for name in SETS), "over a level: photographs", "stars, text, noise", "at most"]
    lines = [f"| {' | '.join(header)} |", "| --- " * len(header) + "|"]
    for name, entry in said.items():
        sets = [entry[each]["8 bits"] for each in SETS]
        losses = (f"{each['loss']:.4f}" for each in sets)
        photographs = max(sum(each["levels"][2:]) for each in sets)
        shares = (f"{share:.4%}" for share in (photographs, sum(entry["extremes"][2:])))
        lines.append(f"| {name} | {' | '.join([*losses, *shares])} | {len(entry['extremes']) - 1} levels |")
    return "\n".join(lines)


def presets_table(said: dict[str, Any]) -> str:
    """What presets of encoders cost and are worth beside the encoder's own, at that one's size, in Markdown."""
    lines = ["| encoder | preset | CPU a frame | PSNR | SSIM | size at the same CRF |", "| --- " * 6 + "|"]
    first: dict[str, dict[str, Any]] = {}
    for row in said["rows"]:
        usual = first.setdefault(row["codec"], row)
        at, than = row["at_size"], usual["at_size"]
        size = row["measured"][1]["size"] / usual["measured"][1]["size"] - 1
        scores = (
            (f"{at['psnr']:.2f} dB", f"{at['ssim']:.4f}", "")
            if row is usual
            else (f"{at['psnr'] - than['psnr']:+.2f} dB", f"{at['ssim'] - than['ssim']:+.4f}", f"{100 * size:+.0f} %")
        )
        preset = f"**{row['preset']}**" if row is usual else row["preset"]
        lines.append(f"| {row['codec']} | {preset} | {1e3 * at['seconds']:.0f} ms | {' | '.join(scores)} |")
    return "\n".join(lines)


def parts_table(said: dict[str, Any]) -> str:
    """How much larger films are that are made in parts, by film and encoder, in Markdown."""
    codecs = list(dict.fromkeys(row["codec"] for row in said["sizes"]))
    costs = {(row["film"], row["key frames"], row["codec"]): row["cost"] for row in said["sizes"]}
    lines = [
        f"| film | {' | '.join(each.removeprefix('lib') for each in codecs)} |",
        "| --- " * (1 + len(codecs)) + "|",
    ]
    for film, keys in dict.fromkeys(key[:2] for key in costs):
        cells = (f"{100 * costs[film, keys, codec]:+.1f} %" for codec in codecs)
        lines.append(f"| {film}, key frames {keys} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shares_table(said: dict[str, Any]) -> str:
    """CPU time of the steps of a film, in Markdown."""
    lines = ["| CPU a frame | decode | enlarge | encode | together | all at once |", "| --- " * 6 + "|"]
    for variant in VARIANTS:
        names = ("decode", f"enlarge, {variant}", "encode")
        steps = [1e3 * said["shares"][name] for name in names]
        whole = 1e3 * said["shares"][f"all, {variant}"]
        cells = [f"{value:.0f} ms" for value in (*steps, sum(steps), whole)]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def film_rate(said: dict[str, Any], variant: str) -> float:
    """Frames a second from video file to video file that benchmarks.files measured, without the start-up."""
    video, start = (statistics.median(said["seconds"][task]) for task in (f"video, {variant}", "start"))
    return said["video"]["number"] / (video - start)


def facts(
    metrics: dict[str, Any],
    speed: dict[str, Any],
    files: dict[str, Any],
    training: dict[str, Any],
    integers: dict[str, Any],
) -> str:
    """The README's numbered facts, in Markdown."""
    margins = [metrics[f"fsrcnn_x{scale}"][name]["fsrcnn"]["psnr"] - PAPER[name, scale][0] for name, scale in PAPER]
    names = [f"{variant} x2 1280x720" for variant in ("fsrcnn", "fsrcnn_s")]
    times = [statistics.median(speed["cases"][name]["milliseconds"][INTEGERS]) for name in names]
    plain, ours = (statistics.median(training["milliseconds_per_step"]["x3"][name]) for name in ("plain", "ours"))
    return FACTS.format(
        least=min(margins),
        most=max(margins),
        parameters=variant_sizes("fsrcnn", 3).parameters,
        rate=1e3 / times[0],
        small_rate=1e3 / times[1],
        film=film_rate(files, "fsrcnn"),
        small_film=film_rate(files, "fsrcnn_s"),
        training=plain / ours,
        loss=max(each["loss"] for entry in integers.values() for name in SETS for each in entry[name].values()),
    )


def filled(text: str, tables: dict[str, str]) -> str:
    """The text with each table between its markers, <!-- name --> and <!-- /name -->."""
    for name, table in tables.items():
        text = re.sub(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", rf"\g<1>{table}\n\g<2>", text, flags=re.DOTALL)
    return text


def made_tables() -> dict[str, str]:
    """Every table by the name of its markers."""
    tests = ("pretrained", "quick", "paper", "paper_replicate")
    metrics, quick, *paper = (read_json(TEST / name / "metrics.json") for name in tests)
    measured = (
        "network",
        "training",
        "browser",
        "ablation",
        "files",
        "node",
        "programs",
        "reliability",
        "restore",
        "films",
        "ensemble",
        "sizes",
        "presets",
    )
    speed, training, browser, ablation, files, node, programs, reliability, restore, films, ensemble, sizes, presets = (
        read_json(BENCHMARK / f"{name}.json") for name in measured
    )
    references = {"FSRCNN-PyTorch": ORIGINAL, "paper": PAPER}
    integers = read_json(BENCHMARK / "integers.json")
    return {
        "facts": facts(metrics, speed, files, training, integers),
        "set5": results_table(metrics, "fsrcnn", references, ["Set5"]),
        "fsrcnn": results_table(metrics, "fsrcnn", references),
        "fsrcnn_s": results_table(metrics, "fsrcnn_s", {"paper": PAPER_S}),
        "training": training_table(),
        "paper": paper_table(*paper),
        "ablation": ablation_table(ablation),
        "quick": quick_table(quick),
        "transfer": transfer_table(),
        "integers": integers_table(integers),
        "speed": speed_table(speed),
        "speed-reduced": reduced_table(speed),
        "speed-conditions": conditions_table(speed),
        "files": files_table(files),
        "browser": browser_table(browser),
        "browser-films": film_table(browser),
        "node": node_table(node),
        "programs": programs_table(programs),
        "programs-speed": programs_speed_table(programs),
        "reliability": reliability_table(reliability),
        "seeds": seeds_table(),
        "processes": processes_table(read_json(BENCHMARK / "processes.json")),
        "training-speed": training_speed_table(training),
        "large-sets": large_sets_table(read_json(BENCHMARK / "large_sets.json")),
        "restore": restore_table(restore),
        "restore-networks": restore_networks_table(restore),
        "restored": restored_rows(restore),
        "restored-films": films_table(films),
        "ensemble": ensemble_table(ensemble),
        "ensemble-speed": ensemble_speed_table(ensemble),
        "sizes": sizes_table(sizes),
        "chains": chains_table(sizes),
        "presets": presets_table(presets),
        "shares": shares_table(presets),
        "parts": parts_table(read_json(BENCHMARK / "parts.json")),
    }


def pages() -> dict[Path, str]:
    """README.md and the pages of docs/, with their tables made anew."""
    tables = made_tables()
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return {path: filled(path.read_text(encoding="utf-8"), tables) for path in paths}


def draw_transfer() -> None:
    """Draws PSNR against steps for the three ways to train the x2 network, as the paper's figure in section 3.4."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, log in transfer_logs().items():
        axes.plot(log["step"], log["psnr"], marker=".", label=name)
    axes.set(xscale="log", xlabel="steps", ylabel="PSNR in dB, validation pictures", title="fsrcnn_x2")
    axes.set_ylim(31.6, 32.15)  # only the first few hundred steps lie below
    axes.grid(alpha=0.3)
    axes.legend()
    with written_whole(TRANSFER / "curves.png") as unfinished:
        figure.savefig(unfinished, dpi=100)


def draw_paper() -> None:
    """Draws PSNR against steps for trainings by the paper's recipe, as it is and with one setting changed."""
    from matplotlib import color_sequences
    from matplotlib.figure import Figure

    logs = {label: read_log(BY_PAPER / "curves" / f"{name}.csv") for name, label in PAPER_CURVES.items()}
    finetuned, before = read_log(BY_PAPER / "paper_x3_finetuned" / "log.csv"), logs[PAPER_CURVES["batch_8"]]["step"][-1]
    logs["then General-100, rates halved"] = finetuned | {"step": [before + step for step in finetuned["step"]]}
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots()
    axes.set_prop_cycle(color=color_sequences["tab20"])
    for label, log in logs.items():
        axes.plot(log["step"], log["psnr"], linewidth=1, marker=".", markersize=3, label=label)
    axes.set(xscale="log", xlabel="steps", ylabel="PSNR in dB, validation pictures", title="fsrcnn_x3 on T91")
    axes.set_ylim(28.0, 28.9)  # only the first steps lie below
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right center", fontsize="small")
    with written_whole(BY_PAPER / "curves.png") as unfinished:
        figure.savefig(unfinished, dpi=100)


def draw_enlarged() -> None:
    """Draws part of a photograph that comes with scikit-image, reduced by 3, enlarged by bicubic interpolation and by
    FSRCNN as upscale.py does it.
    """
    from matplotlib.figure import Figure

    lr = to_uint8(imresize(modcrop(skimage.data.astronaut(), 3), 1 / 3))
    network = load_network(shipped_weights("fsrcnn", 3), 3, "cpu")
    with TemporaryDirectory() as folder:
        small, large = Path(folder) / "lr.png", Path(folder) / "sr.png"
        write_image(small, lr)
        upscale_picture(small, large, network)
        pictures = {"bicubic": to_uint8(imresize(lr, 3)), "FSRCNN": read_image(large)}
    figure = Figure(figsize=(9, 3.9), layout="constrained")
    for axes, (name, picture) in zip(figure.subplots(1, 2), pictures.items(), strict=True):
        axes.imshow(picture[250:450, 70:330])
        axes.set_title(name)
        axes.axis("off")
    with written_whole(ROOT / "assets" / "enlarged.png") as unfinished:
        figure.savefig(unfinished, dpi=100)


def draw_restore() -> None:
    """Draws the first set's PSNR against the quality at each scale, by method."""
    from matplotlib.figure import Figure

    entries = restore_entries(read_json(BENCHMARK / "restore.json"))
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for axes, scale in zip(figure.subplots(1, len(SCALES)), SCALES, strict=True):
        found = [entries[Case(TESTED[0], scale, "fsrcnn", quality)] for quality in QUALITIES]
        for method in METHODS:
            axes.plot([entry[method]["luma"] for entry in found], marker=".", label=method)
        axes.set(title=f"{TESTED[0]} x{scale}", xlabel="JPEG quality", ylabel="PSNR in dB")
        axes.set_xticks(range(len(QUALITIES)), [str(quality or "clean") for quality in QUALITIES], fontsize="small")
        axes.grid(alpha=0.3)
    axes.legend()
    with written_whole(BENCHMARK / "restore.png") as unfinished:
        figure.savefig(unfinished, dpi=100)


def draw_restored() -> None:
    """Draws part of a photograph that comes with scikit-image, reduced by 2 and saved as JPEG, enlarged by bicubic
    interpolation and by upscale.py, not restored and restored.
    """
    from matplotlib.figure import Figure

    network = load_network(shipped_weights("fsrcnn", 2), 2, "cpu")
    with TemporaryDirectory() as name:
        folder = Path(name)
        source = write_small(folder, reduced(skimage.data.astronaut(), 2), SHOWN_QUALITY)
        pictures = {f"JPEG {SHOWN_QUALITY}, bicubic": to_uint8(imresize(read_image(source), 2))}
        ways: dict[str, Restore] = {"not restored": 0, "upscale.py": AUTO}
        for title, asked in ways.items():
            upscale_picture(source, folder / "sr.png", network, Restoration(asked, network))
            pictures[title] = read_image(folder / "sr.png")
    figure = Figure(figsize=(12, 3.9), layout="constrained")
    for axes, (title, picture) in zip(figure.subplots(1, 3), pictures.items(), strict=True):
        axes.imshow(picture[40:210, 130:330])
        axes.set_title(title)
        axes.axis("off")
    with written_whole(ROOT / "assets" / "restored.png") as unfinished:
        figure.savefig(unfinished, dpi=100)


def main() -> None:
    Parser(description=__doc__).parse_args()
    draw_enlarged()
    draw_restore()
    draw_restored()
    draw_transfer()
    draw_paper()
    for log in sorted(PRETRAINED.rglob("*.csv")):
        draw_curve(log, log.with_suffix(".png"), log.stem)
    for path, text in pages().items():
        with written_whole(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run_script(main)

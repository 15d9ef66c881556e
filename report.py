"""Writes the README's tables and the training curves from the files in results/: `python report.py`."""

import csv
import json
import re
from pathlib import Path
from typing import Any

from errors import run_script
from files import written_whole

ROOT = Path(__file__).parent
METRICS = ROOT / "results" / "test" / "pretrained" / "metrics.json"
PRETRAINED = ROOT / "results" / "pretrained"
SETS, SCALES = ("Set5", "Set14", "BSD100"), (2, 3, 4)

# PSNR in dB and SSIM by set and scale. The paper's tables, BSD100 as later papers quote it:
PAPER = {
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
# FSRCNN-PyTorch's README:
ORIGINAL = {
    ("Set5", 2): (36.76, 0.9564),
    ("Set5", 3): (32.46, 0.9051),
    ("Set5", 4): (30.37, 0.8589),
    ("Set14", 2): (32.33, 0.9089),
    ("Set14", 3): (28.85, 0.8181),
    ("Set14", 4): (27.20, 0.7507),
}


def results_table(metrics: dict[str, Any]) -> str:
    """The README's comparison, in Markdown; the best figures of a row are bold."""
    lines = ["| set, scale | bicubic | FSRCNN-PyTorch | paper | this repository |", "| --- | --- | --- | --- | --- |"]
    for set_name in SETS:
        for scale in SCALES:
            entry, key = metrics[f"fsrcnn_x{scale}"][set_name], (set_name, scale)
            ours = [(entry[method]["psnr"], entry[method]["ssim"]) for method in ("bicubic", "fsrcnn")]
            row = [ours[0], ORIGINAL.get(key), PAPER[key], ours[1]]
            best = [max(round(pair[i], digits) for pair in row if pair) for i, digits in ((0, 2), (1, 4))]
            lines.append(f"| {set_name} x{scale} | " + " | ".join(_cell(pair, best) for pair in row) + " |")
    return "\n".join(lines)


def _cell(pair: tuple[float, float] | None, best: list[float]) -> str:
    if pair is None:
        return "not reported"
    texts = (f"{pair[0]:.2f}", f"{pair[1]:.4f}")
    return " / ".join(f"**{text}**" if float(text) == top else text for text, top in zip(texts, best, strict=True))


def training_table() -> str:
    """What the json files beside the shipped weights say of their training, in Markdown."""
    lines = ["| weights | steps | best at | minutes | validation |", "| --- | --- | --- | --- | --- |"]
    for path in sorted(PRETRAINED.glob("*.json")):
        said = json.loads(path.read_text(encoding="utf-8"))
        score = f"{said['validation']['psnr']:.2f} / {said['validation']['ssim']:.4f}"
        steps, best, minutes = said["recipe"]["steps"], said["step"], said["seconds"] / 60
        lines.append(f"| {path.stem} | {steps:,} | {best:,} | {minutes:.0f} | {score} |")
    return "\n".join(lines)


def filled(text: str, tables: dict[str, str]) -> str:
    """The text with each table between its markers, <!-- name --> and <!-- /name -->."""
    for name, table in tables.items():
        text = re.sub(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", rf"\g<1>{table}\n\g<2>", text, flags=re.DOTALL)
    return text


def readme() -> str:
    """The README with its tables made anew."""
    tables = {"table": results_table(json.loads(METRICS.read_text(encoding="utf-8"))), "training": training_table()}
    return filled((ROOT / "README.md").read_text(encoding="utf-8"), tables)


def draw_curve(log: Path) -> None:
    """Draws a training's log.csv, PSNR on the validation pictures against steps and against time, beside it."""
    from matplotlib.figure import Figure  # here, because only the makers of the weights need it

    with log.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    psnr, steps, minutes = ([float(row[field]) for row in rows] for field in ("psnr", "step", "seconds"))
    minutes = [seconds / 60 for seconds in minutes]
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for each, x, label in zip(axes, (steps, minutes), ("steps", "minutes"), strict=True):
        each.plot(x, psnr, marker=".")
        each.set_xlabel(label)
        each.grid(alpha=0.3)
    axes[0].set_ylabel("PSNR in dB, validation pictures")
    figure.suptitle(log.stem)
    with written_whole(log.with_suffix(".png")) as unfinished:
        figure.savefig(unfinished, dpi=100)


def main() -> None:
    for log in sorted(PRETRAINED.glob("*.csv")):
        draw_curve(log)
    text = readme()
    with written_whole(ROOT / "README.md") as unfinished:
        unfinished.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run_script(main)

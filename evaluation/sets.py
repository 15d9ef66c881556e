"""The sets that networks are scored on."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from config import PUBLIC_TEST_SETS
from dataset import SAMPLE_PICTURES, EvaluationPair, folder_pairs, list_images, sample_pairs, set_folder
from evaluation.scores import told_apart


class TestSet(NamedTuple):
    """A set to score on. folder: name of the folder for its recovered pictures; pairs_at: takes the scale."""

    folder: str
    pictures: int
    pairs_at: Callable[[int], Iterator[EvaluationPair]]


def test_sets(names: tuple[str, ...], data_dir: Path) -> dict[str, TestSet]:
    """The sets to score on, by the names they were given; Samples if none of the default sets is there yet."""
    if names == PUBLIC_TEST_SETS:
        there = tuple(name for name in names if (data_dir / name).is_dir())
        if missing := [name for name in names if name not in there]:
            instead = "" if there else "; scoring on Samples, photographs that come with scikit-image, instead"
            print(f"not in {data_dir}: {', '.join(missing)} (`python prepare_dataset.py` brings them){instead}")
        names = there or ("Samples",)
    named = {set_folder(data_dir, name): name for name in dict.fromkeys(names) if name != "Samples"}
    folders = told_apart(named, lambda folder: folder.resolve().name)
    sets = {
        named[path]: TestSet(own, len(list_images(path)), partial(folder_pairs, path)) for own, path in folders.items()
    }
    return sets | ({"Samples": TestSet("Samples", len(SAMPLE_PICTURES), sample_pairs)} if "Samples" in names else {})

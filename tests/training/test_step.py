"""FlatSGD takes the steps of PyTorch's SGD."""

from pathlib import Path

import pytest
import torch

from config import RECIPES, Config
from dataset import TrainingPatches, load_training_images, training_paths
from training.run import Run, load_run, save_run, start_run
from training.step import BatchLoss, FlatSGD, loss_to_train, train_step


def trained(config: Config, patches: TrainingPatches, flat: bool, folder: Path) -> Run:
    """A run after some steps, saved and loaded in their middle."""
    run = start_run(config, torch.device("cpu"))
    for stop in (4, 9):
        batch_loss = loss_to_train(run, config)
        assert isinstance(batch_loss, FlatSGD)
        while run.step < stop:
            train_step(run, config, batch_loss if flat else BatchLoss(run.model), patches)
        save_run(run, config, folder / "last.pth")
        run = load_run(config, torch.device("cpu"), folder / "last.pth")
    return run


@pytest.mark.parametrize("deconv_only_steps", [0, 4])
def test_flat_sgd_does_the_steps_of_pytorchs(data_dir: Path, tmp_path: Path, deconv_only_steps: int):
    settings = {**RECIPES["paper"], "train_sets": ("Train",), "batch_size": 4, "learning_rate": 1e-4}
    config = Config(upscale_factor=(3,), data_dir=data_dir, deconv_only_steps=deconv_only_steps, **settings)
    images, _ = load_training_images(training_paths(data_dir, config.train_sets), 33)
    patches = TrainingPatches(images, 3, config.patch_size, config.seed, margin=config.patch_margin)
    flat = trained(config, patches, True, tmp_path)
    start = start_run(config, torch.device("cpu"))
    for first, now in zip(start.model.parameters(), flat.model.parameters(), strict=True):
        assert not torch.equal(first, now)
    if deconv_only_steps:
        return
    plain = trained(config, patches, False, tmp_path)
    for one, other in ((flat.model, plain.model), (flat.average, plain.average)):
        for ours, theirs in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)

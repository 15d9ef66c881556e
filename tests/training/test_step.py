"""FlatSGD takes the steps of PyTorch's SGD; a step on compressed pictures is one of the blended weights."""

from pathlib import Path

import pytest
import torch

from config import RECIPES, Config
from train import training_pictures
from training.patches import TrainingPatches
from training.recipe import blend_of
from training.run import Run, blended, load_run, save_run, start_run
from training.step import BatchLoss, FlatSGD, blended_weights, loss_to_train, train_step


def trained(config: Config, patches: TrainingPatches, flat: bool, folder: Path) -> Run:
    """A run after some steps, saved and loaded in their middle."""
    run = start_run(config, torch.device("cpu"))
    for stop in (4, 9):
        batch_loss = loss_to_train(run, config)
        assert isinstance(batch_loss, FlatSGD)
        while run.step < stop:
            train_step(run, config, batch_loss if flat else BatchLoss(run.model), patches)
        save_run(run, config, folder)
        run = load_run(config, torch.device("cpu"), folder)
    return run


@pytest.mark.parametrize("deconv_only_steps", [0, 4])
def test_flat_sgd_does_the_steps_of_pytorchs(data_dir: Path, tmp_path: Path, deconv_only_steps: int):
    settings = {**RECIPES["paper"], "train_sets": ("Train",), "batch_size": 4, "learning_rate": 1e-4}
    config = Config(upscale_factor=(3,), data_dir=data_dir, deconv_only_steps=deconv_only_steps, **settings)
    patches = TrainingPatches(training_pictures(config), config.patch_size, config.seed, margin=config.patch_margin)
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


def test_blends_by_quality():
    assert [blend_of(quality) for quality in (None, 10, 30, 95, 100)] == [1, 1, 1, 0.2, 0]
    assert blend_of(75) == pytest.approx((blend_of(70) + blend_of(80)) / 2)


def test_the_gradient_of_blended_weights():
    run = start_run(Config(upscale_factor=(2,), variant="fsrcnn_s"), torch.device("cpu"))
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in run.model.parameters():
            weight.add_(0.01 * torch.randn_like(weight))
    own = [weight.detach().clone() for weight in run.model.parameters()]
    lr, hr = torch.rand(2, 1, 9, 9), torch.rand(2, 1, 18, 18)
    with blended_weights(run, 0.25):
        run.model.error(lr, hr, squared=True).backward()
    between = blended(run.model, run.begin, 0.25)
    between.zero_grad()
    between.error(lr, hr, squared=True).backward()
    weights = zip(run.model.parameters(), own, between.parameters(), run.begin, strict=True)
    for weight, before, there, begin in weights:
        assert torch.equal(weight, before)
        torch.testing.assert_close(there, begin + 0.25 * (before - begin))
        torch.testing.assert_close(weight.grad, 0.25 * there.grad)

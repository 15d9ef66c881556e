"""A training step: a batch's loss, its gradient, and how the weights and their average move on."""

import ctypes
import sys

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from config import Config
from dataset import TrainingPatches
from devices import rank_and_ranks
from model import HOST, CollapsibleFSRCNN
from native.threads import take_threads
from training.recipe import Loss, learning_rate_factor, loss_of_step
from training.run import Run


class BatchLoss(nn.Module):
    """The loss of a batch as a module's output, which is what DistributedDataParallel takes."""

    def __init__(self, model: CollapsibleFSRCNN) -> None:
        super().__init__()
        self.model = model

    def forward(self, lr: Tensor, hr: Tensor, loss: Loss) -> Tensor:
        """Of patches N x 1 x H x W and N x 1 x scale*H x scale*W."""
        return self.model.error(lr, hr, loss.squared) / loss.divisor(hr)


def loss_to_train(run: Run, config: Config) -> nn.Module:
    """The loss with the layers of this step set to be trained, gradients averaged over the processes."""
    for name, parameter in run.model.named_parameters():
        parameter.requires_grad_(run.step >= config.deconv_only_steps or name.startswith("deconv."))
    batch_loss = BatchLoss(run.model)
    return DistributedDataParallel(batch_loss) if dist.is_initialized() else batch_loss


def train_step(run: Run, config: Config, batch_loss: nn.Module, patches: TrainingPatches) -> Tensor:
    """One batch: the weights and their average move on. Returns the loss of this process's part, on the device.

    batch_loss: from `loss_to_train`.
    """
    factor = learning_rate_factor(config, run.step)
    for group in run.optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    lr, hr = patches.batch(run.step, config.batch_size, *rank_and_ranks())
    loss = batch_loss(lr, hr, loss_of_step(config, run.step))
    run.optimizer.zero_grad()
    loss.backward()
    run.optimizer.step()
    # Early on the average reaches back over the steps there are, not into the starting weights.
    decay = min(config.ema_decay, run.step / (run.step + 10))
    with torch.no_grad():
        torch._foreach_lerp_(list(run.average.parameters()), run.model.collapsed_parameters(), 1 - decay)
    run.step += 1
    return loss.detach()


def prepare_cpu() -> None:
    """Makes training on a CPU faster, for the rest of this process.

    The compiled functions take the threads, and PyTorch's operations, which are small here, run on one. glibc keeps
    freed arrays for the next step: by default it returns the large ones to the kernel, and each step gets them back
    cleared page by page.
    """
    if HOST:
        take_threads()
    trim_threshold, mmap_threshold = -1, -3  # from malloc.h
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(mmap_threshold, 2**30)

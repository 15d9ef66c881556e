"""A training step: a batch's loss, its gradient, and the update of the weights and their average."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from config import Config
from fsrcnn.devices import keep_freed_memory, rank_and_ranks
from fsrcnn.native import HOST
from training.form import TrainingFSRCNN
from training.patches import TrainingPatches
from training.recipe import MOMENTUM, Loss, blend_of, learning_rate_factor, loss_of_step
from training.run import Run
from training.threads import take_threads

if TYPE_CHECKING:
    from fsrcnn.native.target import Target

if HOST:
    from training.gradient import error_and_gradient


class BatchLoss(nn.Module):
    """The loss of a batch as a module's output, which is what DistributedDataParallel takes."""

    def __init__(self, model: TrainingFSRCNN) -> None:
        super().__init__()
        self.model = model

    def forward(self, lr: Tensor, hr: Tensor, loss: Loss) -> Tensor:
        """The loss of patches N x 1 x H x W and N x 1 x scale*H x scale*W."""
        return self.model.error(lr, hr, loss.squared) / loss.divisor(hr)


class FlatSGD:
    """SGD with momentum on the compiled gradient, with all parameters in one vector, all momenta in another, and so on.

    The paper's recipe takes many steps on small batches: autograd, and an optimizer that goes through the parameters
    one by one, would take most of the time.
    """

    def __init__(self, run: Run, config: Config, target: "Target") -> None:
        """Makes the tensors of the run views of the vectors."""
        parameters: list[Tensor] = list(run.model.parameters())
        states = [run.optimizer.state[parameter] for parameter in parameters]
        momenta = [
            state.setdefault("momentum_buffer", torch.zeros_like(parameter))
            for state, parameter in zip(states, parameters, strict=True)
        ]
        self.weights, self.average, self.momentum = map(in_one_vector, (parameters, run.averaged, momenta))
        rates = {id(each): group["base_lr"] for group in run.optimizer.param_groups for each in group["params"]}
        self.rates = torch.cat([torch.full((each.numel(),), rates[id(each)]) for each in parameters])
        self.sizes, self.target = run.model.sizes, target
        self.everything = run.step >= config.deconv_only_steps

    def step(self, lr: Tensor, hr: Tensor, loss: Loss, rate_factor: float, decay: float) -> Tensor:
        """Updates the weights and their average; returns the loss."""
        of_batch = self.weights, lr, hr, self.sizes, loss.squared, self.everything, self.target
        error, gradient = error_and_gradient(*of_batch)
        self.momentum.mul_(MOMENTUM).add_(gradient, alpha=1 / loss.divisor(hr))
        self.weights.addcmul_(self.momentum, self.rates, value=-rate_factor)
        self.average.lerp_(self.weights, 1 - decay)
        return error / loss.divisor(hr)


def in_one_vector(tensors: list[Tensor]) -> Tensor:
    """Joins the tensors' values end to end and makes the tensors views of the result."""
    vector = torch.cat([tensor.detach().flatten() for tensor in tensors])
    for tensor, values in zip(tensors, vector.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.data = values.view(tensor.shape)
    return vector


def loss_to_train(run: Run, config: Config) -> nn.Module | FlatSGD:
    """The loss as a module, with the layers that this step trains unfrozen and gradients averaged over the processes;
    or a FlatSGD, which needs neither, where it can run.
    """
    on_cpu = run.model.deconv.weight.device.type == "cpu"
    plain = config.optimizer == "sgd" and not config.jpeg_qualities and not dist.is_initialized()
    if HOST and on_cpu and plain:
        return FlatSGD(run, config, HOST)
    for name, parameter in run.model.named_parameters():
        parameter.requires_grad_(run.step >= config.deconv_only_steps or name.startswith("deconv."))
    batch_loss = BatchLoss(run.model)
    return DistributedDataParallel(batch_loss) if dist.is_initialized() else batch_loss


@contextmanager
def blended_weights(run: Run, blend: float) -> Iterator[None]:
    """Interpolates the model's weights between the starting ones, at a blend of 0, and their own values, at 1, inside
    the block; afterwards restores them and scales the gradient to that of their own values.
    """
    if blend == 1:
        yield
        return
    weights, kept = run.trained, [weight.detach().clone() for weight in run.trained]
    with torch.no_grad():
        torch._foreach_lerp_(weights, run.begin, 1 - blend)
    yield
    with torch.no_grad():
        torch._foreach_copy_(weights, kept)
        torch._foreach_mul_([weight.grad for weight in weights if weight.grad is not None], blend)


def train_step(run: Run, config: Config, batch_loss: nn.Module | FlatSGD, patches: TrainingPatches) -> Tensor:
    """Updates the weights and their average by one batch. Returns the loss of this process's share, on the device.

    batch_loss: from `loss_to_train`.
    """
    factor = learning_rate_factor(config, run.step)
    for group in run.optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    lr, hr = patches.batch(run.step, config.batch_size, *rank_and_ranks())
    kind = loss_of_step(config, run.step)
    # Early on the average spans only the steps so far, so that it forgets the starting weights.
    decay = min(config.ema_decay, run.step / (run.step + 10))
    blend = blend_of(patches.quality(run.step))
    run.step += 1
    if isinstance(batch_loss, FlatSGD):
        return batch_loss.step(lr, hr, kind, factor, decay)
    run.optimizer.zero_grad()
    with blended_weights(run, blend):
        loss = batch_loss(lr, hr, kind)
        loss.backward()
    run.optimizer.step()
    with torch.no_grad():
        torch._foreach_lerp_(run.averaged, run.trained, 1 - decay)
    return loss.detach()


def prepare_cpu() -> None:
    """Makes training on a CPU faster, for the rest of this process.

    The compiled functions run on all threads, and PyTorch's operations, which are small here, on one.
    """
    if HOST:
        take_threads()
    keep_freed_memory()

"""The threads of a training step on a CPU: the compiled gradient's, and those of PyTorch's operations."""

import torch

_taken: int | None = None


def get_num_threads() -> int:
    """How many threads the compiled gradient runs on: as many as PyTorch's operations, unless it took those."""
    return _taken or torch.get_num_threads()


def take_threads() -> None:
    """From now on the compiled gradient runs on as many threads as PyTorch does now, and PyTorch's operations on one:
    they are small, thus faster so, and PyTorch's idle threads, which wait in a busy loop, slow the gradient.
    """
    global _taken
    _taken = get_num_threads()
    torch.set_num_threads(1)

"""The threads of a training step on a CPU: the compiled gradient's, and those of PyTorch's operations."""

import torch

_taken: int | None = None


def get_num_threads() -> int:
    """How many threads the compiled gradient runs on: as many as PyTorch, now or when `take_threads` took them."""
    return _taken or torch.get_num_threads()


def take_threads() -> None:
    """Gives PyTorch's threads to the compiled gradient and leaves PyTorch's operations one: they are small and thus
    faster on one, and PyTorch's idle threads, which wait in a busy loop, slow the gradient.
    """
    global _taken
    _taken = get_num_threads()
    torch.set_num_threads(1)

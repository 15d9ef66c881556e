"""Where a run computes: its device, and the processes that torchrun starts."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist

from errors import RequestError


def select_device(name: str) -> torch.device:
    """The device of a name as torch takes it, or "auto": CUDA, else MPS, else the CPU.

    Raises RequestError for a device that this machine or this build of torch does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RequestError(
            f"device: {name} cannot be used here ({str(error).splitlines()[0]}); try auto or cpu"
        ) from error
    return device


def join_processes(device: str, patience: timedelta | None = None) -> str:
    """Under torchrun joins its processes, each of which gets a GPU of its own where there are GPUs to choose from;
    returns the name of this process's device. Without torchrun it is the name given.

    patience: how long a process waits for the others before it gives up; None: PyTorch's own minutes.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return device
    on_cuda = device in ("auto", "cuda") and torch.cuda.is_available()
    if on_cuda:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_cuda else "gloo", timeout=patience)
    return device


def rank_and_ranks() -> tuple[int, int]:
    """This process's number and the number of processes that torchrun started; (0, 1) without it."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def leave_processes() -> None:
    """Ends what `join_processes` began, if it did."""
    if dist.is_initialized():
        dist.destroy_process_group()

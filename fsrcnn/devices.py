"""Where a run computes: its device, and the processes that torchrun starts.

PyTorch is imported where it is needed: upscale.py on a CPU runs without it, which saves most of its start-up time.
"""

import ctypes.util
import importlib.util
import os
import platform
import socket
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from fsrcnn.errors import FailureError, RequestError

if TYPE_CHECKING:
    import torch
    from torch._C._distributed_c10d import Store

# How long a process waits for the first one when they join, how many seconds for an answer, and between two questions.
FIRST_PATIENCE, ONE_TRY, PAUSE = timedelta(minutes=5), 2.0, 0.1
STORE_PORT = "port of the store"

# Files that exist if there may be a GPU for PyTorch: NVIDIA's, AMD's, that of Windows seen from WSL, or a Jetson's.
SIGNS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg", "/dev/nvmap")


def is_cpu(name: str) -> bool:
    """Whether `select_device` would certainly take the CPU for this name, decided without importing PyTorch."""
    if name != "auto":
        return name == "cpu"
    if importlib.util.find_spec("torch") is None:
        return True
    if platform.system() == "Windows":
        return not (ctypes.util.find_library("nvcuda") or ctypes.util.find_library("amdhip64"))
    if platform.system() == "Darwin":
        return platform.machine() != "arm64"
    return not any(Path(sign).exists() for sign in SIGNS)


def cpu_threads() -> int:
    """Number of threads to compute on: OMP_NUM_THREADS, which torchrun sets too, or all cores of this process."""
    if os.environ.get("OMP_NUM_THREADS", "").isdecimal():
        return max(int(os.environ["OMP_NUM_THREADS"]), 1)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Makes glibc keep freed arrays for the next step or picture. By default it returns large ones to the kernel, which
    clears them page by page before it gives them out again.
    """
    trim_threshold, mmap_threshold = -1, -3  # from malloc.h
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(mmap_threshold, 2**30)


def select_device(name: str) -> "torch.device":
    """The device by torch's name for it, or "auto": CUDA, else MPS, else the CPU. Makes NVIDIA's and AMD's GPUs compute
    as a CPU does: in full float32 and deterministically.

    Raises RequestError for a device that this machine or this build of torch does not have.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise RequestError(f"device: {name} needs PyTorch: pip install torch ({error})") from error

    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.ones(1, device=device).cpu()  # a GPU that this build does not support fails only here
    except (RuntimeError, AssertionError) as error:
        raise RequestError(
            f"device: {name} cannot be used here ({str(error).splitlines()[0]}); try auto or cpu"
        ) from error
    return device


def join_processes(device: str, patience: timedelta | None = None) -> str:
    """Joins the processes that torchrun started and returns the name of this process's device: with CUDA a GPU of its
    own, unless `device` names another. Returns `device` without torchrun.

    patience: how long a process waits for the others before it gives up; None: PyTorch's default of some minutes.
    Raises RequestError if there are fewer GPUs than processes, for MPS, which gloo does not support, and for a port 0,
    which torchrun passes on as it is: its processes would wait for each other in vain.
    """
    if not under_torchrun():
        return device
    if os.environ.get("MASTER_PORT") == "0":
        raise RequestError("torchrun: --master-port 0 is no port; leave it out, or --standalone takes a free one")
    import torch
    import torch.distributed as dist

    on_cuda = device in ("auto", "cuda") and torch.cuda.is_available()
    if on_cuda:
        local_rank, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local_rank >= gpus:
            raise RequestError(f"torchrun: more processes than GPUs; at most --nproc-per-node {gpus}, or --device cpu")
        device = f"cuda:{local_rank}"
        torch.cuda.set_device(device)
    elif device.partition(":")[0] == "mps":
        raise RequestError(f"device: {device} cannot train in several processes; leave torchrun out, or --device cpu")
    elif device == "auto":
        device = "cpu"
    store, rank, ranks = _own_store(patience or FIRST_PATIENCE)
    backend = "cpu:gloo,cuda:nccl" if on_cuda else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=ranks, timeout=patience)
    return device


def _own_store(patience: timedelta) -> "tuple[Store, int, int]":
    """A store of these processes alone, by which they find each other; this process's number, and how many there are.

    That of torchrun still has, after a restart, the addresses of the processes before
    (https://github.com/pytorch/pytorch/issues/135712). They have all ended by then, so that no store answers at an old
    one of these ports.
    """
    from torch._C._distributed_c10d import TCPStore
    from torch.distributed.rendezvous import rendezvous

    host, deadline = os.environ["MASTER_ADDR"], time.monotonic() + patience.total_seconds()
    of_torchrun, rank, ranks = next(rendezvous("env://", timeout=patience))
    if rank == 0:
        store = TCPStore(host, 0, ranks, is_master=True, wait_for_workers=False)
        of_torchrun.set(STORE_PORT, str(store.port))
        return store, rank, ranks
    while not _answers(host, port := int(of_torchrun.get(STORE_PORT))):
        if time.monotonic() > deadline:
            raise FailureError(f"torchrun: its first process, on {host}, did not answer in {patience}")
        time.sleep(PAUSE)
    return TCPStore(host, port, ranks, is_master=False), rank, ranks


def _answers(host: str, port: int) -> bool:
    """Whether a process listens there. To ask the store itself would print pages of errors where none does."""
    try:
        socket.create_connection((host, port), ONE_TRY).close()
    except OSError:
        return False
    return True


def under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank_and_ranks() -> tuple[int, int]:
    """This process's number and the number of processes that torchrun started; (0, 1) without it."""
    if not under_torchrun():
        return 0, 1
    import torch.distributed as dist

    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def is_first_on_machine() -> bool:
    """Whether this is the first of the processes that torchrun started on this machine, or the only one."""
    return os.environ.get("LOCAL_RANK", "0") == "0" or not under_torchrun()


def leave_processes() -> None:
    """Leaves the processes that `join_processes` joined, if there are any."""
    if not under_torchrun():
        return
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()

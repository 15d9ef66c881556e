"""Ctrl-C and SIGTERM: the step under way is finished before the training stops."""

import signal
from types import FrameType

import torch
import torch.distributed as dist

STEPS_BETWEEN_AGREEMENTS = 10  # after so many steps, several processes agree on whether to stop


class Interruption:
    """Notes a Ctrl-C or SIGTERM so that the step under way can be finished; a second one ends the program at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> "Interruption":
        self._handlers = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        self.__exit__()


def stop_asked(interruption: Interruption, step: int, device: torch.device) -> bool:
    """Whether to stop before the next step; several processes agree every STEPS_BETWEEN_AGREEMENTS steps."""
    if not dist.is_initialized():
        return interruption.signal is not None
    if step % STEPS_BETWEEN_AGREEMENTS:
        return False
    signals = torch.tensor(float(interruption.signal or 0), device=device)
    dist.all_reduce(signals, dist.ReduceOp.MAX)
    interruption.signal = int(signals) or None
    return interruption.signal is not None

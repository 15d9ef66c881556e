"""Ctrl-C, SIGTERM and a closed terminal: the step under way is finished before the training stops."""

import os
import signal
import sys
from types import FrameType

import torch
import torch.distributed as dist

STEPS_BETWEEN_AGREEMENTS = 10  # after so many steps, several processes agree on whether to stop
SIGNALS = [signal.SIGINT, signal.SIGTERM]
if sys.platform != "win32":
    SIGNALS.append(signal.SIGHUP)  # of a terminal that is closed


class Interruption:
    """Notes one of SIGNALS so that the step under way can be finished; a second one ends the program at once.

    A signal that is ignored when the training starts, as SIGHUP is under nohup, stays ignored.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> "Interruption":
        noted = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        self._handlers = {number: signal.signal(number, self._note) for number in noted}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        self.__exit__()
        _leave_closed_terminal()


def _leave_closed_terminal() -> None:
    """Lets the output go nowhere that went to a terminal that is no more: writing to it would end the program."""
    for descriptor in (1, 2):
        try:
            os.write(descriptor, b"")
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


def stop_asked(interruption: Interruption, step: int, steps: int, device: torch.device) -> bool:
    """Whether to stop before the next step, or after the last of `steps`; several processes agree on it every
    STEPS_BETWEEN_AGREEMENTS steps and at the end.
    """
    if not dist.is_initialized():
        return interruption.signal is not None
    if step % STEPS_BETWEEN_AGREEMENTS and step != steps:
        return False
    signals = torch.tensor(float(interruption.signal or 0), device=device)
    dist.all_reduce(signals, dist.ReduceOp.MAX)
    interruption.signal = int(signals) or None
    return interruption.signal is not None

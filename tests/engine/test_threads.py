"""The threads that the compiled functions share their work among."""

import os
import threading
import time

import pytest

from fsrcnn.native.threads import in_threads


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="other systems do not let choose the cores of threads")
def test_helpers_keep_from_the_core_of_the_thread_that_calls_them():
    cores, allowed = os.sched_getaffinity(0), {}

    def look(_: int) -> None:
        allowed[threading.get_native_id()] = os.sched_getaffinity(0)
        time.sleep(0.05)

    for _ in range(2):  # in the first call, the helper is not there yet
        in_threads(look, [(0,), (1,)], 2)
    assert allowed.pop(threading.get_native_id()) == cores
    (helper,) = allowed.values()
    assert helper < cores or len(cores) == 1
    assert len(helper) == max(1, len(cores) - 1)

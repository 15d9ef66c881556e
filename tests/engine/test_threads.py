"""The threads that the compiled functions share their work among."""

import os
import threading

import pytest

from fsrcnn.native.threads import _helpers, _send_away, in_threads

CHOOSES_CORES = hasattr(os, "sched_setaffinity")


@pytest.mark.skipif(not CHOOSES_CORES, reason="other systems do not let choose the cores of threads")
def test_helpers_wake_on_another_core_and_then_run_where_their_caller_may():
    cores, allowed, both = os.sched_getaffinity(0), {}, threading.Barrier(2, timeout=30)

    def look(_: int) -> None:
        allowed[threading.get_native_id()] = os.sched_getaffinity(0)
        both.wait()

    def look_from_one_core() -> None:
        os.sched_setaffinity(0, {min(cores)})
        in_threads(look, [(0,), (1,)], 2)

    in_threads(look, [(0,), (1,)], 2)  # there are no helpers before
    helpers = _helpers(os.getpid(), 2).numbers
    _send_away(helpers, cores)
    assert all(len(os.sched_getaffinity(helper)) == max(1, len(cores) - 1) for helper in helpers)
    allowed.clear()  # of the helpers there are, another one may help now
    in_threads(look, [(0,), (1,)], 2)
    assert len(allowed) == 2
    assert all(each == cores for each in allowed.values())
    allowed.clear()
    caller = threading.Thread(target=look_from_one_core)  # of which alone the cores are chosen
    caller.start()
    caller.join()
    assert len(allowed) == 2
    assert all(each == {min(cores)} for each in allowed.values())

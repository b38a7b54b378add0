"""Freed memory of a large tensor is used again without new pages."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, threading
import numpy as np
if sys.argv[1] == "kept":
    from autophage.host.freed_memory import keep_freed_memory
    keep_freed_memory()

def work():
    for number in range(12):
        if number == 2:
            start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.ones(100 << 20, dtype=np.uint8)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start)

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
TEN_ARRAYS = 10 * (100 << 20) // resource.getpagesize()


def page_faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone has mallopt")
def test_a_large_array_in_a_thread_takes_the_pages_of_the_one_before() -> None:
    assert page_faults("kept") < TEN_ARRAYS / 100
    assert page_faults("returned") > TEN_ARRAYS / 1000

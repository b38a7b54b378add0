"""Faults of published kernels on a CPU. `faults.py` describes each one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.kernels import faults


@pytest.mark.parametrize(
    "fault", [*faults.EVERYWHERE, faults.rows_beyond_the_65535th], ids=lambda fault: fault.__name__
)
def test_does_not_have(fault: Callable[[], None]) -> None:
    fault()

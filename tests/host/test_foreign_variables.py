from __future__ import annotations

import os
import subprocess
import sys

import pytest

from autophage.host.environment import process_variables
from autophage.host.foreign_variables import is_foreign, leave_behind, noted

HOSTILE = {
    **{"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29555"},
    **{"PMI_SIZE": "2", "PMI_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "SLURM_PROCID": "3"},
    **{"ACCELERATE_MIXED_PRECISION": "fp16", "ACCELERATE_USE_FSDP": "true", "TORCHELASTIC_RUN_ID": "x"},
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_launchers_variables_are_left_behind(name: str) -> None:
    environment = {name: HOSTILE[name], "HOME": "/root", "CUDA_VISIBLE_DEVICES": "0", "VLLM_CACHE_ROOT": "/c"}
    leave_behind(environment)
    assert sorted(environment) == ["CUDA_VISIBLE_DEVICES", "HOME", "VLLM_CACHE_ROOT"]


@pytest.mark.parametrize("name", ["PATH", "SLURM_JOB_ID", "HF_HOME", "RANKING", "OMP_NUM_THREADS", "RAY_ADDRESS"])
def test_other_variables_stay(name: str) -> None:
    assert not is_foreign(name)


def test_what_mattered_is_recorded_without_secrets_and_without_our_own() -> None:
    own = process_variables()
    environment = {**own, **HOSTILE, "VLLM_ATTENTION_BACKEND": "X", "VLLM_API_KEY": "secret", "KMP_BLOCKTIME": "7"}
    found = noted(environment, own)
    assert found == {"left_out": sorted(HOSTILE), "set": {"KMP_BLOCKTIME": "7", "VLLM_ATTENTION_BACKEND": "X"}}


@pytest.mark.thorough
def test_accelerate_sees_one_process_without_mixed_precision() -> None:
    code = (
        "from autophage.host import foreign_variables; foreign_variables.leave_behind()\n"
        "from accelerate import Accelerator; one = Accelerator(cpu=True)\n"
        "print(one.num_processes, one.mixed_precision)"
    )
    environment = {**os.environ, **HOSTILE}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["1", "no"], done.stderr

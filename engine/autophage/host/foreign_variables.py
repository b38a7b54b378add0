"""Variables of the environment that belong to other programs and would steer a run.

A shell inside torchrun, an MPI job or `accelerate launch` has variables that tell torch, accelerate and TRL to join
other processes, or to compute in another type. A run is described by its recipe alone. Samplers and trainers therefore
start without these variables, and `environment.json` names those that were there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping

NAMES = (
    *("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "GROUP_WORLD_SIZE"),
    *("MASTER_ADDR", "MASTER_PORT", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS", "SLURM_NPROCS"),
    "MKL_DYNAMIC",
)
"""Variables by which launchers tell a process its place among others."""
PREFIXES = (
    *("ACCELERATE_", "FSDP_", "MEGATRON_LM_", "DEEPSPEED_", "PARALLELISM_CONFIG_", "TORCHELASTIC_", "ROLE_"),
    *("PMI_", "PMIX_", "PMI2_", "OMPI_", "MPI_", "MV2_", "I_MPI_", "HYDRA_", "MPIR_", "PALS_"),
)
"""Beginnings of the names of launchers' variables, and of those by which accelerate is configured."""
NUMERIC = re.compile(
    r"^(VLLM_|NVIDIA_TF32_OVERRIDE$|TORCH_ALLOW_TF32|CUBLAS_|CUDNN_|PYTORCH_|TORCHINDUCTOR_|TORCH_LOGS$|OMP_|MKL_|KMP_|GOMP_)"
)
"""Variables of the user that may change speed or last bits. They are recorded and stay."""
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)


def is_foreign(name: str) -> bool:
    """Return True if a variable of this name would steer a sampler or trainer on behalf of another program."""
    return name in NAMES or name.startswith(PREFIXES)


def leave_behind(environment: MutableMapping[str, str] | None = None) -> None:
    """Remove the foreign variables from the environment of this process, before torch and accelerate are imported."""
    environment = os.environ if environment is None else environment
    for name in [name for name in environment if is_foreign(name)]:
        del environment[name]


def noted(environment: Mapping[str, str], own: Mapping[str, str]) -> dict[str, object]:
    """Return the variables that a run's record names: the foreign ones, and those that may change speed or last bits.

    Args:
        own: Variables that this package sets, with its values. Equal ones are not recorded.
    """
    kept = {
        name: value
        for name, value in sorted(environment.items())
        if NUMERIC.match(name) and not SECRET.search(name) and own.get(name) != value
    }
    return {"left_out": sorted(name for name in environment if is_foreign(name)), "set": kept}

"""Tasks of EleutherAI's lm-evaluation-harness as metrics of each generation: built-in tasks, or YAML files of the user.

The harness is optional: `pip install "autophage[harness]"`. It evaluates the resident model with the generation's
weights. Before a result counts, the log-probs of a text through the harness's model are compared with the trainer's
own. A harness that evaluated the base model instead would give a plausible constant score.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from autophage.errors import RunError, UserError, foreign_errors
from autophage.metrics.intervals import Z
from autophage.recipe.tables.measure import MeasureTable
from autophage.store.manifest import Metric

if TYPE_CHECKING:
    from autophage.trainer.resident import ResidentModel

BATCH = 16
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.25}
"""Largest accepted difference (nats a token) between the harness's model and the trainer. Rounding leaves 1e-5."""


def check_tasks(measure: MeasureTable) -> None:
    """Check that the evaluation harness is installed, and that the tasks of `measure.harness` and their data load.

    Raises:
        UserError: it is not installed, a task is unknown, or its data or the folder of tasks are not here.
    """
    if measure.harness_path is not None and not Path(measure.harness_path).is_dir():
        raise UserError(f"measure.harness_path = {measure.harness_path!r}: there is no such folder.")
    manager = _manager(measure.harness_path)
    known = manager.all_tasks
    for task in measure.harness or ():
        if task not in known:
            close = difflib.get_close_matches(task, known, n=3, cutoff=0.6)
            guess = f"Did you mean {' or '.join(close)}? " if close else ""
            raise UserError(
                f"measure.harness: lm-evaluation-harness has no task {task!r}. {guess}"
                "Put YAML files of your own tasks into measure.harness_path."
            )
    for task in measure.harness or ():
        with foreign_errors(
            f"measure.harness: the questions of task {task!r} cannot be loaded",
            "Load them once with a network (HF_HUB_OFFLINE=0). Paths in your own task are relative to the working directory: "
            "mend them, or leave the task out.",
        ):
            manager.load(task)


def harness_metrics(
    resident: ResidentModel, measure: MeasureTable, canary_ids: Sequence[int], seed: int
) -> list[Metric]:
    """Return metrics `harness/TASK.METRIC` of the loaded weights, with 95% intervals.

    Intervals come from the harness's standard errors. A metric without one has no interval. `canary_ids` is a text
    whose log-probs are compared first.

    Raises:
        RunError: the harness's model has other weights than the loaded ones.
    """
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    seed %= 2**32
    model = HFLM(pretrained=resident.model, tokenizer=_with_control_tokens(resident.tokenizer), batch_size=BATCH)
    with resident.head.precision():
        _require_loaded(model, resident, canary_ids)
        found = simple_evaluate(
            model=model,
            tasks=list(measure.harness or ()),
            limit=measure.harness_limit,
            task_manager=_manager(measure.harness_path),
            log_samples=False,
            bootstrap_iters=measure.resamples,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
    return [
        metric
        for task, values in found["results"].items()
        for metric in _metrics(task, values, found["n-samples"].get(task, {}).get("effective"))
    ]


def _metrics(task: str, values: Mapping[str, Any], n: int | None) -> list[Metric]:
    metrics = []
    for key, value in values.items():
        name, _, filtered = key.partition(",")
        if not filtered or name.endswith("_stderr") or not isinstance(value, int | float):
            continue
        error = values.get(f"{name}_stderr,{filtered}")
        half = Z * error if isinstance(error, int | float) else None
        label = re.sub(r"[.\s]+", "-", f"{name}-{filtered}" if filtered != "none" else name)
        low, high = (None, None) if half is None else (value - half, value + half)
        metrics.append(Metric(f"harness/{task.replace('.', '-')}.{label}", float(value), low, high, n))
    return metrics


def _with_control_tokens(tokenizer: Any) -> Any:
    """Return a copy of a tokenizer that encodes control tokens in text as such, as the harness's own prompts expect."""
    tokenizer = copy.copy(tokenizer)
    tokenizer.split_special_tokens = False
    return tokenizer


@torch.inference_mode()
def _require_loaded(model: Any, resident: ResidentModel, canary_ids: Sequence[int]) -> None:
    ids_BL = torch.tensor([list(canary_ids)], device=resident.model.device)
    logprobs_LV = model.model(input_ids=ids_BL).logits[0, :-1].float().log_softmax(-1)
    theirs_L = logprobs_LV.gather(1, ids_BL[0, 1:, None])[:, 0].cpu().numpy()
    (ours,) = resident.score([list(canary_ids)], [1])
    apart = float(abs(theirs_L - ours.logprob).max())
    if not apart <= TOLERANCE.get(resident.model.dtype, 0.25):
        raise RunError(
            f"lm-evaluation-harness holds other weights than the generation's: log-probs differ by {apart:.3g} nats. "
            "Nothing was committed."
        )


@cache
def _manager(own_tasks: str | None) -> Any:
    """Return the harness's index of tasks. It reads hundreds of files, so it is cached for the process."""
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise UserError(
            'measure.harness needs lm-evaluation-harness. Run pip install "autophage[harness]", or remove the key.'
        ) from error
    return TaskManager(include_path=own_tasks)

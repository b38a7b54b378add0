"""Starts vLLM's engine, on a GPU whose free memory may still change.

vLLM measures the free memory when it starts, and takes its share of it. A trainer or a lost sampler that frees memory meanwhile
makes the start fail. The same start succeeds once that process is done. The messages hold for vLLM 0.26 to 0.33.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from autophage.errors import AutophageError, RunError, UserError, first_line
from autophage.host.devices import out_of_memory
from autophage.host.patterns import is_pattern
from autophage.sampler.protocol import EngineSettings

if TYPE_CHECKING:
    from vllm import EngineArgs, LLMEngine

ATTEMPTS = 5
PAUSE = 10.0
"""Number of starts, and seconds between two of them. A process that ends gives its memory back within seconds."""
REASON_LENGTH = 300
"""Longest part of vLLM's words that a message quotes, in characters."""
GREW = "Error in memory profiling"
"""Start of the `AssertionError` for free memory that grew while vLLM measured it."""
LACKING = "is less than desired GPU memory utilization"
"""Part of the `ValueError` for a share of the GPU's memory that is not free."""

UNIMPORTED = "failed to be inspected"
"""Part of the `ValueError` for a model whose class needs a package that is not installed. vLLM logs which."""


@contextmanager
def refusals(settings: EngineSettings) -> Iterator[None]:
    """Tell the errors with which vLLM refuses a model as a `UserError`. Exhausted memory passes.

    vLLM refuses a family, a head size or an adapter with errors of many kinds, some before and some after it has loaded
    the model.
    """
    try:
        yield
    except AutophageError:
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        if UNIMPORTED in str(error):
            raise UserError(
                f"model.path = {settings.model_path!r}: vLLM cannot import its class ({_reason(error)}). Mostly a package such "
                "as torchvision is not installed: install the release that belongs to the installed torch."
            ) from error
        with_adapters = " with LoRA adapters" if settings.rank else ""
        remedy = (
            'Where vLLM serves the family, but not its adapters, train all weights: model.method = "full".'
            if settings.rank
            else "Use a model of a family that vLLM serves."
        )
        raise UserError(
            f"model.path = {settings.model_path!r}: vLLM cannot serve it{with_adapters} ({_reason(error)}). {remedy}"
        ) from error


def _reason(error: Exception) -> str:
    """Return an error's words in one line. pydantic's first line counts the errors, and the next ones tell them."""
    if isinstance(error, ValidationError):
        return str(error.errors(include_url=False)[0]["msg"])[:REASON_LENGTH]
    return first_line(error)


@contextmanager
def without_pattern(path: str) -> Iterator[str]:
    """Yield a path of the model that is no pattern, for the time of the start.

    vLLM looks for the weights with `glob`, which reads brackets, stars and question marks in a folder's name as a pattern. Such
    a folder gets a link of another name.
    """
    if not is_pattern(path) or not Path(path).is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="autophage-model-") as folder:
        link = Path(folder) / "model"
        link.symlink_to(Path(path).resolve(), target_is_directory=True)
        yield str(link)


def start(arguments: EngineArgs) -> LLMEngine:
    """Start the engine. Start it again where another process changes the memory of the GPU.

    Raises:
        RunError: The memory did not come to rest in `ATTEMPTS` starts.
        ValueError: vLLM cannot serve the model.
    """
    from vllm import LLMEngine
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

    for attempt in range(ATTEMPTS):
        if attempt:
            cleanup_dist_env_and_memory()
            time.sleep(PAUSE)
        try:
            return LLMEngine.from_engine_args(arguments)
        except (AssertionError, ValueError) as error:
            if GREW not in str(error) and LACKING not in str(error):
                raise
            reason = first_line(error)
    raise RunError(
        f"vLLM did not start in {ATTEMPTS} tries within {(ATTEMPTS - 1) * PAUSE:.0f} s, because of the GPU's free memory "
        f"({reason}). Another process holds the memory, or takes and frees it. End that process, lower sample.memory, or give "
        'the sampler a GPU of its own (devices = "disjoint").'
    )

"""Work in its own process, with a deadline. Its end ends every process that it started.

There are three kinds. A benchmark's `--worker` writes one answer as JSON. A `Resident` worker stays and answers many times. Any
other command just runs. Output goes to a file and is shown if the work fails. `quiet` gives every contender the same threads.
A worker or a script of bench/peers sees one GPU, because TRL refuses to train in a process that sees several.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autophage.errors import RunError
from autophage.host.environment import first_gpu, process_variables
from harness import children

THREADS = (
    *("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "KMP_BLOCKTIME", "GOMP_SPINCOUNT"),
    *("TOKENIZERS_PARALLELISM", "VLLM_CPU_OMP_THREADS_BIND"),
)
SILENCE = ("VLLM_NO_USAGE_STATS", "DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS")


def quiet() -> dict[str, str]:
    """Environment of every contender. It adds the engine's thread settings to this process's own and switches off telemetry."""
    ours = process_variables()
    return {**os.environ, "HF_HUB_OFFLINE": "1", **{name: ours[name] for name in (*THREADS, *SILENCE) if name in ours}}


def plain_vllm(*, tuned: bool) -> dict[str, str]:
    """`quiet` for vLLM as others use it, with a KV cache for a small machine. Tuned vLLM runs in one process.

    FlashInfer's sampler is off, as in the engine. Without nvcc vLLM would not start, and no contender's requests use it.
    """
    environment = quiet() | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_USE_FLASHINFER_SAMPLER": "0"}
    environment.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    return environment | ({"VLLM_ENABLE_V1_MULTIPROCESSING": "0"} if tuned else {})


def run(command: Sequence[str], environment: Mapping[str, str], seconds: float, log: Path) -> float:
    """Run a command and return its seconds.

    Raises:
        RunError: the command failed or exceeded `seconds`. The message has the end of its output.
    """
    ended = children.run(command, environment, seconds, log)
    if ended.failure:
        raise RunError(ended.failure)
    return ended.seconds


def work(
    script: Path, worker: str, spec: Mapping[str, object], seconds: float, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Answer of a benchmark's worker to `spec`, from its own process."""
    with tempfile.TemporaryDirectory(prefix="autophage-bench-") as name:
        folder = Path(name)
        command = _worker(script, worker, {**spec, "launched": time.time()}, folder)
        run(command, _on_one_gpu(environment or quiet()), seconds, folder / "log.txt")
        answer: dict[str, Any] = json.loads((folder / "answer.json").read_text("utf-8"))
        return answer


class Resident:
    """A worker that stays in its own process, asleep between questions. `answer_all` is its side.

    Raises:
        RunError: the worker did not start, failed, or did not answer within `seconds`.
    """

    def __init__(self, script: Path, worker: str, spec: Mapping[str, object], folder: Path, seconds: float) -> None:
        folder.mkdir()
        self._command = _worker(script, worker, spec, folder)
        self._log, self._seconds = folder / "log.txt", seconds
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_on_one_gpu(quiet()),
                start_new_session=True,
            )
        try:
            self._answer()
        except BaseException:
            self.end()
            raise

    def ask(self, question: object) -> Any:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is gone, which `_answer` says in words
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        late = threading.Timer(self._seconds, children.end, (self._process,))
        late.start()
        try:
            line = self._process.stdout.readline()
        finally:
            late.cancel()
        if not line:
            raise RunError(f"{children.name(self._command)} gave no answer\n{children.tail(self._log)}")
        return json.loads(line)

    def end(self) -> None:
        children.end(self._process)


def answer_all(prepare: Callable[[], Callable[[Any], object]]) -> None:
    """Serve a resident worker. `prepare` returns the function that answers. Questions and answers are lines of JSON."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is not an answer
    answer = prepare()
    print(json.dumps(None), file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=out, flush=True)


def script(
    path: Path, options: Sequence[str], environment: Mapping[str, str], seconds: float, folder: Path
) -> dict[str, float]:
    """Run a script of bench/peers and return its phases, with the whole time as `wall`. Its output is kept in `folder`."""
    phases = folder / "phases.json"
    command = [sys.executable, str(path), *options, "--phases", str(phases)]
    wall = run(command, _on_one_gpu(environment), seconds, folder / f"{path.stem}.log")
    found: dict[str, float] = json.loads(phases.read_text("utf-8"))
    return found | {"wall": wall}


def _on_one_gpu(environment: Mapping[str, str]) -> dict[str, str]:
    return {**environment, "CUDA_VISIBLE_DEVICES": first_gpu()}


def _worker(script: Path, worker: str, spec: Mapping[str, object], folder: Path) -> list[str]:
    """Command of a benchmark's worker. The spec is written where `command.Benchmark` reads it."""
    (folder / "spec.json").write_text(json.dumps(spec), "utf-8")
    return [sys.executable, str(script), "--worker", worker, str(folder)]

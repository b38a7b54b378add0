"""A process that has imported the command line and forks a child for each command.

    {"arguments": ["run", ...], "fault": "17:/tmp/trace" or "", "log": "/tmp/log"}   a line on stdin
    {"code": 0}                                                                      its answer: exit code, -9 when killed

A run of a small learner takes a tenth of a second and its imports take two, and hundreds of runs are killed. The child is a
whole process, so SIGKILL ends it like any other.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

from autophage.cli import main
from autophage.cli.app import build_app
from autophage.report.frame import _environment
from autophage.store import fault_points as faultpoints

WANTED_LATER = (
    "autophage.runs.execute",
    "autophage.learners.loop",
    "autophage.learners.gaussian",
    "pyarrow.dataset",
    "pandas",
)
"""Modules that verbs import late, or pyarrow at its first read."""


def serve() -> None:
    for name in WANTED_LATER:
        importlib.import_module(name)
    build_app()
    _environment().get_template("template.html.jinja")
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(_run(request["arguments"], request["fault"], request["log"]))
        _, status = os.waitpid(child, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


def _run(arguments: list[str], fault: str, log: str) -> int:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    at, _, trace = fault.partition(":")
    faultpoints.arm(faultpoints.CrashPoint(int(at), Path(trace)) if trace else None)
    try:
        return main(arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    serve()

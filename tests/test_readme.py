"""Every command in the README is run: as it stands where it is quick, as `plan` where it would take a GPU or minutes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```bash\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
COMMANDS = [line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines()]
COMMANDS = [command for command in COMMANDS if command and not command.startswith("#")]


def test_there_are_commands() -> None:
    assert any(command.startswith("autophage run text") for command in COMMANDS)
    assert "make demo" in COMMANDS


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("make")])
def test_make_targets_exist(command: str) -> None:
    subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_commands_work_one_after_the_other(tmp_path: Path) -> None:
    texts = tmp_path / "my-texts"
    texts.mkdir()
    (texts / "one.txt").write_text("The sea was calm and the harbour slept. " * 400, encoding="utf-8")
    variables = {**os.environ, "AUTOPHAGE_CACHE": str(tmp_path / "cache")}
    for command in COMMANDS:
        if not command.startswith("autophage"):
            assert command.startswith("make"), f"what runs {command!r}?"
            continue
        words = [sys.executable, "-m", *shlex.split(command)]
        if {"text", "demo", "knowledge-collapse", "curse-of-recursion", "remedies"} & set(words):
            words[words.index("autophage") + 1] = "plan"
            for option in {"--out", "--address"} & set(words):
                del words[words.index(option) : words.index(option) + 2]
        done = subprocess.run(words, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stdout[-1000:], done.stderr[-2000:])
    assert (tmp_path / "runs/smoke/report.html").stat().st_size > 1_000_000
    assert (tmp_path / "exported/adapter_model.safetensors").is_file()

"""Code blocks of the README and the pages agree with the program.

Quick commands are run as they stand. Commands that need a GPU or minutes are run as `plan`. A block behind
`<!-- not run: REASON -->` is not run. Its Autophage commands are parsed.
"""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from autophage.cli import main
from autophage.cli.app import VERBS, build_app
from autophage.cli.benchmarking import benchmarks, names_benchmark
from autophage.recipe import load_recipe

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<language>[a-z]+)\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL
)
NOT_RUN = re.compile(r"not run: \S.*")
INLINE = re.compile(r"`(autophage [^`\n]+)`")
QUICK = ("smoke", "curse-gaussian")
"""Recipes whose runs take seconds; others are planned."""
OF_RUNS = ("--out", "--address", "--fork-from")
"""Options with a value that `run` has and `plan` has not."""


@dataclass(frozen=True)
class Block:
    page: str
    language: str
    mark: str
    code: str

    @property
    def run(self) -> bool:
        return not self.mark.startswith("not run")

    @property
    def lines(self) -> list[str]:
        """The commands of a shell block, without comments."""
        joined = self.code.replace("\\\n", " ")
        found = (re.split(r"(?:^|\s+)#(?!\w)", line)[0].strip() for line in joined.splitlines())
        return [line for line in found if line]


def _blocks() -> Iterator[Block]:
    for page in PAGES:
        for found in BLOCK.finditer(page.read_text("utf-8")):
            yield Block(str(page.relative_to(ROOT)), found["language"], found["mark"] or "", found["code"])


BLOCKS = list(_blocks())
SHELL = [block for block in BLOCKS if block.language == "bash"]
COMMANDS = [(block.page, line) for block in SHELL for line in block.lines]
AUTOPHAGE = [
    (page, words[words.index("autophage") :])
    for page, line in COMMANDS
    for words in [shlex.split(line)]
    if "autophage" in words and "=" in "".join(words[: words.index("autophage")]) + "="
]


def test_there_are_commands() -> None:
    assert any(words[1:3] == ["run", "text"] for _, words in AUTOPHAGE)
    assert ("README.md", "make demo") in COMMANDS


def test_blocks_that_are_not_run_say_why() -> None:
    marks = {block.mark for block in BLOCKS if block.mark.startswith("not run")}
    assert [mark for mark in marks if not NOT_RUN.fullmatch(mark)] == []


@pytest.mark.parametrize("block", [block for block in SHELL if block.run], ids=lambda block: block.page)
def test_blocks_that_are_run_hold_commands_that_can_be(block: Block) -> None:
    assert [line for line in block.lines if line.split()[0] not in ("autophage", "make")] == []


@pytest.mark.parametrize("line", sorted({line for _, line in COMMANDS if line.startswith("make")}))
def test_make_targets_exist(line: str) -> None:
    words = shlex.split(line)
    subprocess.run([*words, "--dry-run"], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("page", "words"), AUTOPHAGE, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_commands_are_understood(page: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = words[1:]
    if names_benchmark(tokens):
        assert tokens[1] in benchmarks()
        return
    monkeypatch.chdir(tmp_path)
    _, bound, _ = build_app().parse_args(tokens)
    arguments: dict[str, Any] = bound.arguments
    recipe = arguments.get("recipe")
    if recipe is not None and recipe != "mine.toml" and (arguments.get("settings") or arguments.get("profile")):
        load_recipe(recipe, arguments.get("settings") or [], arguments.get("profile"))


def test_commands_within_sentences_are_understood() -> None:
    wrong = []
    for page in PAGES:
        for command in INLINE.findall(page.read_text("utf-8")):
            verb, *rest = shlex.split(command)[1:]
            if verb in VERBS and rest and "--help" not in rest and not names_benchmark([verb, *rest]):
                try:
                    build_app().parse_args([verb, *(word for word in rest if word not in ("...", "[...]"))])
                except Exception as error:
                    wrong.append(f"{page.name}: {command}: {error}")
            elif verb not in VERBS and not verb.isupper():
                wrong.append(f"{page.name}: {command}: there is no such verb")
    assert wrong == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_commands_work_one_after_the_other(inside: Path) -> None:
    done = set()
    for block in SHELL:
        for line in block.lines if block.run else ():
            words = tuple(shlex.split(line)[1:])
            if not line.startswith("autophage") or words in done:
                continue
            done.add(words)
            assert main(_quick(list(words))) == 0, (block.page, line)
    assert (inside / "runs/demo/report.html").stat().st_size > 1_000_000
    assert (inside / "exported/adapter_model.safetensors").is_file()


def _quick(words: list[str]) -> list[str]:
    """The command, or a `plan` of the same recipe where it would take long."""
    if words[0] != "run" or words[1] in QUICK:
        return words
    kept = [word for before, word in itertools.pairwise(["", *words]) if word not in OF_RUNS and before not in OF_RUNS]
    return ["plan", *(word for word in kept[1:] if word != "--insecure")]


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "toml"], ids=lambda block: block.page)
def test_recipes_are_recipes(block: Block, tmp_path: Path) -> None:
    table = tomllib.loads(block.code)
    if "project" in table or block.mark.startswith("not a recipe"):
        return
    path = tmp_path / "page.toml"
    path.write_text(block.code if "name" in table else f'name = "page"\n{block.code}', encoding="utf-8")
    assert load_recipe(str(path)).arms


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS if block.language == "python"}))
def test_python_works(page: str, inside: Path) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    for block in BLOCKS:
        if block.page == page and block.language == "python":
            code = compile(block.code, f"{page} (a block of it)", "exec")
            if block.run:
                exec(code, names)

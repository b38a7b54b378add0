"""Sampling, training and scoring beside the matrix products alone: `autophage bench light`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from light_bench import peers
from light_bench.asked import PARTS, Asked
from light_bench.parts import TIMED, Part, parts_of
from light_bench.running import in_a_run
from light_bench.steps import STEPS

from harness.command import Benchmark, BenchmarkResults, positive  # isort: skip  (light_bench makes it findable)
from harness.processes import Resident, answer_all  # isort: skip
from harness.rows import OURS, Measurement, aligned, rows_of, values_of  # isort: skip
from harness.shapes import SHAPES  # isort: skip
from harness.statistics import spread  # isort: skip
from harness.turns import Budget, Figures, take_turns  # isort: skip

DESCRIPTION = """The share of light: the time of a model's matrix products alone over the time of a step, in the same turn.

sample  a decoding step of --rows documents, and the step that reads their prompts
lora    a training step of an adapter on --batch-size documents, forward and backward
full    the same of all weights
score   statistics of every token of as many documents
head    the fused LM head with statistics, forward and with its gradient
run     a batch and a training step inside `autophage run`: what calls between its processes and waiting add

`bare linear` is torch.nn.functional.linear on every linear layer of the model and its head: the same shapes, rows, element
type and threads, with as many weights as the model reads. `bare onednn` is oneDNN's product on a CPU. The faster of the two
is the light. `base` has no adapter and records nothing, `adapter` records nothing, `autophage` is what a run does.

`part NAME` rows divide the step. Parts that can be switched off are differences of steps of the same turn. The rest is
divided by a profile of `base`. `processor` figures are processor time over all threads. They stay steady where other jobs
take cores away.

Peers (`generate`, stock vLLM, TRL) do the same work in a fresh process each turn. Without --model, weights are random.

On two quiet cores a turn of the demo's shape takes 20 s without peers, and two minutes with them."""
DEADLINE = 3600.0
SWITCHES = {"statistics": "statistics", "LoRA": "adapter"}
UNITS = {
    **dict.fromkeys(("prefill", "step", "whole", "forward", "both"), "ms"),
    **dict.fromkeys((f"{name} processor" for name in ("prefill", "step", "whole", "forward", "both")), "ms"),
}
POINTS = {
    "lora": "training LoRA", "full": "training full", "score": "scoring", "head": "head with statistics", "run": "in a run",
}  # fmt: skip
BARE = "bare "
PROFILE_TOKENS = 9
LEAST_TOKENS = 3
"""Tokens of a batch that has a decoding step to measure."""
QUICK = Asked("", "tiny", rows=4, prompt=8, tokens=4, batch_size=2, rank=8, bare_flops=1e9)


def options(parser: argparse.ArgumentParser) -> None:
    shapes = [name for name, shape in SHAPES.items() if not shape.people]
    parser.add_argument("--model", default="", metavar="FOLDER", help="a model's folder, in place of --shape")
    parser.add_argument("--shape", choices=shapes, default="135m", help="random weights in this shape (135m)")
    parser.add_argument("--rows", type=positive, default=64, help="documents that are sampled at once (64)")
    parser.add_argument("--prompt", type=positive, default=95, help="tokens of a prompt (95)")
    parser.add_argument("--tokens", type=positive, default=64, help="tokens of a document after its prompt (64)")
    parser.add_argument("--switched-tokens", type=positive, default=9, help="tokens where parts are switched off (9)")
    parser.add_argument("--batch-size", type=positive, default=8, help="documents of a training step (8)")
    parser.add_argument("--rank", type=positive, default=32, help="rank of the adapter (32)")
    parser.add_argument("--bare-flops", type=float, default=2e11, help="FLOPs of a pass of bare products (2e11)")
    parser.add_argument("--only", type=_names(PARTS), default=list(PARTS), metavar="PARTS", help=",".join(PARTS))
    parser.add_argument(
        "--peers", type=_names((*peers.CHOICES, "none")), default=list(peers.CHOICES), metavar="NAMES",
        help=f"{', '.join(peers.CHOICES)}, or none (all)",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="print what would be measured, and its FLOPs and bytes")


def _names(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        found = [part.strip() for part in text.split(",")]
        if unknown := sorted(set(found) - set(known)):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose of {', '.join(known)}")
        return found

    return names


def measure(chosen: argparse.Namespace, budget: Budget, results: BenchmarkResults) -> None:
    asked = QUICK if chosen.quick else _asked(chosen)
    if chosen.dry_run:
        print("\n".join(_dry(asked, chosen.only)))
        return
    wanted = [] if chosen.quick and chosen.peers == list(peers.CHOICES) else chosen.peers
    with tempfile.TemporaryDirectory(prefix="autophage-light-") as name:
        for method, parts in (("lora", ("sample", "lora", "score", "head", "run")), ("full", ("full",))):
            if not (own := [part for part in parts if part in chosen.only]):
                continue
            with ExitStack() as opened:
                spec = asked.spec(method, sampler=bool({"sample", "run"} & set(own)))
                worker = Resident(Path(__file__), "serve", spec, Path(name) / method, DEADLINE)
                opened.callback(worker.end)
                facts = worker.ask({"do": "facts"})
                for part in own:
                    if results.rows and not budget.left:
                        results.remarks.append(f"The budget was spent before {part!r}.")
                        continue
                    _part(part, asked, chosen, worker, facts, wanted, budget, results, Path(name))


def _asked(chosen: argparse.Namespace) -> Asked:
    return Asked(
        chosen.model,
        chosen.shape,
        chosen.rows,
        chosen.prompt,
        chosen.tokens,
        chosen.batch_size,
        chosen.rank,
        chosen.bare_flops,
    )


def _part(
    part: str,
    asked: Asked,
    chosen: argparse.Namespace,
    worker: Resident,
    facts: Mapping[str, Any],
    wanted: list[str],
    budget: Budget,
    results: BenchmarkResults,
    folder: Path,
) -> None:
    """Measure one part in turns, and divide it."""
    point = _point(part, asked)
    if part == "run" and facts["device"] == "cuda":
        results.remarks.append(f"{point}: left out, because a run and the engine beside it do not share a GPU.")
        return
    contenders = _contenders(part, asked, chosen.switched_tokens, worker, facts, wanted, folder)
    rows = rows_of(point, take_turns(contenders, chosen.repeats, budget, f"{part}: "), UNITS)
    results.add(rows, part=part, asked=asdict(asked), work=facts["work"][part], **_model(facts))
    shares = shares_of_light(rows, point, asked)
    results.add(shares, part=part, asked=asdict(asked), light="the faster of the bare products in the same turn")
    for figure, division in _divided(part, worker, rows, point).items():
        results.add(
            [
                Measurement(point, f"part {one.name}", f"{figure}: share", "share", [one.seconds / _whole(division)])
                for one in division
            ],
            part=part,
            how={one.name: one.how for one in division},
        )
        results.remarks.append(
            _shown(point, figure, division, facts["work"][part].get(figure.removesuffix(" processor"), {}))
        )


def _contenders(
    part: str,
    asked: Asked,
    few: int,
    worker: Resident,
    facts: Mapping[str, Any],
    wanted: list[str],
    folder: Path,
) -> dict[str, Callable[[], Figures]]:
    """Everything that takes turns in a part. The engine's contenders are warm."""
    steps = _steps(part, max(LEAST_TOKENS, min(asked.tokens, few)), asked.tokens)
    for question in steps.values():
        worker.ask({**question, "warm": True})
    engine = {name: partial(_ask, worker, **question) for name, question in steps.items()}
    if part == "run":
        return {"run": partial(in_a_run, asked, folder), **engine}
    bare = {f"{BARE}{one}": partial(_ask, worker, do="bare", part=part, library=one) for one in facts["libraries"]}
    if part == "sample":
        others = {one: partial(_peer_sampling, one, asked, facts, folder) for one in peers.SAMPLING if one in wanted}
    elif part == "lora":
        others = {one: partial(_peer_training, one, asked, facts, folder) for one in peers.TRAINING if one in wanted}
    else:
        others = {}
    return {**bare, **engine, **others}


def _model(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: facts[name] for name in ("parameters", "dtype", "threads", "products")}


def _point(part: str, asked: Asked) -> str:
    if part == "sample":
        return f"sampling {asked.rows} x ({asked.prompt} + {asked.tokens})"
    return f"{POINTS[part]} {asked.batch_size} x {asked.length}"


def _steps(part: str, few: int, tokens: int) -> dict[str, dict[str, Any]]:
    """The engine's contenders: from the plainest to what a run does."""
    if part == "sample":
        return {
            "base": {"do": "sample", "model": "base", "observe": False, "tokens": few},
            "adapter": {"do": "sample", "model": "adapter", "observe": False, "tokens": few},
            OURS: {"do": "sample", "model": "adapter", "observe": True, "tokens": tokens},
        }
    if part == "lora":
        return {
            "base": {"do": "step", "adapted": False, "statistics": False},
            "adapter": {"do": "step", "adapted": True, "statistics": False},
            "statistics": {"do": "step", "adapted": True, "statistics": True},
            OURS: {"do": "fit"},
        }
    if part == "full":
        return {
            "base": {"do": "step", "adapted": True, "statistics": False},
            "statistics": {"do": "step", "adapted": True, "statistics": True},
            OURS: {"do": "fit"},
        }
    if part == "score":
        return {"layers": {"do": "hidden"}, OURS: {"do": "score"}}
    if part == "run":
        return {OURS: {"do": "work_of_a_run", "tokens": tokens}}
    return {
        "log-prob": {"do": "head", "statistics": "logprob"},
        OURS: {"do": "head", "statistics": "watched"},
        "all statistics": {"do": "head", "statistics": "all"},
    }


CHAINS = {
    "sample": (("base", ""), ("adapter", "LoRA"), (OURS, "statistics")),
    "lora": (("base", ""), ("adapter", "LoRA"), ("statistics", "statistics"), (OURS, "trainer and optimizer")),
    "full": (("base", ""), ("statistics", "statistics"), (OURS, "trainer and optimizer")),
    "score": (("layers", ""), (OURS, "head, statistics, transfer")),
    "run": ((OURS, ""), ("run", "calls and waiting")),
}
"""Contenders of a part from the plainest to the whole one, with what each has more than the one before."""
PROFILES = {
    "sample": {"do": "profile_sampling", "tokens": PROFILE_TOKENS},
    "lora": {"do": "profile_step", "adapted": False},
    "full": {"do": "profile_step", "adapted": True},
    "score": {"do": "profile_hidden"},
}
ALONE = "the engine in one process"
TIMED_APART = {"trainer and optimizer": TIMED, "calls and waiting": TIMED, ALONE: TIMED}


def _divided(part: str, worker: Resident, rows: list[Measurement], point: str) -> dict[str, list[Part]]:
    """Divide each figure of a part, on the clock and in processor time."""
    if part not in CHAINS:
        return {}
    own = {ALONE: 1.0}
    profiles, found = {"whole": own, "step": own} if part == "run" else worker.ask(PROFILES[part]), {}
    for figure, profile in profiles.items():
        for name in (figure, f"{figure} processor"):
            values = {contender: values_of(rows, point, contender, name) for contender, _ in CHAINS[part]}
            if all(values.values()) and all(spread(one).median > 0 for one in values.values()):
                chain = [(what, spread(values[contender]).median) for contender, what in CHAINS[part]]
                found[name] = parts_of(chain, profile, TIMED_APART)
    return found


def _whole(division: list[Part]) -> float:
    return sum(one.seconds for one in division)


def _shown(point: str, figure: str, division: list[Part], work: Mapping[str, float]) -> str:
    cells = [("part", "how", "ms", "share")]
    cells += [(one.name, one.how, f"{one.seconds:.4g}", f"{one.seconds / _whole(division):.1%}") for one in division]
    cells.append(("sum", "", f"{_whole(division):.4g}", ""))
    counted = ", ".join(f"{value:.4g} {unit}" for unit, value in work.items())
    return f"{point}, {figure} ({counted} of products):\n" + "\n".join(aligned(cells, 2))


def shares_of_light(rows: list[Measurement], point: str, asked: Asked) -> list[Measurement]:
    """Time of the fastest bare products over that of each contender, turn by turn.

    A batch that is timed as a whole is compared with one step over the prompts and a decoding step for each further token.
    """
    bare = sorted({row.contender for row in rows if row.contender.startswith(BARE)})

    def light(figure: str) -> list[float]:
        each = [values_of(rows, point, name, figure) for name in bare]
        return [min(turn) for turn in zip(*each, strict=False)]

    found = []
    for row in rows:
        if row.contender in bare or not row.values:
            continue
        if row.figure.startswith("whole"):
            rest = row.figure.removeprefix("whole")
            pairs = zip(light(f"prefill{rest}"), light(f"step{rest}"), strict=True)
            own = [first + (asked.tokens - 1) * later for first, later in pairs]
        else:
            own = light(row.figure)
        shares = [bound / time for bound, time in zip(own, row.values, strict=False) if time > 0]
        short = row.figure.startswith("whole") and row.contender in ("base", "adapter")  # batches of fewer tokens
        if shares and not short:
            found.append(Measurement(point, row.contender, f"{row.figure}: of light", "share", shares))
    return found


def _ask(worker: Resident, **question: Any) -> Figures:
    figures: dict[str, float] = {}
    for figure, (seconds, processor) in worker.ask(question).items():
        figures[figure] = 1e3 * seconds
        if processor:
            figures[f"{figure} processor"] = 1e3 * processor
    return figures


def _peer_sampling(name: str, asked: Asked, facts: Mapping[str, Any], folder: Path) -> Figures:
    return {figure: 1e3 * seconds for figure, seconds in peers.sampling(name, asked, facts, folder).items()}


def _peer_training(name: str, asked: Asked, facts: Mapping[str, Any], folder: Path) -> Figures:
    return {figure: 1e3 * seconds for figure, seconds in peers.training(name, asked, facts, STEPS, folder).items()}


def _dry(asked: Asked, parts: list[str]) -> list[str]:
    from autophage.trainer.products import products_at
    from harness.subject import random_model

    products = products_at(asked.model or str(random_model(asked.shape)))
    lines = [f"{sum(one.count * one.experts for one in products)} linear layers in {len(products)} shapes:"]
    lines += [f"  {one.name}: {one.inputs} -> {one.outputs}, {one.count} times" for one in products]
    cells = [("point", "figure", "GFLOP", "MB of 32-bit weights")]
    for part in parts:
        for figure, work in asked.work(part, products, 4).items():
            cells.append((_point(part, asked), figure, f"{work['GFLOP']:.4g}", f"{work['MB']:.4g}"))
    return [*lines, *aligned(cells, 2)]


def serve(spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A worker: sampler and trainer that take a step whenever they are asked."""
    from autophage.host import environment

    environment.apply()

    def prepare() -> Callable[[Any], object]:
        from light_bench.subject import Subject

        return Subject(spec, folder).answer

    answer_all(prepare)
    return {}


BENCHMARK = Benchmark(
    "light",
    DESCRIPTION,
    "autophage bench light --model MODEL --only sample,lora --peers none",
    minutes=30,
    measure=measure,
    options=options,
    workers={"serve": serve},
)
main = BENCHMARK.main

if __name__ == "__main__":
    sys.exit(main())

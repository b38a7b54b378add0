"""The verb `plan`: estimate the cost of a recipe, and keep the measured speeds that estimates rest on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from autophage.cli.output import AsJson, Overrides, Profile, print_json, print_table, say
from autophage.display import count, duration, size
from autophage.errors import UserError

if TYPE_CHECKING:
    from autophage.plan import ArmPlan, Memory, Plan
    from autophage.plan.learners import LearnerArm, LearnerPlan
    from autophage.plan.machines import SpeedRow
    from autophage.recipe import LoadedRecipe

Given = Annotated[float | None, Parameter(show_default=False)]


def plan(
    recipe: str | None = None,
    /,
    *,
    profile: Profile = None,
    settings: Overrides = None,
    machine: str | None = None,
    gpus: int | None = None,
    price_per_hour: Given = None,
    sample_speed: Given = None,
    train_speed: Given = None,
    calibrate: Path | None = None,
    as_json: AsJson = False,
) -> int:
    """Estimate the tokens, time, memory, disk and cost of a recipe. Runs nothing.

    Args:
        recipe: Recipe file, or name of a shipped recipe.
        machine: cpu-2, h100, h200, a100-80, a100-40, rtx-4090, or cpu-N for N cores; default this machine.
        gpus: GPUs of the whole run; the arms are divided among them.
        price_per_hour: Price of the machine per hour, in any currency.
        sample_speed: Sampled tokens per second, if you know them better than the table.
        train_speed: Trained tokens per second, if you know them better than the table.
        calibrate: Finished run whose speeds later plans for its machine use. Needs no recipe.
    """
    from autophage.plan import choose
    from autophage.recipe import load_recipe

    if gpus is not None and gpus < 1:
        raise UserError(f"--gpus {gpus}: give 1 or more.")
    if recipe is None and calibrate is None:
        raise UserError("Give a recipe to plan, or --calibrate RUN to keep the speeds of a finished run.")
    if calibrate is not None:
        row = _calibrate(calibrate, machine)
        if recipe is None:
            _tell_row(row, as_json=as_json)
            return 0
    assert recipe is not None
    loaded = load_recipe(recipe, settings or [], profile)
    return _plan(loaded, choose(machine), gpus, price_per_hour, (sample_speed, train_speed), as_json)


def _plan(
    loaded: LoadedRecipe,
    machine: Any,
    gpus: int | None,
    price: float | None,
    speeds: tuple[float | None, float | None],
    as_json: bool,
) -> int:
    from autophage.plan import Speeds
    from autophage.plan import plan as make_plan
    from autophage.plan.base import base_is_cached

    one = loaded.recipe
    if not one.trains_language_model:
        return _plan_learner(loaded, as_json=as_json)
    made = make_plan(
        one,
        loaded.arms,
        machine,
        speeds=Speeds(*speeds),
        gpus=gpus,
        price_per_hour=price,
        base_cached=base_is_cached(one),
    )
    if as_json:
        _print_json(loaded, made)
        return 0
    _print_heading(loaded)
    method = one.model.method if str(one.model.method) == "full" else f"{one.model.method} rank {one.model.rank}"
    say(f"source {one.source.kind}, model {one.model.path}, {method}, {made.devices}")
    say(f"{one.train.chain} chain, pool {one.mix.pool}, generations 0 to {one.generations}, seed {one.seed}")
    _print_plan(made)
    return 0


def _plan_learner(loaded: LoadedRecipe, *, as_json: bool) -> int:
    """Print planned counts and bytes of a learner that is no language model, and return the exit code.

    Such a learner has no tokens, and no device to plan for.
    """
    from autophage.plan.learners import learner_plan

    one = loaded.recipe
    made = learner_plan(one, loaded.arms)
    if as_json:
        _print_json(loaded, made)
        return 0
    _print_heading(loaded)
    say(f"learner {made.kind}, pool {one.mix.pool}, generations 0 to {one.generations}, seed {one.seed}")
    rows: list[list[object]] = [
        [arm.name, _kind(arm), count(arm.samples), count(arm.fitted), size(arm.disk_bytes)] for arm in made.arms
    ]
    say()
    print_table(["arm", "settings", ">samples", ">rows of the last fit", ">disk"], rows)
    say()
    say(f"disk        about {size(made.disk_bytes)}")
    say("time        not estimated; seconds to minutes in one process, without a GPU")
    return 0


def _print_json(loaded: LoadedRecipe, made: Plan | LearnerPlan) -> None:
    one = loaded.recipe
    print_json(
        {"name": one.name, "recipe": one.model_dump(mode="json"), **asdict(made), "warnings": list(loaded.warnings)}
    )


def _print_heading(loaded: LoadedRecipe) -> None:
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    one = loaded.recipe
    say(f"{one.name}: {one.description}" if one.description else one.name)


def _print_plan(made: Plan) -> None:
    say()
    print_table(["arm", "settings", ">sampled", ">trained", ">measured", ">time", ">disk"], list(map(_row, made.arms)))
    if made.stages:
        starting = made.start_seconds + sum(made.first.values())
        shown = {"start": starting, "base": made.base_seconds, **made.stages}
        say()
        print_table([f">{stage}" for stage in shown], [[duration(seconds) for seconds in shown.values()]])
    say()
    parameters = "unknown" if made.parameters is None else count(made.parameters)
    say(f"machine     {made.machine}{_devices(made)}; speeds {made.basis}")
    say(f"parameters  {parameters} ({made.parameters_from})")
    base = f", including {duration(made.base_seconds)} for the base model" if made.base_seconds else ""
    say(f"time        {'unknown' if made.seconds is None else f'about {duration(made.seconds)}'}{base}")
    for line in made.choices:
        say(f"chosen      {line}")
    for line in _memory_lines(made.memory):
        say(line)
    say(f"disk        {'unknown' if made.disk_bytes is None else f'about {size(made.disk_bytes)}'}")
    if made.cost is not None:
        say(f"cost        {made.cost:.2f}")
    say()
    say("These are estimates. They assume:")
    for line in made.assumptions:
        say(f"  {line}")


def _devices(made: Plan) -> str:
    if not made.gpus:
        return ""
    cells, sharing = made.layout.cells, made.layout.cells_per_gpu
    each = f", {sharing} on a GPU" if sharing > 1 else ""
    return f", {made.gpus} GPU{'s' * (made.gpus > 1)}" + (f" in {cells} cells{each}" if cells > 1 else "")


def _memory_lines(memory: Memory | None) -> list[str]:
    if memory is None:
        return ["memory      unknown"]
    division = memory.division
    if division is None:
        parts = f"sampler {size(memory.sampler)}, trainer {size(memory.trainer)}, driver {size(memory.other)}"
        return [f"memory      about {size(memory.total)}: {parts}"]
    lines = [f"memory      {division.sharing.value} on {size(memory.device)}: {division.reason}"]
    if division.fits:
        sampler, trainer = division.sampler, division.trainer
        cached = f"KV cache of {division.sequences} sequences"
        lines.append(
            f"  sampler   {size(memory.sampler)} ({division.share:.0%}): weights {size(sampler.weights)}, adapters "
            f"{size(sampler.adapters)}, {cached}"
        )
        lines.append(
            f"  trainer   {size(memory.trainer)}: weights {size(trainer.weights)}, trained weights with optimizer "
            f"{size(trainer.optimizer + trainer.copies)}, activations {size(trainer.activations)}"
        )
    return lines


def _kind(arm: ArmPlan | LearnerArm) -> str:
    settings = ", ".join(f"{key} = {value}" for key, value in arm.settings.items())
    return ", ".join(part for part in ("human data only" if arm.control else "", settings) if part) or "-"


def _row(arm: ArmPlan) -> list[object]:
    return [
        arm.name,
        _kind(arm),
        count(arm.sampled),
        count(arm.trained),
        count(arm.measured),
        duration(arm.seconds),
        "?" if arm.disk_bytes is None else size(arm.disk_bytes),
    ]


def _calibrate(directory: Path, machine: str | None) -> SpeedRow:
    from autophage.plan.calibrate import row_of
    from autophage.plan.machines import keep_row, named
    from autophage.store.rundir import RunDirectory

    row = row_of(RunDirectory(directory), named(machine) if machine else None)
    keep_row(row)
    return row


def _tell_row(row: SpeedRow, *, as_json: bool) -> None:
    from autophage.plan.machines import cache_path

    if as_json:
        print_json({**asdict(row), "tokens_per_second": row.tokens_per_second, "kept": str(cache_path())})
        return
    rates = row.tokens_per_second
    print_table(
        ["machine", "recipe", ">parameters", ">sampling", ">training", ">measuring", ">swap", ">commit", ">start"],
        [
            [
                row.machine,
                row.recipe,
                count(row.shape.parameters),
                *(
                    f"{rates[stage]:,.0f} tokens/s" if stage in rates else "?"
                    for stage in ("sample", "train", "measure")
                ),
                *(f"{row.seconds[stage]:.2f} s" for stage in ("swap", "commit")),
                f"{row.start + sum(row.first.values()):.0f} s",
            ]
        ],
    )
    say(f"Kept in {cache_path()}; plans for {row.machine} use it from now on.")

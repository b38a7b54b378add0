"""Stages of each arm for each format of question, and the effects of formats and domains.

The answers of every committed generation are read once. `metrics.collapse` defines the stages. Seeds of one arm are
one row. All arms and formats share one draw of questions, so their differences are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autophage.display import plural
from autophage.metrics.collapse import CHANCE, COMPLIANT, DROP, FLUENT, SHOWN, Answers, Course, Onset, course
from autophage.metrics.intervals import Estimate
from autophage.metrics.resampling import Resampling, estimate, holm, slopes
from autophage.recipe.arms import with_values
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.mix import ALL
from autophage.report.facts.load import ArmFacts, RunFacts
from autophage.report.facts.pooling import pools
from autophage.report.facts.table import TableCell, TableRow
from autophage.report.facts.words import percent
from autophage.store.answers import read_answers
from autophage.store.rundir import RunDirectory

FLUENCY = ("fluency/ppl_form", "fluency/ppl_human")
SEED = 0
"""Seed of the resampling. Reports of the same run agree."""
RULE = (
    f"A: knowledge is kept. B: at its change point, accuracy has fallen by at least {100 * DROP:.0f} points more than the "
    f"control's. Perplexity is at most {FLUENT:g} times that of generation 0, and most answers have the requested form. b: as B, "
    f"but the model is no longer fluent. C: accuracy is at most {CHANCE:.0%} (guessing gives 25%), or fewer than "
    f"{COMPLIANT:.0%} of answers have the requested form, until the end. An onset is the first generation of a stage. Each has a "
    "95% interval over questions and seeds, and the share of resamples that contain the stage. A stage counts as shown from "
    f"{SHOWN:.0%} of resamples on. The {CHANCE:.0%} of stage C is the paper's threshold, the others are this program's own."
)


@dataclass(frozen=True)
class Difference:
    """Effect of an arm's question formats or of its domain, as an estimate and a sentence.

    For formats, `found` is a difference of accuracies. For a domain, it is one of accuracies per generation.
    """

    arm: str
    found: Estimate
    text: str


@dataclass(frozen=True)
class CourseView:
    """Content of the report's section on stages of knowledge collapse.

    `rows` has one row for each arm and question format. `labels` maps (arm, format) to the stage letters of its
    generations. `sentences` contains the texts of `formats` and `domains`.
    """

    rule: str
    rows: list[TableRow]
    sentences: list[str]
    labels: dict[tuple[str, str], str]
    formats: list[Difference]
    domains: list[Difference]


@dataclass(frozen=True)
class SeedGroup:
    """Arms that differ only in their seed, with their answers to questions.

    `answers` maps a format to arrays over S seeds, G generations and Q questions. All arms have these generations and
    questions.
    """

    name: str
    arm: ArmFacts
    answers: dict[str, Answers]


def course_view(run: RunDirectory, facts: RunFacts, shown: RunFacts) -> CourseView:
    """Build the report's section on stages of knowledge collapse from the answers to questions.

    The arms of `facts` have one seed each. Those of `shown` are pooled over seeds. Without questions the section has no
    rows.
    """
    questions, groups = _groups(run, facts, shown)
    if not groups:
        return CourseView(RULE, [], [], {}, [], [])
    resampling = Resampling(len(questions), SEED)
    by_name = {group.name: group for group in groups}
    courses: dict[tuple[str, str], Course] = {}
    for group in groups:
        control = None if group.arm.control else shown.control_of(group.arm)
        beside = by_name[control.name].answers if control is not None and control.name in by_name else {}
        for form, answers in group.answers.items():
            courses[group.name, form] = course(answers, beside.get(form), resampling)
    treated = [key for key in courses if not by_name[key[0]].arm.control]
    adjusted = dict(zip(treated, holm([courses[key].drop.p for key in treated]), strict=True))
    rows = [
        _row(*key, one, adjusted.get(key), by_name[key[0]].answers[key[1]], resampling) for key, one in courses.items()
    ]
    formats, domains = list(_formats(groups, resampling)), list(_domains(groups, questions))
    sentences = [
        *_stages(courses, by_name),
        *(one.text for one in (*formats, *domains)),
        *_gaps(groups),
        _note(facts, len(treated)),
    ]
    labels = {key: one.labels for key, one in courses.items()}
    return CourseView(RULE, rows, sentences, labels, formats, domains)


def _groups(run: RunDirectory, facts: RunFacts, shown: RunFacts) -> tuple[list[str], list[SeedGroup]]:
    """Read the questions that all arms answered, and each group's answers, in the generations that all arms measured.

    Both lists are empty without such questions or with fewer than two generations.
    """
    members: Mapping[str, Sequence[str]] = pools(facts)
    tables: dict[str, dict[int, dict[tuple[str, str], tuple[bool, bool]]]] = {}
    for arm in facts.arms:
        read = {g: found for g in range(arm.last + 1) if (found := _answers_of(run, arm.name, g))}
        if 0 in read:
            tables[arm.name] = read
    if not tables:
        return [], []
    generations = sorted(set.intersection(*(set(table) for table in tables.values())))
    common = set.intersection(*(set(table[g]) for table in tables.values() for g in generations))
    forms = sorted({form for form, _ in common})
    questions = sorted(set.intersection(*({q for f, q in common if f == form} for form in forms))) if forms else []
    if not questions or len(generations) < 2:
        return [], []
    groups = []
    for arm in shown.arms:
        names = [name for name in members.get(arm.name, [arm.name]) if name in tables]
        fluency = _fluency(facts, names, generations)
        if not names or fluency is None:
            continue
        answers = {}
        for form in forms:
            cells = np.array(
                [[[tables[n][g][form, q] for q in questions] for g in generations] for n in names], dtype=float
            )
            answers[form] = Answers(cells[..., 0], cells[..., 1], fluency, generations)
        groups.append(SeedGroup(arm.name, arm, answers))
    return questions, groups


def _answers_of(run: RunDirectory, arm: str, generation: int) -> dict[tuple[str, str], tuple[bool, bool]]:
    """Read the answers of a generation: (format, question) -> (right, has the form asked for)."""
    table = read_answers(run.generation(arm, generation))
    columns = [table[name].to_pylist() for name in ("format", "question", "chosen", "gold", "complies")]
    return {(form, q): (chosen == gold, complies) for form, q, chosen, gold, complies in zip(*columns, strict=True)}


def _fluency(facts: RunFacts, names: Sequence[str], generations: Sequence[int]) -> np.ndarray | None:
    """Return the perplexity of form for S arms and G generations, [S, G].

    If it is not known, the perplexity of human text takes its place. If a value is missing, the result is None.
    """
    for metric in FLUENCY:
        points = [[facts.metrics.at(name, metric, g) for g in generations] for name in names]
        if names and all(point is not None for row in points for point in row):
            return np.array([[point.value for point in row if point is not None] for row in points])
    return None


def _row(arm: str, form: str, found: Course, p: float | None, answers: Answers, resampling: Resampling) -> TableRow:
    known = answers.right[:, :1]
    with np.errstate(invalid="ignore"):  # a resample without known questions has no share, and does not count
        kept = resampling.series(answers.right * known)[:, -1] / resampling.series(known)[:, 0]
    texts = [
        form,
        found.labels,
        _onset(found.collapse),
        _onset(found.loss_of_form),
        _points(found.slope),
        _points(found.drop) if p is not None else "",
        "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}",
        _shares(estimate(kept)) if known.any() else "none known",
    ]
    return TableRow(arm, [TableCell(text) for text in texts], arm)


def _onset(found: Onset) -> str:
    if found.generation is None:
        return f"never, {percent(found.share)}" if found.share else "never"
    low, high = ("never" if bound is None else str(bound) for bound in (found.low, found.high))
    return f"{found.generation} ({low} to {high}), {percent(found.share)}"


def _points(found: Estimate) -> str:
    """Format a difference of shares and its interval in percentage points."""
    return f"{100 * found.value:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def _shares(found: Estimate) -> str:
    return f"{percent(found.value)} ({percent(found.low)} to {percent(found.high)})"


def _stages(courses: Mapping[tuple[str, str], Course], groups: Mapping[str, SeedGroup]) -> Iterator[str]:
    """Yield a sentence for each group: formats that show stages B and C, with their onsets."""
    for name, group in groups.items():
        mine = {form: courses[name, form] for form in group.answers}
        shown = [
            f"{form} from generation {one.collapse.generation}" for form, one in mine.items() if one.collapse.shown
        ]
        lost = [
            f"{form} from generation {one.loss_of_form.generation}"
            for form, one in mine.items()
            if one.loss_of_form.shown
        ]
        parts = [f"stage B in {', '.join(shown)}"] if shown else ["no stage B"]
        parts += [f"stage C in {', '.join(lost)}"] if lost else []
        yield f"{name}: {'; '.join(parts)}."


def _gaps(groups: Sequence[SeedGroup]) -> Iterator[str]:
    """Yield a sentence about the measured generations, unless they are all up to the last one."""
    measured = next(iter(groups[0].answers.values())).generations
    if len(measured) <= measured[-1]:
        yield (
            f"Questions were asked in generations {', '.join(map(str, measured))} (measure.every). Each has one letter. An onset "
            "lies after the measured generation before it, up to the one that is named."
        )


def _formats(groups: Sequence[SeedGroup], resampling: Resampling) -> Iterator[Difference]:
    """Yield the difference in lost accuracy between the two formats furthest apart, for each arm.

    Controls and arms with a single format are left out.
    """
    for group in groups:
        if group.arm.control or len(group.answers) < 2:
            continue
        series = {form: resampling.series(one.right) for form, one in group.answers.items()}
        falls = {form: one[:, 0] - one[:, -1] for form, one in series.items()}
        most, least = max(falls, key=lambda f: falls[f][0]), min(falls, key=lambda f: falls[f][0])
        found = estimate(falls[most] - falls[least])
        yield Difference(
            group.name,
            found,
            f"{group.name}: {most} questions lost {_points(found)} percentage points more than {least} questions "
            f"({_shares(estimate(falls[most]))} against {_shares(estimate(falls[least]))}).",
        )


def _domains(groups: Sequence[SeedGroup], questions: Sequence[str]) -> Iterator[Difference]:
    """Yield the slope of accuracy in each domain's arm minus that in the arm of all domains.

    Questions of the domain count, or all if it has none. The ratio of the slopes is 15 to 1 in the paper.
    """
    for group in groups:
        recipe = group.arm.recipe
        general = None if recipe is None else _general(group, recipe, groups)
        if recipe is None or general is None or group.arm.control:
            continue
        own = [place for place, question in enumerate(questions) if question.split("/")[-1] == recipe.mix.domain]
        asked = own or list(range(len(questions)))
        draw = Resampling(len(asked), SEED)
        ours, theirs = (_slopes(one, draw, asked) for one in (group, general))
        ratio, gap = estimate(theirs / ours), estimate(ours - theirs)
        what = f"{plural(len(asked), 'question')}{' of its domain' if own else ''}"
        yield Difference(
            group.name,
            gap,
            f"{group.name} compared with {general.name} ({what}, all formats): accuracy changes by {_points(estimate(ours))} "
            f"against {_points(estimate(theirs))} percentage points a generation. The difference is {_points(gap)}. "
            f"Ratio of the slopes (15.5 in the paper, of one run): {ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f}). "
            "Prefer the difference if the divisor may be 0.",
        )


def _slopes(group: SeedGroup, draw: Resampling, asked: Sequence[int]) -> np.ndarray:
    generations = next(iter(group.answers.values())).generations
    return slopes(draw.series(_all_formats(group)[:, :, asked]), generations)


def _general(group: SeedGroup, recipe: Recipe, groups: Sequence[SeedGroup]) -> SeedGroup | None:
    """Return the group that differs from `group` only in having no domain.

    If there is none, the result is None.
    """
    if recipe.mix.domain == ALL:
        return None
    wanted = with_values(recipe, {"mix.domain": ALL})
    return next((one for one in groups if one.arm.recipe == wanted), None)


def _all_formats(group: SeedGroup) -> np.ndarray:
    return np.asarray(np.mean([one.right for one in group.answers.values()], axis=0))


def _note(facts: RunFacts, tests: int) -> str:
    seeds = len(facts.recipe.sweep.get("seed", ())) or 1
    over = (
        f" and {seeds} seeds."
        if seeds > 1
        else ". The run has one seed, so they do not cover the variation between seeds."
    )
    return (
        f"Intervals are paired bootstraps over questions{over} The {plural(tests, 'p-value')} of falls beyond the control "
        "are adjusted for their number (Holm). The formats compared are those furthest apart. Their interval does not account "
        "for this choice."
    )

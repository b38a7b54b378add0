"""The stages that each arm went through, per format of question, and what formats, fractions and domains change.

Reads the answers of every committed generation, once; what they mean is `metrics.collapse`. Seeds of one arm are one row.
All arms and formats share one draw of questions, so that differences between them are paired.
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
"""Of the resampling: a report of the same run says the same."""
RULE = (
    f"A: knowledge is kept. B: accuracy has fallen at its change point by at least {DROP:.0%} more than the control's, while "
    f"perplexity is within {FLUENT:g} times that of generation 0 and most answers have the form asked for; b: likewise, but "
    f"fluency went too. C: accuracy is at most {CHANCE:.0%} (guessing is 25%), or fewer than {COMPLIANT:.0%} of answers have the "
    "form asked for, to the end. Onsets are generations with 95% intervals over questions and seeds, and the share of resamples "
    f"that have one; a stage counts as shown from {SHOWN:.0%} on. The thresholds but C's 28% are this program's own: the "
    "paper gives no others."
)


@dataclass(frozen=True)
class Difference:
    """What one arm's formats, or its domain, make of a difference: the number, and the sentence that says it."""

    arm: str
    found: Estimate
    text: str


@dataclass(frozen=True)
class CourseView:
    """`formats` and `domains` are said in `sentences` too."""

    rule: str
    rows: list[TableRow]
    sentences: list[str]
    formats: list[Difference]
    domains: list[Difference]


@dataclass(frozen=True)
class SeedGroup:
    """Arms that differ in their seed alone. `answers` are by format; [S, G, Q] over common generations and questions."""

    name: str
    arm: ArmFacts
    answers: dict[str, Answers]


def course_view(run: RunDirectory, facts: RunFacts, shown: RunFacts) -> CourseView:
    """Everything the page says about stages; no rows where no questions were asked. `shown` has seeds pooled."""
    questions, groups = _groups(run, facts, shown)
    if not groups:
        return CourseView(RULE, [], [], [], [])
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
        _note(facts, len(treated)),
    ]
    return CourseView(RULE, rows, sentences, formats, domains)


def _groups(run: RunDirectory, facts: RunFacts, shown: RunFacts) -> tuple[list[str], list[SeedGroup]]:
    """The questions that everybody answered in every common generation, and each group's answers to them."""
    members: Mapping[str, Sequence[str]] = pools(facts)
    tables: dict[str, dict[int, dict[tuple[str, str], tuple[bool, bool]]]] = {}
    for arm in facts.arms:
        read = {g: _answers_of(run, arm.name, g) for g in range(arm.last + 1)}
        if read and all(read.values()):
            tables[arm.name] = read
    if not tables:
        return [], []
    generations = min(map(len, tables.values()))
    common = set.intersection(*(set(table[g]) for table in tables.values() for g in range(generations)))
    forms = sorted({form for form, _ in common})
    questions = sorted(set.intersection(*({q for f, q in common if f == form} for form in forms))) if forms else []
    if not questions or generations < 2:
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
                [[[tables[n][g][form, q] for q in questions] for g in range(generations)] for n in names], dtype=float
            )
            answers[form] = Answers(cells[..., 0], cells[..., 1], fluency)
        groups.append(SeedGroup(arm.name, arm, answers))
    return questions, groups


def _answers_of(run: RunDirectory, arm: str, generation: int) -> dict[tuple[str, str], tuple[bool, bool]]:
    """(format, question) -> right, complies."""
    table = read_answers(run.generation(arm, generation))
    columns = [table[name].to_pylist() for name in ("format", "question", "chosen", "gold", "complies")]
    return {(form, q): (chosen == gold, complies) for form, q, chosen, gold, complies in zip(*columns, strict=True)}


def _fluency(facts: RunFacts, names: Sequence[str], generations: int) -> np.ndarray | None:
    """Perplexity of form where it is known, else of human text, [S, G]; None where a value is missing."""
    for metric in FLUENCY:
        points = [[facts.metrics.at(name, metric, g) for g in range(generations)] for name in names]
        if names and all(point is not None for row in points for point in row):
            return np.array([[point.value for point in row if point is not None] for row in points])
    return None


def _row(arm: str, form: str, found: Course, p: float | None, answers: Answers, resampling: Resampling) -> TableRow:
    known = answers.right[:, :1]
    kept = resampling.series(answers.right * known)[:, -1] / resampling.series(known)[:, 0]
    texts = [
        form,
        found.labels,
        _onset(found.collapse),
        _onset(found.loss_of_form),
        _points(found.slope),
        _points(found.drop) if p is not None else "",
        "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}",
        _shares(estimate(kept)),
    ]
    return TableRow(arm, [TableCell(text) for text in texts], arm)


def _onset(found: Onset) -> str:
    if found.generation is None:
        return f"never, {percent(found.share)}" if found.share else "never"
    low, high = ("never" if bound is None else str(bound) for bound in (found.low, found.high))
    return f"{found.generation} ({low} to {high}), {percent(found.share)}"


def _points(found: Estimate) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * found.value:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def _shares(found: Estimate) -> str:
    return f"{percent(found.value)} ({percent(found.low)} to {percent(found.high)})"


def _stages(courses: Mapping[tuple[str, str], Course], groups: Mapping[str, SeedGroup]) -> Iterator[str]:
    """One sentence for each group: which formats show stage B, and from when."""
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


def _formats(groups: Sequence[SeedGroup], resampling: Resampling) -> Iterator[Difference]:
    """How much more one format lost than another, in the arms that lost anything: the two furthest apart."""
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
    """The slope of a domain's own questions in the arm of that domain beside the arm of everything (15 to 1 in the paper)."""
    for group in groups:
        recipe = group.arm.recipe
        general = None if recipe is None else _general(group, recipe, groups)
        if recipe is None or general is None or group.arm.control:
            continue
        own = [place for place, question in enumerate(questions) if question.split("/")[-1] == recipe.mix.domain]
        asked = own or list(range(len(questions)))
        draw = Resampling(len(asked), SEED)
        ours, theirs = (slopes(draw.series(_all_formats(one)[:, :, asked])) for one in (group, general))
        ratio, gap = estimate(theirs / ours), estimate(ours - theirs)
        what = f"{plural(len(asked), 'question')}{' of its domain' if own else ''}"
        yield Difference(
            group.name,
            gap,
            f"{group.name} beside {general.name}, {what}, all formats: accuracy changes by {_points(estimate(ours))} against "
            f"{_points(estimate(theirs))} percentage points a generation, a difference of {_points(gap)}. "
            f"Ratio of the slopes (15.5 in the paper, of one run): {ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f}); "
            "where the divisor may be 0 a ratio says little, and the difference is what counts.",
        )


def _general(group: SeedGroup, recipe: Recipe, groups: Sequence[SeedGroup]) -> SeedGroup | None:
    """The arm that differs from `group` in having no domain."""
    if recipe.mix.domain == ALL:
        return None
    wanted = with_values(recipe, {"mix.domain": ALL})
    return next((one for one in groups if one.arm.recipe == wanted), None)


def _all_formats(group: SeedGroup) -> np.ndarray:
    return np.asarray(np.mean([one.right for one in group.answers.values()], axis=0))


def _note(facts: RunFacts, tests: int) -> str:
    seeds = len(facts.recipe.sweep.get("seed", ())) or 1
    over = f"{seeds} seeds" if seeds > 1 else "one seed, so that differences between seeds are not in the intervals"
    return (
        f"Intervals are paired bootstraps over questions and {over}. The {plural(tests, 'p-value')} of falls beyond the control "
        "are adjusted for their number (Holm). Formats that are compared are those furthest apart, and their interval does "
        "not know that they were picked."
    )

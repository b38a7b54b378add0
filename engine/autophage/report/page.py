"""The page: one self-contained HTML file.

The module decides what stands on the page and in which order. `frame` renders it and keeps it inert.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from autophage.plan.record import read_prediction
from autophage.report import provenance, tables
from autophage.report.courses import course_view
from autophage.report.facts.costs import Costs, cost_facts, cost_rows, costs_of
from autophage.report.facts.load import ArmFacts, RunFacts, load
from autophage.report.facts.pooling import pooled, pooled_seeds, pools
from autophage.report.figures.colours import Style, styles
from autophage.report.figures.panels import Figure
from autophage.report.figures.planned import metric_figures, other_figures
from autophage.report.figures.surprisal import surprisal_figure
from autophage.report.figures.tailplot import tail_figure
from autophage.report.findings import Finding, findings
from autophage.report.frame import rendered
from autophage.report.learners.breakdown import BREAKDOWN
from autophage.report.learners.drawn import drawn_figure
from autophage.report.learners.pictures import arm_pictures
from autophage.report.learners.stories import origin, story, writes_text
from autophage.report.observations import observations
from autophage.report.predicted import predicted
from autophage.report.remedies.front import front_figure
from autophage.report.remedies.outcomes import RemedyComparison, gathered, remedy_facts
from autophage.report.remedies.view import remedy_view, summary
from autophage.report.samples import ArmSamples, arm_samples
from autophage.report.settings import MOST_COLUMNS, caption, outcome_settings
from autophage.report.timings import light_words, timing_figures, timing_words, timings
from autophage.report.warnings import warning_facts, warning_view
from autophage.store.atomic import write_bytes
from autophage.store.rundir import RunDirectory

TEMPLATE = "template.html.jinja"
SAMPLES_BEGIN, SAMPLES_END = "<!-- samples -->", "<!-- end of samples -->"
"""Marks around the part of the page that quotes corpora. Text of a corpus cannot hold them, because it is escaped."""
AFTER = ("main", "trajectory")
"""Keys of the figures in the section of the main figure. The others follow under their own heading."""


@dataclass(frozen=True)
class Sections:
    """Figures of the report's page, one list for each section."""

    main: list[Figure]
    more: list[Figure]
    other: list[Figure]
    timing: list[Figure]
    remedies: list[Figure]

    @property
    def all(self) -> list[Figure]:
        return [*self.main, *self.remedies, *self.more, *self.other, *self.timing]


@dataclass(frozen=True)
class Account:
    """Data of a report: content of the run, costs, and comparison of remedies.

    It is read once. The page shows it in words, `account_facts` as plain values.
    """

    facts: RunFacts
    costs: Costs
    compared: RemedyComparison | None


def read_account(run: RunDirectory) -> Account:
    """Read the data of a report from a run directory, finished or not.

    Raises:
        UserError: The directory holds no run.
    """
    facts = load(run)
    costs = costs_of(run, facts)
    return Account(facts, costs, gathered(facts, costs))


def account_facts(account: Account) -> dict[str, Any]:
    """Return early warnings, costs and the comparison of remedies as plain values, without the metrics."""
    return {
        "early_warning": warning_facts(account.facts),
        "costs": cost_facts(account.costs),
        "remedies": remedy_facts(account.compared),
    }


def write_report(run: RunDirectory, account: Account | None = None) -> Path:
    """Write `report.html` of a run, finished or not, and return its path.

    The data of a given `account` are not read again.

    Raises:
        UserError: The directory holds no run.
    """
    page = render(run, account or read_account(run))
    write_bytes(run.report, page.encode("utf-8", "backslashreplace"))
    return run.report


def render(run: RunDirectory, account: Account) -> str:
    """Return the whole page of a report as HTML text.

    The data of `account` are not read again. Corpora, answers and the prediction are read.
    """
    facts, costs, compared = account.facts, account.costs, account.compared
    shown, groups = pooled(facts), pools(facts)
    looks = styles([(arm.name, arm.control) for arm in shown.arms])
    looks |= {name: looks[group] for group, names in groups.items() for name in names}
    several = {name for names in groups.values() for name in names[1:]}
    sampled = [arm for arm in facts.arms if arm.name not in several]
    measured = timings(facts)
    told = findings(shown)
    if compared is not None:
        told = [Finding(None, summary(compared)), *findings(_reference(shown, compared.naked.arm))]
    sections = _sections(
        run, shown, sampled, looks, timing_figures(facts, measured, looks), front_figure(compared, looks)
    )
    return rendered(
        TEMPLATE,
        sections.all,
        facts=facts,
        shown=shown,
        seeds=max(map(len, groups.values()), default=1),
        looks=looks,
        sections=sections,
        findings=told,
        observations=observations(shown),
        courses=course_view(run, facts, shown),
        warnings=warning_view(shown),
        remedies=remedy_view(compared),
        costs=cost_rows(shown, costs, groups),
        settings=outcome_settings(shown.arms, pooled_seeds(facts)),
        most_columns=MOST_COLUMNS,
        set_arms=[arm for arm in shown.arms if arm.recipe is not None],
        caption=caption(facts.arms),
        origin=origin(facts.recipe),
        samples=_samples(run, replace(facts, arms=sampled)),
        samples_begin=Markup(SAMPLES_BEGIN),
        samples_end=Markup(SAMPLES_END),
        pictures=arm_pictures(run, replace(facts, arms=sampled)),
        headlines=tables.headline_table(shown),
        csv=tables.csv_uri(facts.rows),
        timing_words=[*timing_words(measured), *light_words(facts)],
        predicted=predicted(read_prediction(run), facts, measured),
        status=status(facts),
        machine=provenance.machine_words(facts.environment),
        chains=[(arm.name, provenance.chain(arm)) for arm in facts.arms if arm.manifests],
        versions=provenance.versions(facts),
        event_summary=provenance.event_summary(facts.events),
        told_events=provenance.told_events(facts.events),
        environment=provenance.pretty(facts.environment),
    )  # fmt: skip


def without_samples(page: str) -> str | None:
    """Return the page of a report without the part that quotes corpora; None if an older version wrote the page."""
    before, begin, rest = page.partition(SAMPLES_BEGIN)
    _, end, after = rest.rpartition(SAMPLES_END)
    return before + after if begin and end else None


def _reference(shown: RunFacts, name: str) -> RunFacts:
    """Return a copy of `shown` with the arm `name` and its control only.

    It is for sentences beside a table of all arms.
    """
    arm = next(arm for arm in shown.arms if arm.name == name)
    control = shown.control_of(arm)
    return replace(shown, arms=[arm] if control is None else [arm, control])


def status(facts: RunFacts) -> str:
    """Return the state of a run in words: running, finished, unfinished or not begun."""
    if facts.running:
        return "running"
    if facts.complete:
        return "finished"
    return "unfinished" if any(arm.manifests for arm in facts.arms) else "not begun"


def _sections(
    run: RunDirectory,
    facts: RunFacts,
    sampled: list[ArmFacts],
    looks: dict[str, Style],
    timing: list[Figure],
    remedies: list[Figure],
) -> Sections:
    """Draw the remaining figures and sort all figures into sections of the page.

    Arms of `facts` are pooled over seeds. Corpora are read for `sampled`, one arm of each pool. `timing` and `remedies`
    are figures that exist already.
    """
    own = story(facts.recipe)
    planned = metric_figures(facts, looks, own.figures if own else ())
    other = other_figures(facts, looks, planned + timing)
    main = [figure for figure in planned if figure.key in AFTER]
    more = [figure for figure in planned if figure.key not in AFTER]
    place = next((index + 1 for index, figure in enumerate(more) if figure.key == "onpolicy"), len(more))
    corpora = replace(facts, arms=sampled)
    if writes_text(facts.recipe):
        spreads = [*surprisal_figure(run, corpora, looks), *tail_figure(run, corpora, looks)]
    else:
        spreads = drawn_figure(run, corpora, looks)
        if spreads and spreads[0].key == BREAKDOWN:  # the main result of such a run
            main, spreads = [*spreads, *main], []
    return Sections(main, more[:place] + spreads + more[place:], other, timing, remedies)


def _samples(run: RunDirectory, facts: RunFacts) -> list[ArmSamples]:
    """Read the sample texts of each arm for the page; empty if models write numbers."""
    if not writes_text(facts.recipe):
        return []
    return [sample for arm in facts.arms if (sample := arm_samples(run, arm)).generations or sample.missing]

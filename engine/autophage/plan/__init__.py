"""Estimate a run before it starts: tokens, seconds of every stage, memory of each device, disk and cost.

    tokens      work of the stages, counted from the recipe
    machines    constants of machines, and measured speeds (`throughputs.json`)
    speeds      formulas, corrected by the nearest measured rows
    footprint   bytes of memory and disk          memory        division of a GPU
    estimate    the plan, put together            assumptions   the sentences it rests on
    calibrate   measured speeds of a finished run record        the prediction that a run keeps

Pure arithmetic over a recipe; only the choice of the machine inspects the host. Nothing is loaded, downloaded or
timed.
"""

from autophage.plan.estimate import ArmPlan, Layout, Plan, Speeds, layout_of, plan
from autophage.plan.footprint import Memory, demand
from autophage.plan.machines import Machine, choose, here

__all__ = [
    "ArmPlan",
    "Layout",
    "Machine",
    "Memory",
    "Plan",
    "Speeds",
    "choose",
    "demand",
    "here",
    "layout_of",
    "plan",
]

"""What a run will take before it runs: tokens, seconds of every stage, memory of each device, disk and cost.

    tokens      what the stages compute, counted from the recipe
    machines    constants of machines, and what runs have measured on them (`throughputs.json`)
    speeds      formulas, corrected by the rows that were measured nearest
    footprint   bytes of memory and disk
    estimate    the plan, put together            words    what it rests on
    calibrate   a row from a finished run         record   the prediction that a run keeps

Pure arithmetic over a recipe, but for the choice of the machine: nothing is loaded, downloaded or timed.
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

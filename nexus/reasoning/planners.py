"""Planning problems in the terms of unified-planning: for Fast Downward, and for its plan validator."""

from __future__ import annotations

from typing import Any

from nexus.reasoning.extras import needs
from nexus.reasoning.formulas import Atom, Planning


def to_unified(problem: Planning) -> tuple[Any, dict[str, str]]:
    """The grounded problem, and our name of each of its actions."""
    with needs("unified_planning", "planners"):
        from unified_planning.shortcuts import BoolType, Fluent, InstantaneousAction, Not, Problem
    made = Problem("nexus")
    atoms: set[Atom] = set(problem.start | problem.goal)
    for action in problem.actions:
        atoms |= action.needs | action.adds | action.deletes | action.forbids
    fluents = {a: Fluent(f"f{i}", BoolType()) for i, a in enumerate(sorted(atoms, key=str))}
    for atom, fluent in fluents.items():
        made.add_fluent(fluent, default_initial_value=atom in problem.start)
    names = {}
    for i, action in enumerate(problem.actions):
        act = InstantaneousAction(f"a{i}")
        names[act.name] = action.name
        for atom in sorted(action.needs, key=str):
            act.add_precondition(fluents[atom])
        for atom in sorted(action.forbids, key=str):
            act.add_precondition(Not(fluents[atom]))
        for atom in sorted(action.deletes - action.adds, key=str):
            act.add_effect(fluents[atom], False)
        for atom in sorted(action.adds, key=str):
            act.add_effect(fluents[atom], True)
        made.add_action(act)
    for atom in sorted(problem.goal, key=str):
        made.add_goal(fluents[atom])
    return made, names


def validate(problem: Planning, plan: list[str]) -> bool:
    """Whether unified-planning's own validator accepts the plan."""
    with needs("unified_planning", "planners"):
        from unified_planning.engines import ValidationResultStatus
        from unified_planning.engines.plan_validator import SequentialPlanValidator
        from unified_planning.plans import ActionInstance, SequentialPlan
    unified, names = to_unified(problem)
    back = {ours: unified.action(theirs) for theirs, ours in names.items()}
    steps = SequentialPlan([ActionInstance(back[name]) for name in plan])
    with SequentialPlanValidator() as validator:
        return bool(validator.validate(unified, steps).status == ValidationResultStatus.VALID)

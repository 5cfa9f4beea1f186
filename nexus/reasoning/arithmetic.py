"""Linear arithmetic: z3 decides, and Farkas' coefficients are found for the checker.

The one idea (Farkas 1902): linear inequalities contradict each other exactly if some non-negative multiples of them add
up to 0 < 0. z3 solves for the multiples as a linear problem of its own; the checker only adds.
"""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from typing import Any

from nexus.reasoning.budget import Budget
from nexus.reasoning.extras import needs
from nexus.reasoning.formulas import And, Compare, Formula, Fun, Theory
from nexus.reasoning.semantics import linear

_OPPOSITE = {"<": ">=", ">": "<=", "<=": ">", ">=": "<", "!=": "="}


def farkas(theory: Theory, goal: Formula, budget: Budget) -> dict[str, Any] | None:
    """A certificate that the axioms entail a comparison (or a conjunction of some); None if there is none."""
    sums = []
    for part in goal.parts if isinstance(goal, And) else (goal,):
        if not isinstance(part, Compare):
            return None
        for op in ("<", ">") if part.op == "=" else (_OPPOSITE[part.op],):
            found = _multiples(theory, Compare(op, part.left, part.right), budget)
            if found is None:
                return None
            sums.append(found)
    return {"kind": "farkas", "sums": sums}


def _multiples(theory: Theory, denial: Compare, budget: Budget) -> list[list[Any]] | None:
    """Pairs (number of the axiom or -1 for the denial, factor as text)."""
    with needs("z3"):
        import z3
    rows = [(-1, denial), *((i, a) for i, a in enumerate(theory.axioms) if isinstance(a, Compare) and a.op != "!=")]
    solver = z3.SolverFor("QF_LRA")
    solver.set("timeout", max(1, int(budget.left * 1000)))
    totals: dict[Fun | None, list[Any]] = defaultdict(list)
    factors, strict = [], []
    for index, row in rows:
        factor = z3.Real(f"f{index}")
        factors.append(factor)
        if row.op != "=":
            solver.add(factor >= 0)
        if row.op in ("<", ">"):
            strict.append(factor)
        for unknown, coefficient in _row(row).items():
            totals[unknown].append(factor * z3.Q(coefficient.numerator, coefficient.denominator))
    constant = z3.Sum(totals.pop(None, []) or [z3.RealVal(0)])
    solver.add(*(z3.Sum(column) == 0 for column in totals.values()))
    solver.add(z3.Or(constant > 0, z3.And(constant >= 0, z3.Sum(strict or [z3.RealVal(0)]) > 0)))
    if solver.check() != z3.sat:
        return None
    model = solver.model()
    values = [model.eval(f, model_completion=True).as_fraction() for f in factors]
    return [[index, str(value)] for (index, _), value in zip(rows, values, strict=True) if value]


def _row(fact: Compare) -> dict[Fun | None, Fraction]:
    """The left side of the fact brought to the form "... <= 0" or "... < 0"."""
    flip = -1 if fact.op in (">", ">=") else 1
    return {u: flip * c for u, c in linear(Fun("-", (fact.left, fact.right))).items()}

"""Translation to SMT: z3 decides, cvc5 gives a second opinion.

What these engines say without a certificate that the checker accepts is "attested". The translation is to first-order
logic over one uninterpreted sort (names are pairwise different, closed sorts are listed) and exact arithmetic.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from nexus.reasoning.budget import Budget, OutOfBudget
from nexus.reasoning.extras import needs
from nexus.reasoning.formulas import Atom, Formula, Fun, Theory, individuals, quantities, walk
from nexus.reasoning.sat import world_data
from nexus.reasoning.smtlib import write_smtlib


def decide(theory: Theory, goal: Formula, budget: Budget) -> tuple[str, dict[str, Any] | None]:
    """By z3: ``entailed``, or ``open`` with a world in which the goal is false, or ``gave up``."""
    with needs("z3"):
        import z3
    solver = z3.Solver()
    solver.set("timeout", max(1, int(budget.left * 1000)))
    solver.set("max_memory", max(64, int(budget.megabytes)))
    try:
        solver.from_string(write_smtlib(theory, goal, commands=False))
        result = solver.check()
    except z3.Z3Exception as error:
        raise OutOfBudget(f"z3: {error}") from error
    if result == z3.unsat:
        return "entailed", None
    if result == z3.unknown:
        return "gave up", None
    return "open", _z3_world(theory, goal, solver.model())


def second_opinion(theory: Theory, goal: Formula, budget: Budget) -> str:
    """By cvc5: ``entailed``, ``open`` or ``gave up``."""
    with needs("cvc5"):
        import cvc5
    solver = cvc5.Solver()
    solver.setOption("tlimit-per", str(max(1, int(budget.left * 1000))))
    solver.setOption("full-saturate-quant", "true")  # it would rather give up on quantifiers than try instances
    parser = cvc5.InputParser(solver)
    parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, write_smtlib(theory, goal), "question")
    symbols = parser.getSymbolManager()
    said = ""
    while True:
        command = parser.nextCommand()
        if command.isNull():
            break
        said += command.invoke(solver, symbols)
    return {"unsat": "entailed", "sat": "open"}.get(said.strip(), "gave up")


def _z3_world(theory: Theory, goal: Formula, model: Any) -> dict[str, Any] | None:
    """The quantities of a z3 model as a world; atoms with individuals are left to the SAT engine."""
    formulas = [*theory.axioms, goal]
    if any(isinstance(n, Atom) for f in formulas for n in walk(f)):
        return None
    declared = {d.name(): d for d in model.decls()}
    values: dict[Fun, Fraction] = {}
    for quantity in quantities(formulas):
        found = declared.get(str(quantity))
        value = model[found] if found is not None else None
        values[quantity] = Fraction(0) if value is None else value.as_fraction() if hasattr(value, "as_fraction") else (
            Fraction(value.as_long()))  # fmt: skip
    return world_data([], values, individuals(formulas))

"""Answer sets by clingo: a second opinion on closed worlds, and programs that have several answer sets."""

from __future__ import annotations

from nexus.reasoning.budget import Budget
from nexus.reasoning.extras import needs
from nexus.reasoning.formulas import Atom, Sym, Theory
from nexus.reasoning.prolog import write_prolog


def answer_sets(theory: Theory, budget: Budget, limit: int = 0, extra: str = "") -> list[set[Atom]]:
    """The answer sets of the rules (all with ``limit`` 0); ``extra`` is added in clingo's own syntax.

    Raises:
        OutOfBudget: time or memory ran out.
    """
    with needs("clingo"):
        import clingo
    control = clingo.Control(["--models", str(limit), "--warn=none"])
    control.add("base", [], write_prolog(theory, negation="not") + extra)
    control.ground([("base", [])])
    found: list[set[Atom]] = []

    def keep(model: clingo.Model) -> None:
        found.append({Atom(s.name, tuple(Sym(str(a)) for a in s.arguments)) for s in model.symbols(atoms=True)})

    with budget.watch(control.interrupt):
        control.solve(on_model=keep)
    return found

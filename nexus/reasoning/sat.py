"""Refutations and worlds by SAT: python-sat with DRUP certificates."""

from __future__ import annotations

from typing import Any

from nexus.reasoning.budget import Budget
from nexus.reasoning.clauses import Key, clauses_of
from nexus.reasoning.extras import needs
from nexus.reasoning.formulas import Atom, Formula, Theory, individuals, quantities, to_data


def solve(theory: Theory, goal: Formula, budget: Budget) -> tuple[bool, dict[str, Any]]:
    """Look for a world of the axioms in which the goal is false.

    Returns:
        (True, a ``drup`` certificate) if there is none: the goal is entailed. Otherwise (False, the world as data).

    Raises:
        NotClausal: the formulas are not of the kind that has a finite set of clauses.
        OutOfBudget: it took too long.
    """
    clauses, keys = clauses_of(theory, goal)
    entailed, result = search(clauses, budget)
    if entailed:
        return True, {"kind": "drup", "lemmas": result}
    return False, _world(theory, goal, keys, set(result))


def search(clauses: list[list[int]], budget: Budget, proof: bool = True) -> tuple[bool, Any]:
    """(True, DRUP lemmas) if the clauses are unsatisfiable, else (False, a model as literals)."""
    if [] in clauses:
        return True, []
    with needs("pysat"):
        from pysat.solvers import Solver
    # glucose can be interrupted and writes DRUP; deletions in the proof are left out, they only save the checker time
    with Solver("g4", bootstrap_with=clauses, with_proof=proof) as solver, budget.watch(solver.interrupt):
        satisfiable = solver.solve_limited(expect_interrupt=True)
        if satisfiable:
            return False, solver.get_model()
        lines = (solver.get_proof() or []) if proof and satisfiable is False else []
    lemmas = [[int(n) for n in line.split()[:-1]] for line in lines if not line.startswith("d")]
    return True, [lemma for lemma in lemmas if lemma]  # the checker finds the empty clause at the end by itself


def _world(theory: Theory, goal: Formula, keys: list[Key], model: set[int]) -> dict[str, Any]:
    true = [key for number, key in enumerate(keys, 1) if number in model]
    atoms = [key for key in true if isinstance(key, Atom)]
    values = dict(key for key in true if not isinstance(key, Atom))
    for quantity in quantities([*theory.axioms, goal]):
        values.setdefault(quantity, theory.ranges[quantity][0])
    names = individuals([*theory.axioms, goal, *(key for key in keys if isinstance(key, Atom))])
    return world_data(atoms, values, names)


def world_data(atoms: Any, values: Any, names: list[str]) -> dict[str, Any]:
    """A world as plain data."""
    return {
        "true": [to_data(a) for a in atoms],
        "values": [[to_data(q), str(v)] for q, v in values.items()],
        "things": names or ["_"],
    }

"""Clauses of a theory: negation normal form, names for what exists, instances over the names, distribution.

The one idea: no new variables are invented, so a clause means what it says about the theory, and both the solver that
looks for a refutation and the checker that reads it number the same clauses. A quantity with a range is encoded value by
value: one literal "it has this value" for each, and a clause against each combination of values that is forbidden.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from nexus.reasoning.formulas import (
    And,
    Atom,
    Compare,
    Exists,
    Forall,
    Formula,
    Fun,
    Iff,
    Implies,
    Not,
    Or,
    Sym,
    Theory,
    Truth,
    individuals,
    quantities,
    substitute,
)
from nexus.reasoning.semantics import World, evaluate

MAX_CLAUSES = 200_000
Key = Atom | tuple[Fun, int]  # a ground atom, or "this quantity has this value"
Clause = frozenset[tuple[Key, bool]]


class NotClausal(ValueError):
    """A formula that has no clauses of this kind: a "there is" below a "for all", or numbers without a range."""


def clauses_of(theory: Theory, goal: Formula) -> tuple[list[list[int]], list[Key]]:
    """The clauses of the axioms and of the negated goal, and what their variables 1, 2, ... mean."""
    skolem = (f"_{n}" for n in itertools.count())
    formulas = [_skolemised(f, True, theory, skolem) for f in theory.axioms]
    formulas.append(_skolemised(goal, False, theory, skolem))
    names = individuals(formulas) or ["_"]
    found: dict[Clause, None] = {}
    for formula in formulas:
        found.update(dict.fromkeys(_cnf(formula, True, theory, names)))
        _limit(found)
    for quantity, (low, high) in theory.ranges.items():
        keys = [(quantity, v) for v in range(low, high + 1)]
        found[frozenset((k, True) for k in keys)] = None
        found.update({frozenset([(a, False), (b, False)]): None for a, b in itertools.combinations(keys, 2)})
    keys = list(dict.fromkeys(k for c in found for k, _ in sorted(c, key=str)))
    numbers = {key: i for i, key in enumerate(keys, 1)}
    return [sorted(numbers[k] if sign else -numbers[k] for k, sign in clause) for clause in found], keys


def _skolemised(f: Formula, sign: bool, theory: Theory, skolem: Iterator[str]) -> Formula:
    """In negation normal form, with a new name for each thing that is said to exist outside of any "for all"."""
    match f:
        case Not(body):
            return _skolemised(body, not sign, theory, skolem)
        case And(parts) | Or(parts):
            made = tuple(_skolemised(p, sign, theory, skolem) for p in parts)
            return And(made) if isinstance(f, And) == sign else Or(made)
        case Implies(left, right):
            return _skolemised(Or((Not(left), right)), sign, theory, skolem)
        case Iff(left, right):
            both = And((Or((Not(left), right)), Or((Not(right), left))))
            return _skolemised(both, sign, theory, skolem)
        case Forall(var, body, sort) | Exists(var, body, sort):
            if sort in theory.sorts:
                several = tuple(substitute(body, {var: Sym(name)}) for name in theory.sorts[sort])
                return _skolemised(And(several) if isinstance(f, Forall) else Or(several), sign, theory, skolem)
            if isinstance(f, Exists) == sign:
                name = next(skolem, None)
                if name is None:
                    raise NotClausal("something exists for each thing: that takes functions, not names")
                return _skolemised(substitute(body, {var: Sym(name)}), sign, theory, skolem)
            inner = _skolemised(body, sign, theory, iter(()))  # a name below "for all" would depend on it: refused
            return Forall(var, inner, sort)
    return f if sign else Not(f)


def _cnf(f: Formula, sign: bool, theory: Theory, names: Iterable[str]) -> list[Clause]:
    match f:
        case Truth(value):
            return [] if value == sign else [frozenset()]
        case Atom():
            return [frozenset([(f, sign)])]
        case Not(body):
            return _cnf(body, not sign, theory, names)
        case Forall(var, body, _):
            return [c for n in names for c in _cnf(substitute(body, {var: Sym(n)}), True, theory, names)]
        case And(parts):
            return [c for p in parts for c in _cnf(p, True, theory, names)]
        case Or(parts):
            product: list[Clause] = [frozenset()]
            for part in parts:
                product = [a | b for a in product for b in _cnf(part, True, theory, names)]
                _limit(product)
            return [c for c in product if not any((k, not s) in c for k, s in c)]
        case Compare():
            terms = quantities([f])
            if not theory.ranges.keys() >= set(terms):
                raise NotClausal(f"{f} is about numbers without a range")
            domains = [range(theory.ranges[t][0], theory.ranges[t][1] + 1) for t in terms]
            tried = itertools.product(*domains)
            wrong = [v for v in tried if evaluate(f, World(set(), dict(zip(terms, v, strict=True)), {})) != sign]
            return [frozenset(((t, x), False) for t, x in zip(terms, v, strict=True)) for v in wrong]
    raise NotClausal(f"{type(f).__name__} cannot be made a clause")


def _limit(clauses: Any) -> None:
    if len(clauses) > MAX_CLAUSES:
        raise NotClausal(f"more than {MAX_CLAUSES} clauses")

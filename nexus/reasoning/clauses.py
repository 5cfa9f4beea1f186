"""Clauses of a theory: negation normal form, names for what exists, instances over the names, distribution.

The one idea: no new variables are invented, so a clause means what it says about the theory, and both the solver that
looks for a refutation and the checker that reads it number the same clauses. A quantity with a range is encoded value
by value: one literal "it has this value" for each, and a clause against each combination of values that is forbidden.
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
Clause = frozenset[int]  # numbers of keys, negative where negated


class NotClausal(ValueError):
    """A formula that has no clauses of this kind: a "there is" below a "for all", or numbers without a range."""


def clauses_of(theory: Theory, goal: Formula) -> tuple[list[list[int]], list[Key]]:
    """The clauses of the axioms and of the negated goal, and what their variables 1, 2, ... mean."""
    taken = {*individuals([*theory.axioms, goal]), *itertools.chain(*theory.sorts.values())}
    skolem = (name for n in itertools.count() if (name := f"_{n}") not in taken)
    formulas = [_skolemised(f, True, theory, skolem) for f in theory.axioms]
    formulas.append(_skolemised(goal, False, theory, skolem))
    unnamed = set(individuals(formulas)) - taken
    maker = _Maker(theory, individuals(formulas) or ["_"], unnamed)
    found: dict[Clause, None] = {}
    for formula in formulas:
        found.update(dict.fromkeys(maker.clauses(formula)))
        _limit(found)
    for quantity, (low, high) in theory.ranges.items():
        several = [maker.number((quantity, v)) for v in range(low, high + 1)]
        found[frozenset(several)] = None
        found.update({frozenset((-a, -b)): None for a, b in itertools.combinations(several, 2)})
    return [sorted(clause, key=abs) for clause in found], list(maker.numbers)


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


class _Maker:
    """Clauses of formulas in negation normal form; literals are numbered as they come."""

    def __init__(self, theory: Theory, names: list[str], unnamed: set[str]) -> None:
        self.theory, self.names, self.unnamed = theory, names, unnamed
        self.numbers: dict[Key, int] = {}

    def number(self, key: Key) -> int:
        return self.numbers.setdefault(key, len(self.numbers) + 1)

    def clauses(self, f: Formula) -> list[Clause]:
        match f:
            case Truth(value):
                return [] if value else [frozenset()]
            case Atom():
                return [frozenset((self.number(f),))]
            case Not(Atom() as atom):
                return [frozenset((-self.number(atom),))]
            case Not(Truth(value)):
                return self.clauses(Truth(not value))
            case Forall(var, body, _):
                return [c for n in self.names for c in self.clauses(substitute(body, {var: Sym(n)}))]
            case And(parts):
                return [c for p in parts for c in self.clauses(p)]
            case Or(parts):
                if all(isinstance(p, Compare) for p in parts) and 0 < len(quantities([f])) <= 2:
                    return self.forbidden(f)  # one constraint: far fewer clauses than the product
                return self.product(parts)
            case Compare() | Not(Compare()):
                return self.forbidden(f)
        raise NotClausal(f"{type(f).__name__} cannot be made a clause")

    def product(self, parts: Iterable[Formula]) -> list[Clause]:
        """Distribution of "or" over "and"; what holds anyway is left out."""
        found: list[Clause] = [frozenset()]
        for part in parts:
            found = [a | b for a in found for b in self.clauses(part)]
            _limit(found)
        return [c for c in found if not any(-lit in c for lit in c)]

    def forbidden(self, f: Formula) -> list[Clause]:
        """A clause against each combination of values for which the constraint is false."""
        terms, ranges = quantities([f]), self.theory.ranges
        if not ranges.keys() >= set(terms):
            raise NotClausal(f"{f} is about numbers without a range")
        if self.unnamed & set(individuals([f])):  # what merely exists may be one of those that have names
            raise NotClausal(f"{f} asks whether something unnamed is something else")
        found = []
        for row in itertools.product(*(range(ranges[t][0], ranges[t][1] + 1) for t in terms)):
            values: dict[Fun, Any] = dict(zip(terms, row, strict=True))
            if not evaluate(f, World(frozenset(), values, {})):
                found.append(frozenset(-self.number(pair) for pair in values.items()))
            _limit(found)
        return found


def _limit(clauses: Any) -> None:
    if len(clauses) > MAX_CLAUSES:
        raise NotClausal(f"more than {MAX_CLAUSES} clauses")

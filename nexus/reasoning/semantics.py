"""What formulas mean: truth in a finite world, and the linear form of a quantity."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Mapping, Set
from dataclasses import dataclass
from fractions import Fraction
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
    Num,
    Or,
    Sym,
    Term,
    Truth,
    substitute,
)

_COMPARE = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
            ">=": operator.ge}  # fmt: skip


@dataclass(frozen=True)
class World:
    """A finite structure: the ground atoms that are true, the values of quantities, the individuals of each sort."""

    true: Set[Atom]
    values: Mapping[Fun, Fraction]
    sorts: Mapping[str, tuple[str, ...]]


def evaluate(formula: Formula, world: World) -> bool:
    """Whether the closed formula holds in the world (Tarski's definition).

    Raises:
        KeyError: a quantity has no value, or a sort no individuals. ValueError: there is a free variable.
    """
    match formula:
        case Truth(value):
            return value
        case Atom():
            return formula in world.true
        case Compare(op, left, right):
            return bool(_COMPARE[op](value_of(left, world), value_of(right, world)))
        case Not(body):
            return not evaluate(body, world)
        case And(parts):
            return all(evaluate(p, world) for p in parts)
        case Or(parts):
            return any(evaluate(p, world) for p in parts)
        case Implies(left, right):
            return not evaluate(left, world) or evaluate(right, world)
        case Iff(left, right):
            return evaluate(left, world) == evaluate(right, world)
        case Forall(var, body, sort):
            return all(evaluate(substitute(body, {var: Sym(n)}), world) for n in world.sorts[sort])
        case Exists(var, body, sort):
            return any(evaluate(substitute(body, {var: Sym(n)}), world) for n in world.sorts[sort])
    raise ValueError(f"{formula!r} is not a formula")


def value_of(term: Term, world: World) -> Any:
    """The number that a quantity has in the world; an individual stands for its own name."""
    match term:
        case Num(value):
            return value
        case Sym(name):
            return name
        case Fun("+", args):
            return sum(value_of(a, world) for a in args)
        case Fun("-", (left, right)):
            return value_of(left, world) - value_of(right, world)
        case Fun("*", (left, right)):
            return value_of(left, world) * value_of(right, world)
        case Fun():
            return world.values[term]
    raise ValueError(f"variable {term} has no value")


def linear(term: Term) -> dict[Fun | None, Fraction]:
    """Coefficient of each unknown, and under None the constant.

    Raises:
        ValueError: the term is not linear.
    """
    total: dict[Fun | None, Fraction] = defaultdict(Fraction)
    match term:
        case Num(value):
            total[None] = value
        case Fun("+" | "-" as op, args):
            for position, arg in enumerate(args):
                for unknown, coefficient in linear(arg).items():
                    total[unknown] += -coefficient if op == "-" and position else coefficient
        case Fun("*", (left, right)):
            a, b = linear(left), linear(right)
            constant, other = (a, b) if not a.keys() - {None} else (b, a)
            if constant.keys() - {None}:
                raise ValueError(f"{term} multiplies unknowns; only linear arithmetic is understood")
            total.update({unknown: constant.get(None, Fraction(0)) * c for unknown, c in other.items()})
        case Fun():
            total[term] = Fraction(1)
        case _:
            raise ValueError(f"{term} is not a quantity")
    return total

"""Estimands: formulas over the observed distribution, printed as text and evaluated on tables of probabilities.

An evaluated formula is an array with one axis for each variable of the distribution, of length 1 where it does not
occur; sums and products then need no bookkeeping of names, and a bound variable cannot meet a free one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nexus.causality.table import Floats, Table


class Estimand:
    """A formula; see `Probability`, `Product`, `Quotient` and `Sum`."""

    def on(self, joint: Joint) -> Floats:
        """The value for each combination of the free variables (axes of length 1 where one does not occur)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Joint:
    """A distribution over discrete variables: `p` has one axis for each name and sums to 1."""

    names: tuple[str, ...]
    p: Floats

    def axes(self, of: Collection[str]) -> tuple[int, ...]:
        """The axes of some variables."""
        return tuple(i for i, name in enumerate(self.names) if name in of)

    @classmethod
    def from_table(cls, table: Table, names: Sequence[str]) -> Joint:
        """The shares in data. Codes follow the sorted values of each column."""
        codes = [np.unique(table.column(name), return_inverse=True)[1] for name in names]
        shape = tuple(int(column.max()) + 1 for column in codes)
        counts = np.bincount(np.ravel_multi_index(tuple(codes), shape), minlength=int(np.prod(shape)))
        return cls(tuple(names), counts.reshape(shape) / len(table))


@dataclass(frozen=True)
class Probability(Estimand):
    """P(of | given)."""

    of: tuple[str, ...]
    given: tuple[str, ...] = ()

    def on(self, joint: Joint) -> Floats:
        """See the base class."""
        both = joint.p.sum(_others(joint, (*self.of, *self.given)), keepdims=True)
        return both if not self.given else divide(both, both.sum(joint.axes(self.of), keepdims=True))

    def __str__(self) -> str:
        return f"P({', '.join(self.of)}{' | ' if self.given else ''}{', '.join(self.given)})"


@dataclass(frozen=True)
class Product(Estimand):
    """The product of its factors; 1 if there are none."""

    factors: tuple[Estimand, ...]

    def on(self, joint: Joint) -> Floats:
        """See the base class."""
        result = np.ones([1] * len(joint.names))
        for factor in self.factors:
            result = result * factor.on(joint)
        return result

    def __str__(self) -> str:
        return " ".join(f"[{f}]" if isinstance(f, (Sum, Quotient)) else str(f) for f in self.factors) or "1"


@dataclass(frozen=True)
class Quotient(Estimand):
    """One formula over another; 0 where the lower one is 0 (nothing of that kind occurs)."""

    above: Estimand
    below: Estimand

    def on(self, joint: Joint) -> Floats:
        """See the base class."""
        return divide(self.above.on(joint), self.below.on(joint))

    def __str__(self) -> str:
        return f"[{self.above}] / [{self.below}]"


@dataclass(frozen=True)
class Sum(Estimand):
    """The sum over all values of some variables."""

    over: tuple[str, ...]
    body: Estimand

    def on(self, joint: Joint) -> Floats:
        """See the base class."""
        value, axes = self.body.on(joint), joint.axes(self.over)
        absent = np.prod([joint.p.shape[axis] for axis in axes if value.shape[axis] == 1], dtype=float)
        return value.sum(axes, keepdims=True) * absent

    def __str__(self) -> str:
        return f"Σ_{{{', '.join(self.over)}}} {self.body}"


def summed(over: Collection[str], body: Estimand) -> Estimand:
    """A sum, left out if there is nothing to sum over; within P(...) it is a marginal."""
    if not over:
        return body
    if isinstance(body, Probability) and set(over) <= set(body.of):
        left = tuple(name for name in body.of if name not in over)
        return Probability(left, body.given) if left else Product(())
    if isinstance(body, Sum):
        return (
            Sum(tuple(sorted({*over, *body.over})), body.body)
            if not {*over} & {*body.over}
            else Sum((*sorted(over),), body)
        )
    return Sum(tuple(sorted(over)), body)


def product(factors: Sequence[Estimand]) -> Estimand:
    """A product without nesting; a single factor stands alone."""
    flat = [g for f in factors for g in (f.factors if isinstance(f, Product) else (f,))]
    return flat[0] if len(flat) == 1 else Product(tuple(flat))


def effect_on(estimand: Estimand, joint: Joint, outcome: Sequence[str], fixed: Mapping[str, int]) -> Floats:
    """P(outcome | do(fixed)) as an array with one axis for each outcome, in their order.

    Args:
        estimand: the identified formula.
        joint: the observed distribution.
        outcome: the variables whose distribution is wanted.
        fixed: variable -> code of its value, for treatments (and conditions). Any other variable may be set to
            anything where the formula holds; its first value is taken.
    """
    value = estimand.on(joint)
    at: list[int | slice] = []
    for axis, name in enumerate(joint.names):
        if name in outcome:
            at.append(slice(None))
        else:
            at.append(fixed.get(name, 0) if value.shape[axis] > 1 else 0)
    shape = [
        joint.p.shape[axis] if name in outcome else size
        for axis, (name, size) in enumerate(zip(joint.names, value.shape, strict=True))
    ]
    result = np.broadcast_to(value, shape)[tuple(at)]
    present = [name for name in joint.names if name in outcome]
    return result.transpose([present.index(name) for name in outcome])


def divide(above: Floats, below: Floats) -> Floats:
    """above / below, 0 where both are 0."""
    shape = np.broadcast_shapes(above.shape, below.shape)
    return np.divide(above, below, out=np.zeros(shape), where=np.broadcast_to(below, shape) > 0)


def _others(joint: Joint, kept: Collection[str]) -> tuple[int, ...]:
    return tuple(i for i, name in enumerate(joint.names) if name not in kept)

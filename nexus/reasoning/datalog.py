"""Closed worlds: the perfect model of a stratified Datalog program, computed semi-naively, as a certificate.

"Not" in the body of a rule means "cannot be derived". The model is unique if no predicate depends on its own negation
(Apt, Blair and Walker 1988); then a query is true exactly if it holds in the model.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nexus.reasoning.budget import Budget
from nexus.reasoning.formulas import (
    Atom,
    Formula,
    Not,
    Sym,
    Theory,
    Var,
    individuals,
    rule_parts,
    substitute,
    to_data,
)


class NotStratified(ValueError):
    """A program whose closed world is not unique, or that is not made of rules."""


@dataclass(frozen=True)
class _Rule:
    number: int
    variables: tuple[str, ...]
    positive: tuple[Atom, ...]
    negative: tuple[Atom, ...]
    head: Atom


def closed_world(theory: Theory, goal: Formula, budget: Budget) -> tuple[set[Atom], dict[str, Any]]:
    """The perfect model over the names of theory and goal, and the certificate.

    Raises:
        NotStratified: the axioms are no stratified program; the message names the predicate.
    """
    rules = [_rule(i, axiom) for i, axiom in enumerate(theory.axioms)]
    strata = _strata(rules, goal)
    names = individuals([*theory.axioms, goal]) or ["_"]
    model: dict[Atom, dict[str, Any]] = {}
    facts: dict[str, list[Atom]] = defaultdict(list)
    for level in sorted(set(strata.values())):
        _saturate([r for r in rules if strata[r.head.name] == level], model, facts, names, budget)
    return set(model), {"kind": "closed", "strata": strata, "model": list(model.values())}


def _saturate(
    rules: Sequence[_Rule],
    model: dict[Atom, dict[str, Any]],
    facts: dict[str, list[Atom]],
    names: Sequence[str],
    budget: Budget,
) -> None:
    """Semi-naive: after the first round a rule is joined only where one premise is new."""

    def conclude(rule: _Rule, binding: Mapping[str, str], into: list[Atom]) -> None:
        term = {v: Sym(n) for v, n in binding.items()}
        head = substitute(rule.head, term)
        if head not in model and not any(substitute(atom, term) in model for atom in rule.negative):
            model[head] = {"atom": to_data(head), "rule": rule.number, "with": dict(binding)}
            into.append(head)

    fresh: list[Atom] = []
    for rule in rules:
        for binding in list(_join(rule, facts, names, budget)):
            conclude(rule, binding, fresh)
    while fresh:
        for atom in fresh:
            facts[atom.name].append(atom)
        delta, fresh = fresh, []
        for rule, (place, premise) in ((r, p) for r in rules for p in enumerate(r.positive)):
            for atom in delta:
                start = _match(premise, atom, {})
                if start is not None:
                    for binding in list(_join(rule, facts, names, budget, start, place)):
                        conclude(rule, binding, fresh)


def _join(
    rule: _Rule,
    facts: Mapping[str, list[Atom]],
    names: Sequence[str],
    budget: Budget,
    binding: dict[str, str] | None = None,
    fixed: int = -1,
    place: int = 0,
) -> Iterator[dict[str, str]]:
    binding = binding or {}
    if place == len(rule.positive):
        loose = [v for v in rule.variables if v not in binding]
        for values in itertools.product(names, repeat=len(loose)):
            yield {**binding, **dict(zip(loose, values, strict=True))}
    elif place == fixed:
        yield from _join(rule, facts, names, budget, binding, fixed, place + 1)
    else:
        for atom in facts.get(rule.positive[place].name, []):
            budget.spend()
            further = _match(rule.positive[place], atom, binding)
            if further is not None:
                yield from _join(rule, facts, names, budget, further, fixed, place + 1)


def _match(pattern: Atom, fact: Atom, binding: Mapping[str, str]) -> dict[str, str] | None:
    if pattern.name != fact.name or len(pattern.args) != len(fact.args):
        return None
    extended = dict(binding)
    for argument, value in zip(pattern.args, fact.args, strict=True):
        if isinstance(argument, Var):
            if extended.setdefault(argument.name, str(value)) != str(value):
                return None
        elif argument != value:
            return None
    return extended


def _rule(number: int, axiom: Formula) -> _Rule:
    try:
        variables, body, head = rule_parts(axiom)
    except ValueError as error:
        raise NotStratified(str(error)) from error
    positive = tuple(b for b in body if isinstance(b, Atom))
    negative = tuple(b.body for b in body if isinstance(b, Not) and isinstance(b.body, Atom))
    if not isinstance(head, Atom) or len(positive) + len(negative) != len(body):
        cure = "in closed worlds a rule is: atoms and 'not' atoms, then one atom"
        raise NotStratified(f"'{axiom}' is not a rule; {cure}")
    return _Rule(number, tuple(variables), positive, negative, head)


def _strata(rules: Sequence[_Rule], goal: Formula) -> dict[str, int]:
    """The lowest strata: a head is no lower than its premises and above what it negates."""
    names = {a.name for r in rules for a in (r.head, *r.positive, *r.negative)}
    strata = dict.fromkeys(sorted(names), 0)
    for _ in range(len(names) + 1):
        moved = None
        for rule in rules:
            least = max(
                [strata[a.name] for a in rule.positive] + [strata[a.name] + 1 for a in rule.negative], default=0
            )
            if strata[rule.head.name] < least:
                strata[rule.head.name], moved = least, rule.head.name
        if moved is None:
            return strata
    raise NotStratified(f"{moved} depends on its own negation; take one of the rules with 'not' out")

"""The own Datalog and Horn engine: semi-naive forward chaining that keeps a derivation of everything it finds.

The one idea: each new fact is joined once with the rules it can feed (Bancilhon and Ramakrishnan 1986), and remembers
which rule, instance and premises made it, so a proof is read off backwards. A negated atom is a fact of its own in open
worlds; in closed worlds ``not`` in a body means "cannot be derived" and strata are computed one after another (Apt,
Blair and Walker 1988).
"""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nexus.reasoning.budget import Budget
from nexus.reasoning.derivation import Derivation, is_literal
from nexus.reasoning.formulas import (
    FALSE,
    THING,
    And,
    Exists,
    Forall,
    Formula,
    Iff,
    Implies,
    Not,
    Or,
    Sym,
    Theory,
    Var,
    individuals,
    negation,
    parts_of,
    substitute,
    to_data,
)

Binding = dict[str, str]


@dataclass(frozen=True)
class Rule:
    """One way to use an axiom: ``literals`` all needed, ``variables`` in the order in which they are quantified."""

    source: int  # a step of the derivation, or the number of an axiom in closed worlds
    variables: tuple[str, ...]
    literals: tuple[Formula, ...]
    sorts: tuple[str, ...] = ()


class Engine:
    """Forward chaining in an open world; every fact is a step of ``derivation``.

    Attributes:
        known: step of each literal that was derived.
        clash: the step of a contradiction, once there is one.
    """

    def __init__(self, theory: Theory, budget: Budget, extra_names: tuple[str, ...] = ()) -> None:
        self.theory, self.budget = theory, budget
        self.derivation = Derivation()
        self.known: dict[Formula, int] = {}
        self.clash: int | None = None
        self.skipped = 0  # axioms that are not Horn and were left aside
        self.names = list(dict.fromkeys([*individuals(theory.axioms), *extra_names])) or ["_"]
        self._rules: list[Rule] = []
        self._uses: dict[tuple[str, bool], list[tuple[int, int]]] = defaultdict(list)
        self._facts: dict[tuple[str, bool], list[Formula]] = defaultdict(list)
        self._agenda: deque[tuple[Formula, int]] = deque()
        for index, axiom in enumerate(theory.axioms):
            self._take(self.derivation.axiom(index, axiom))

    def _take(self, step: int) -> None:
        """Sort a formula in: literals are facts, implications rules, the rest is not for this engine."""
        formula = self.derivation.formulas[step]
        if isinstance(formula, And):
            for part in self.derivation.parts(step):
                self._take(part)
        elif isinstance(formula, Iff):
            for way, left, right in (("forth", formula.left, formula.right), ("back", formula.right, formula.left)):
                self._take(self.derivation.add("iff", Implies(left, right), (step,), way))
        elif is_literal(formula):
            self._agenda.append((formula, step))
        else:
            self._take_rule(step)

    def _take_rule(self, step: int) -> None:
        formula = self.derivation.formulas[step]
        variables: list[str] = []
        sorts: list[str] = []
        while isinstance(formula, Forall):
            variables.append(formula.var)
            sorts.append(formula.sort)
            formula = formula.body
        if isinstance(formula, Implies):
            for literals in _alternatives(formula.left):
                self._add_rule(Rule(step, tuple(variables), literals, tuple(sorts)))
        elif variables and (is_literal(formula) or isinstance(formula, And | Iff | Or)):
            self._add_rule(Rule(step, tuple(variables), (), tuple(sorts)))  # holds for everything
        else:
            self.skipped += 1

    def _add_rule(self, rule: Rule) -> None:
        number = len(self._rules)
        self._rules.append(rule)
        for place, literal in enumerate(rule.literals):
            self._uses[_key(literal)].append((number, place))
        if not rule.literals:
            for values in itertools.product(self.names, repeat=len(rule.variables)):
                binding = dict(zip(rule.variables, values, strict=True))
                if self._sorted(rule, binding):
                    self._take(self.derivation.instance(rule.source, binding))

    def assume(self, formula: Formula) -> None:
        """Add a temporary premise; the conclusions then rest on it."""
        self._take(self.derivation.assume(formula))

    def run(self, goal: Formula | None = None) -> bool:
        """Chain forward until nothing is new, a contradiction shows, or the goal is known."""
        while self._agenda and self.clash is None and (goal is None or goal not in self.known):
            self.budget.spend()
            literal, step = self._agenda.popleft()
            if literal in self.known:
                continue
            self.known[literal] = step
            self._facts[_key(literal)].append(literal)
            opposite = self.known.get(negation(literal))
            if opposite is not None:
                ordered = (opposite, step) if isinstance(literal, Not) else (step, opposite)
                self.clash = self.derivation.contradiction(*ordered)
                break
            for number, place in self._uses[_key(literal)]:
                rule = self._rules[number]
                start = _match(rule.literals[place], literal, {})
                if start is not None:
                    for binding in self._join(rule, place, start):
                        self._fire(rule, binding)
        return goal is not None and goal in self.known

    def _join(self, rule: Rule, fixed: int, binding: Binding, place: int = 0) -> Iterator[Binding]:
        """All ways to match the literals other than ``fixed`` with known facts, then any variables still open."""
        if place == len(rule.literals):
            loose = [v for v in rule.variables if v not in binding]
            for values in itertools.product(self.names, repeat=len(loose)):
                yield {**binding, **dict(zip(loose, values, strict=True))}
            return
        if place == fixed:
            yield from self._join(rule, fixed, binding, place + 1)
            return
        for fact in list(self._facts[_key(rule.literals[place])]):
            self.budget.spend()
            further = _match(rule.literals[place], fact, binding)
            if further is not None:
                yield from self._join(rule, fixed, further, place + 1)

    def _sorted(self, rule: Rule, binding: Binding) -> bool:
        closed = self.theory.sorts
        return all(s not in closed or binding[v] in closed[s] for v, s in zip(rule.variables, rule.sorts, strict=True))

    def _fire(self, rule: Rule, binding: Binding) -> None:
        if not self._sorted(rule, binding):
            return
        ordered = {v: binding[v] for v in rule.variables}
        implication: Any = self.derivation.formulas[rule.source]
        for _ in ordered:
            implication = implication.body
        head = substitute(implication.right, {v: Sym(n) for v, n in ordered.items()})
        if head in self.known:
            return
        instance = self.derivation.instance(rule.source, ordered)
        rule_now: Any = self.derivation.formulas[instance]
        premises = [self.derivation.build(part, self.known) for part in parts_of(rule_now.left)]
        if all(p is not None for p in premises):
            self._take(self.derivation.apply(instance, [p for p in premises if p is not None]))


def _alternatives(body: Formula) -> list[tuple[Formula, ...]]:
    """The sets of literals each of which makes the body true; none if it is made of more than and, or, literals."""
    if is_literal(body):
        return [(body,)]
    if isinstance(body, And):
        return [tuple(itertools.chain(*c)) for c in itertools.product(*map(_alternatives, body.parts))]
    if isinstance(body, Or):
        return [c for part in body.parts for c in _alternatives(part)]
    return []


def _key(literal: Any) -> tuple[str, bool]:
    atom: Any = literal.body if isinstance(literal, Not) else literal
    return atom.name, atom is literal


def _match(pattern: Any, fact: Any, binding: Binding) -> Binding | None:
    """The binding extended so that the pattern becomes the fact; None if it cannot."""
    negated = isinstance(pattern, Not)
    atom: Any = pattern.body if negated else pattern
    ground: Any = fact.body if negated else fact
    if len(atom.args) != len(ground.args):
        return None
    extended = dict(binding)
    for argument, value in zip(atom.args, ground.args, strict=True):
        if isinstance(argument, Var):
            if extended.setdefault(argument.name, value.name) != value.name:
                return None
        elif argument != value:
            return None
    return extended


# ---- proofs of a goal -----------------------------------------------------------------------------------------------


def prove(theory: Theory, goal: Formula, budget: Budget) -> dict[str, Any] | None:
    """A certificate that the theory entails the goal, by forward chaining or indirectly; None if not found."""
    if goal == FALSE:
        return _contradiction(theory, budget)
    return _direct(theory, goal, budget) or _indirect(theory, goal, budget)


def _direct(theory: Theory, goal: Formula, budget: Budget) -> dict[str, Any] | None:
    names = tuple(individuals([goal]))
    fresh = _fresh(theory, goal)
    engine = Engine(theory, budget, (*names, fresh) if isinstance(goal, Forall) else names)
    if isinstance(goal, Forall) and goal.sort == THING:
        inner = substitute(goal.body, {goal.var: Sym(fresh)})
        step = _reach(engine, inner)
        if step is None:
            return None
        return engine.derivation.certificate(engine.derivation.add("all", goal, (step,), [fresh, to_data(goal)]))
    step = _reach(engine, goal)
    return None if step is None else engine.derivation.certificate(step)


def _reach(engine: Engine, goal: Formula) -> int | None:
    if isinstance(goal, Implies):
        engine.assume(goal.left)
        step = _reach(engine, goal.right)
        return None if step is None else engine.derivation.add("suppose", goal, (step,), to_data(goal.left))
    engine.run(goal if is_literal(goal) else None)
    if engine.clash is not None:
        return None  # contradictory premises prove anything; the caller says so instead
    if isinstance(goal, Exists):
        for name in engine.names:
            step = engine.derivation.build(substitute(goal.body, {goal.var: Sym(name)}), engine.known)
            if step is not None:
                return engine.derivation.add("exists", goal, (step,), [name, to_data(goal)])
        return None
    return engine.derivation.build(goal, engine.known)


def _indirect(theory: Theory, goal: Formula, budget: Budget) -> dict[str, Any] | None:
    """Assume the opposite of a literal and chain to a contradiction."""
    if not is_literal(goal):
        return None
    engine = Engine(theory, budget, tuple(individuals([goal])))
    opposite = negation(goal)
    engine.assume(opposite)
    engine.run()
    if engine.clash is None:
        return None
    return engine.derivation.certificate(engine.derivation.refute(engine.clash, opposite))


def _contradiction(theory: Theory, budget: Budget) -> dict[str, Any] | None:
    """A certificate that the axioms contradict each other, if forward chaining finds it."""
    engine = Engine(theory, budget)
    engine.run()
    return None if engine.clash is None else engine.derivation.certificate(engine.clash)


def _fresh(theory: Theory, goal: Formula) -> str:
    taken = {*individuals([*theory.axioms, goal]), *itertools.chain(*theory.sorts.values())}
    return next(n for i in itertools.count() if (n := f"any{i or ''}") not in taken)

"""Writing natural-deduction certificates: numbered steps, each formula derived once, unused steps trimmed away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nexus.reasoning.formulas import FALSE, And, Atom, Formula, Implies, Not, Or, Sym, substitute, to_data


class Derivation:
    """Steps in the checker's language. Methods add one and return its number.

    Attributes:
        formulas: what each step concludes.
    """

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.formulas: list[Formula] = []

    def add(self, by: str, then: Formula, refs: Sequence[int] = (), extra: Any = None) -> int:
        """Any step; ``extra`` is what its rule needs beside the premises."""
        step = {"by": by, "from": list(refs), "then": to_data(then)}
        if extra is not None:
            step["with"] = extra
        self.steps.append(step)
        self.formulas.append(then)
        return len(self.steps) - 1

    def axiom(self, index: int, formula: Formula) -> int:
        """An axiom of the theory."""
        return self.add("axiom", formula, (), index)

    def assume(self, formula: Formula) -> int:
        """An assumption, to be discharged later."""
        return self.add("assume", formula, (), to_data(formula))

    def instance(self, step: int, binding: dict[str, str]) -> int:
        """The outermost "for all"s of a step filled in, in the order of ``binding``."""
        formula: Any = self.formulas[step]
        for var, name in binding.items():
            formula = substitute(formula.body, {var: Sym(name)})
        return self.add("instance", formula, (step,), binding) if binding else step

    def apply(self, rule: int, premises: Sequence[int]) -> int:
        """Modus ponens with all parts of the left side at once."""
        implication = self.formulas[rule]
        assert isinstance(implication, Implies)
        return self.add("mp", implication.right, (rule, *premises))

    def parts(self, step: int) -> list[int]:
        """The step itself, or a step for each part of a conjunction, down to what is none."""
        formula = self.formulas[step]
        if not isinstance(formula, And):
            return [step]
        below = [self.add("part", part, (step,), i) for i, part in enumerate(formula.parts)]
        return [leaf for part in below for leaf in self.parts(part)]

    def build(self, formula: Formula, known: dict[Formula, int]) -> int | None:
        """A step for a formula made of known ones by "and" and "or"; None if that is not possible."""
        if formula in known:
            return known[formula]
        if isinstance(formula, And) and len(formula.parts) > 1:
            below = [self.build(part, known) for part in formula.parts]
            return None if None in below else self.add("and", formula, [b for b in below if b is not None])
        if isinstance(formula, Or):
            for part in formula.parts:
                step = self.build(part, known)
                if step is not None:
                    return self.add("or", formula, (step,), to_data(formula))
        return None

    def contradiction(self, positive: int, negative: int) -> int:
        """False, from a formula and its negation."""
        return self.add("contradiction", FALSE, (positive, negative))

    def refute(self, false: int, assumed: Formula) -> int:
        """The opposite of what was assumed, from the contradiction it led to."""
        if isinstance(assumed, Not):
            return self.add("reductio", assumed.body, (false,), to_data(assumed.body))
        return self.add("not", Not(assumed), (false,), to_data(assumed))

    def certificate(self, last: int) -> dict[str, Any]:
        """The certificate that ends in step ``last``, with only the steps that it needs."""
        needed, waiting = {last}, [last]
        while waiting:
            fresh = set(self.steps[waiting.pop()]["from"]) - needed
            needed |= fresh
            waiting += fresh
        order = sorted(needed)
        number = {old: new for new, old in enumerate(order)}
        steps = [{**self.steps[old], "from": [number[r] for r in self.steps[old]["from"]]} for old in order]
        return {"kind": "steps", "steps": steps}


def is_literal(formula: Formula) -> bool:
    """An atom or its negation."""
    return isinstance(formula, Atom) or (isinstance(formula, Not) and isinstance(formula.body, Atom))

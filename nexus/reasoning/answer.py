"""An answer with its proof: as text, as JSON, as a drawn tree.

``status`` says what the answer may claim: "proved" (the checker accepted the certificate), "attested" (an engine says
so, and nothing that the checker can check stands behind it), or "gave up" (time or memory ran out, or no engine fits).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nexus.reasoning.checker import Claim
from nexus.reasoning.english.write import say
from nexus.reasoning.formulas import Formula, Planning, Theory, from_data, to_data

_WHY = {
    "axiom": "given", "assume": "assumed", "instance": "for this case", "mp": "therefore", "and": "together",
    "part": "in particular", "or": "at least", "cases": "in every case", "contradiction": "both cannot be",
    "not": "so the assumption is false", "reductio": "so the opposite of the assumption holds",
    "suppose": "so under this assumption", "iff": "one direction", "exists": "an example", "all": "it was arbitrary",
}  # fmt: skip


@dataclass
class Answer:
    """What was asked, the answer, and what stands behind it.

    Attributes:
        text: the answer in words.
        verdict: ``yes``, ``no``, ``unknown``, ``contradiction`` (the premises contradict each other), ``value``,
            ``which``, ``plan``, ``no plan`` or ``none``.
        status: ``proved``, ``attested`` or ``gave up``.
        reason: what the checker or the engine said.
        engine: who found it.
        given, claim, certificate: what the checker was asked, so that anybody can ask it again.
    """

    text: str
    verdict: str
    status: str
    reason: str
    engine: str
    given: Theory | Planning
    claim: Claim | None = None
    certificate: dict[str, Any] | None = None
    question: str = ""
    sources: list[str] = field(default_factory=list)
    phrases: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    translated: str = ""

    def __str__(self) -> str:
        read = [f"  read by a language model as: {self.translated}"] if self.translated else []
        return "\n".join([f"{self.text}  [{self.status}]", *read, *self.proof_lines()])

    @property
    def proved(self) -> bool:
        """Whether the independent checker accepted the proof."""
        return self.status == "proved"

    def say(self, formula: Formula) -> str:
        """A formula in the words of the text."""
        return say(formula, self.phrases)

    # ---- the proof as text ------------------------------------------------------------------------------------------

    def proof_lines(self) -> list[str]:
        """The proof, one line a step."""
        if self.certificate is None or self.claim is None:
            return [f"  {self.engine}: {self.reason}"]
        kind = self.certificate["kind"]
        lines = {"steps": self._steps, "drup": self._drup, "farkas": self._farkas, "models": self._models,
                 "closed": self._closed, "plan": self._plan}.get(kind, lambda: [str(self.certificate)])()  # fmt: skip
        return [f"  {line}" for line in lines]

    def _steps(self) -> list[str]:
        lines = []
        for number, step in enumerate(self._certificate()["steps"], 1):
            why = _WHY.get(step["by"], step["by"])
            if step["by"] == "axiom" and step["with"] < len(self.sources):
                why = f"given: {self.sources[step['with']]}"
            refs = ", ".join(str(r + 1) for r in step["from"])
            lines.append(f"{number}. {self.say(from_data(step['then']))}  ({why}{f', from {refs}' if refs else ''})")
        return lines

    def _drup(self) -> list[str]:
        from nexus.reasoning.clauses import clauses_of

        assert isinstance(self.given, Theory)
        assert self.claim is not None
        _, keys = clauses_of(self.given, self.claim.formula)
        lines = [f"suppose it were not so that {self.say(self.claim.formula)}; then, step by step:"]
        for number, lemma in enumerate(self._certificate()["lemmas"], 1):
            lines.append(f"{number}. {' or '.join(self._literal(lit, keys) for lit in lemma)}")
        return [*lines, f"{len(lines)}. and that contradicts what is given"]

    def _literal(self, literal: int, keys: list[Any]) -> str:
        key = keys[abs(literal) - 1]
        if isinstance(key, tuple):
            return f"{key[0]} is {'not ' if literal < 0 else ''}{key[1]}"
        from nexus.reasoning.formulas import Not

        return self.say(key if literal > 0 else Not(key))

    def _farkas(self) -> list[str]:
        assert isinstance(self.given, Theory)
        lines = []
        for sum_ in self._certificate()["sums"]:
            lines.append("if it were not so, these would add up to a contradiction:")
            for index, factor in sum_:
                fact = "the opposite of the claim" if index < 0 else self.say(self.given.axioms[index])
                lines.append(f"  {factor} × ({fact})")
        return lines

    def _models(self) -> list[str]:
        lines = []
        for key, word in (("for", "it holds"), ("against", "it does not hold")):
            world = self._certificate()[key]
            true = [self.say(from_data(a)) for a in world["true"]]
            values = [f"{from_data(q)} = {v}" for q, v in world["values"]]
            lines.append(f"a world in which {word}: {'; '.join([*true, *values]) or 'nothing else is true'}")
        return lines

    def _closed(self) -> list[str]:
        names = {to: number for number, to in enumerate((str(e["atom"]) for e in self._certificate()["model"]), 1)}
        lines = ["all that can be derived:"]
        for entry in self._certificate()["model"]:
            source = self.sources[entry["rule"]] if entry["rule"] < len(self.sources) else f"rule {entry['rule']}"
            lines.append(f"{names[str(entry['atom'])]}. {self.say(from_data(entry['atom']))}  ({source})")
        return lines

    def _plan(self) -> list[str]:
        return [f"{number}. {name}" for number, name in enumerate(self._certificate()["plan"], 1)]

    def _certificate(self) -> dict[str, Any]:
        assert self.certificate is not None
        return self.certificate

    # ---- as JSON, as a tree -----------------------------------------------------------------------------------------

    def to_json(self, indent: int | None = 1) -> str:
        """Everything, so that the proof can be checked elsewhere."""
        claim = None if self.claim is None else {"kind": self.claim.kind, "formula": to_data(self.claim.formula)}
        axioms = [to_data(a) for a in self.given.axioms] if isinstance(self.given, Theory) else None
        fields = {
            "question": self.question, "answer": self.text, "verdict": self.verdict, "status": self.status,
            "reason": self.reason, "engine": self.engine, "seconds": round(self.seconds, 4), "axioms": axioms,
            "claim": claim, "certificate": self.certificate, "proof": [line.strip() for line in self.proof_lines()],
        }  # fmt: skip
        return json.dumps(fields, indent=indent)

    def tree(self) -> tuple[str, list[Any]]:
        """The proof as a tree: (sentence, trees of what it rests on)."""
        if self.certificate is not None and self.certificate["kind"] == "steps":
            steps = self.certificate["steps"]

            def below(number: int) -> tuple[str, list[Any]]:
                step = steps[number]
                if step["by"] == "instance":
                    return below(step["from"][0])
                return self.say(from_data(step["then"])), [below(r) for r in step["from"]]

            return below(len(steps) - 1)
        return self.text, [(line.strip(), []) for line in self.proof_lines()]

    def draw(self, path: str | Path) -> Path:
        """Draw the tree into a picture file; needs matplotlib."""
        from nexus.reasoning.drawing import draw_tree

        return draw_tree(self.tree(), f"{self.question}  {self.text} [{self.status}]", Path(path))

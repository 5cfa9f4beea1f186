"""The whole way: text or formulas in, an answer with a checked proof out.

The one idea: engines propose, the checker disposes. Each question goes to the engine that suits its formulas, the
engine hands over a certificate, and the answer is called "proved" only if `checker.check` accepts it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from nexus.reasoning import arithmetic, datalog, horn, sat, smt, strips
from nexus.reasoning.answer import Answer
from nexus.reasoning.budget import Budget, OutOfBudget
from nexus.reasoning.checker import Claim, check
from nexus.reasoning.clauses import NotClausal
from nexus.reasoning.english.parser import parse
from nexus.reasoning.english.text import NotUnderstood, Query, Reading, sentences
from nexus.reasoning.formulas import (
    FALSE,
    THING,
    Compare,
    Formula,
    Num,
    Planning,
    Theory,
    Truth,
    conjunction,
    disjunction,
    from_data,
    individuals,
    negation,
    quantities,
)
from nexus.reasoning.front import Front
from nexus.reasoning.reading import SyntaxFault
from nexus.reasoning.semantics import World, evaluate, value_of

OPINION_SECONDS = 2.0  # cvc5 tries instances without end where nothing follows


@dataclass
class Found:
    """What an engine hands over."""

    verdict: str
    engine: str
    claim: Claim | None = None
    certificate: dict[str, Any] | None = None
    text: str = ""
    reason: str = ""


class Reasoner:
    """Answers questions with proofs.

    Args:
        seconds, megabytes: what one question may cost.
        planner: ``own``, or ``fast-downward`` (extra ``planners``).
        second_opinion: ask cvc5 as well wherever only z3's word stands behind an answer.
        front: a language model that may put text outside of the grammar into its words. What it makes of the text is
            shown, and an answer that rests on it is "attested" at best: the proof is about the model's reading.
    """

    def __init__(
        self,
        seconds: float = 20.0,
        megabytes: float = 2_048.0,
        planner: str = "own",
        second_opinion: bool = True,
        front: Front | None = None,
    ) -> None:
        if planner not in ("own", "fast-downward"):
            raise ValueError(f"planner = {planner!r} is not known; give 'own' or 'fast-downward'")
        if not seconds > 0 or not megabytes > 0:
            raise ValueError(f"seconds = {seconds}, megabytes = {megabytes}: both must be above 0; give larger ones")
        self.seconds, self.megabytes = seconds, megabytes
        self.planner, self.second_opinion, self.front = planner, second_opinion, front

    # ---- doors ------------------------------------------------------------------------------------------------------

    def ask(self, text: str) -> Answer:
        """Answer the one question of a text in controlled English.

        Raises:
            NotUnderstood: with line, token and cure, if any sentence is outside of the grammar. Nothing is guessed.
        """
        reading, translated = self._read(text)
        if len(reading.queries) != 1:
            place = SyntaxFault(
                _last_token(text), f"ends a text with {len(reading.queries)} questions", "ask one, or use ask_all"
            )
            raise NotUnderstood([place])
        return self._labelled(self.answer(reading, reading.queries[0]), translated)

    def ask_all(self, text: str) -> list[Answer]:
        """Answer all questions of a text."""
        reading, translated = self._read(text)
        return [self._labelled(self.answer(reading, query), translated) for query in reading.queries]

    def _read(self, text: str) -> tuple[Reading, str]:
        """The text as formulas, and the words of the language model if it had to be asked."""
        try:
            return parse(text), ""
        except NotUnderstood as error:
            if self.front is None:
                raise
            translated = self.front.translate(text, error)
            return parse(translated), translated

    def _labelled(self, answer: Answer, translated: str) -> Answer:
        """What a model has read is never "proved" of the text, and its reading is shown."""
        if not translated:
            return answer
        status = "attested" if answer.proved else answer.status
        reason = f"{answer.reason}; the proof is about a language model's reading of the text: {translated}"
        return replace(answer, status=status, reason=reason, translated=translated)

    def prove(self, theory: Theory, goal: Formula) -> Answer:
        """Does the goal follow, does its negation, or neither?"""
        return self.answer(Reading(theory, [], []), Query("decide", str(goal), formula=goal))

    def plan(self, problem: Planning) -> Answer:
        """A plan, simulated by the checker."""
        return self.answer(Reading(Theory(()), [], [], planning=problem), Query("plan", "a plan to the goal?"))

    def answer(self, reading: Reading, query: Query) -> Answer:
        """Answer one question of a text that has been read."""
        start = time.perf_counter()
        budget = Budget(self.seconds, self.megabytes)
        given: Theory | Planning = reading.theory
        try:
            if query.kind == "plan":
                assert reading.planning is not None
                given = reading.planning
                found = self._plan(reading.planning, budget)
            else:
                found = self._search(reading.theory, query, budget)
        except OutOfBudget as error:
            found = Found("none", "budget", text="No answer", reason=str(error))
        except (NotClausal, datalog.NotStratified) as error:
            found = Found("none", "no engine", text="No answer", reason=str(error))
        status, reason = self._judge(given, found)
        return Answer(
            found.text or found.verdict.capitalize(), found.verdict, status, reason, found.engine, given, found.claim,
            found.certificate, query.words, reading.sources, reading.phrases, time.perf_counter() - start,
        )  # fmt: skip

    def _judge(self, given: Theory | Planning, found: Found) -> tuple[str, str]:
        if found.verdict == "none":
            return "gave up", found.reason
        if found.claim is None or found.certificate is None:
            return "attested", found.reason or f"{found.engine} says so, without a certificate"
        accepted, reason = check(given, found.claim, found.certificate)
        return ("proved" if accepted else "attested"), f"checker: {reason}"

    # ---- kinds of questions -----------------------------------------------------------------------------------------

    def _search(self, theory: Theory, query: Query, budget: Budget) -> Found:
        if query.kind == "decide":
            assert query.formula is not None
            return self.decide(theory, query.formula, budget)
        if query.kind == "value":
            return self._value(theory, query, budget)
        return self._which(theory, query.candidates, budget)

    def decide(self, theory: Theory, goal: Formula, budget: Budget, consistent: bool = False) -> Found:
        """Yes, no, unknown, or a contradiction among the premises (not looked for if they are known to agree)."""
        if theory.closed:
            return self._closed(theory, goal, budget)
        decide = self._engine(theory, goal)
        nonsense = None if consistent else decide(theory, FALSE, budget)
        if nonsense is not None and nonsense.verdict == "yes":
            text = "The premises contradict each other, so anything would follow"
            return Found("contradiction", nonsense.engine, nonsense.claim, nonsense.certificate, text)
        found = decide(theory, goal, budget)
        if found.verdict != "open":
            return found
        opposite = decide(theory, negation(goal), budget)
        if opposite.verdict == "yes":
            opposite.verdict, opposite.text = "no", "No"
            return opposite
        if opposite.verdict == "open":
            certificate = None
            if found.certificate is not None and opposite.certificate is not None:
                certificate = {"kind": "models", "for": opposite.certificate, "against": found.certificate}
            return Found("unknown", found.engine, Claim("unknown", goal), certificate)
        return opposite

    def _engine(self, theory: Theory, goal: Formula) -> Callable[[Theory, Formula, Budget], Found]:
        """Numbers without a range go to arithmetic, everything else to Horn steps and SAT."""
        loose = [q for q in quantities([*theory.axioms, goal]) if q not in theory.ranges]
        return self._arithmetic if loose else self._logic

    def _logic(self, theory: Theory, goal: Formula, budget: Budget) -> Found:
        """SAT decides; if the goal follows, Horn steps are looked for, which read better than its refutation."""
        try:
            entailed, found = sat.solve(theory, goal, budget)
        except NotClausal:
            steps = horn.prove(theory, goal, budget)
            if steps is not None:
                return Found("yes", "horn", Claim("entails", goal), steps)
            return self._attested(theory, goal, budget)
        if not entailed:
            return Found("open", "sat", None, found)
        steps = None if theory.ranges else horn.prove(theory, goal, budget)
        return Found("yes", "horn" if steps else "sat", Claim("entails", goal), steps or found)

    def _arithmetic(self, theory: Theory, goal: Formula, budget: Budget) -> Found:
        """z3 decides; if the goal follows, multipliers are looked for."""
        said = self._attested(theory, goal, budget)
        if said.verdict == "yes" and all(isinstance(a, Compare) for a in theory.axioms):
            shown = Compare("<", Num(Fraction(0)), Num(Fraction(0))) if goal == FALSE else goal
            certificate = arithmetic.farkas(theory, shown, budget)
            if certificate is not None:
                return Found("yes", "farkas", Claim("entails", shown), certificate)
        return said

    def _attested(self, theory: Theory, goal: Formula, budget: Budget) -> Found:
        """z3's word, and cvc5's beside it; if they differ nothing is said."""
        verdict, world = smt.decide(theory, goal, budget)
        if verdict == "gave up":
            return Found("none", "z3", text="No answer", reason="z3 gave up within the limits; give a larger seconds=")
        reason = f"z3 says {verdict}"
        provable = all(isinstance(a, Compare) for a in theory.axioms) and isinstance(goal, Compare | Truth)
        if self.second_opinion and world is None and not provable:
            other = smt.second_opinion(theory, goal, Budget(min(OPINION_SECONDS, budget.left)))
            reason += f", cvc5 says {other}"
            if other not in (verdict, "gave up"):
                return Found("none", "z3 and cvc5", text="No answer", reason=reason)
        return Found("yes" if verdict == "entailed" else "open", "z3", Claim("entails", goal), world, reason=reason)

    def _closed(self, theory: Theory, goal: Formula, budget: Budget) -> Found:
        model, certificate = datalog.closed_world(theory, goal, budget)
        names = tuple(individuals([*theory.axioms, goal])) or ("_",)
        holds = evaluate(goal, World(model, {}, {THING: names, **theory.sorts}))
        return Found(
            "yes" if holds else "no", "datalog", Claim("entails", goal if holds else negation(goal)), certificate
        )

    def _value(self, theory: Theory, query: Query, budget: Budget) -> Found:
        """How much is it: a world tells the only possible value, and the value is then proved."""
        assert query.term is not None
        some = self._attested(theory, FALSE, budget)
        if some.verdict == "yes":
            return self.decide(theory, FALSE, budget)
        if some.certificate is None:
            return some
        values = {from_data(q): Fraction(v) for q, v in some.certificate["values"]}
        for unknown in quantities([Compare("=", query.term, query.term)]):
            values.setdefault(unknown, Fraction(0))
        value = value_of(query.term, World(set(), values, {}))
        found = self.decide(theory, Compare("=", query.term, Num(value)), budget, consistent=True)
        if found.verdict == "yes":
            found.verdict, found.text = "value", str(value)
        return found

    def _which(self, theory: Theory, candidates: dict[str, Formula], budget: Budget) -> Found:
        """All candidates for which it certainly holds; a world rules most of them out first."""
        possible, consistent = self._possible(theory, candidates, budget)
        winners = {}
        for said, formula in possible.items():
            found = self.decide(theory, formula, budget, consistent)
            if found.verdict in ("none", "contradiction"):
                return found
            if found.verdict == "yes":
                winners[said] = found
        if not winners:
            several = list(possible.values()) or list(candidates.values()) or [FALSE]
            whole = self.decide(theory, disjunction(several), budget)
            found = self.decide(theory, several[0], budget) if whole.verdict == "yes" else whole
            if found.verdict == "no":
                found.text = "None of them"
            return found
        text = " and ".join(winners)
        if len(winners) == 1:
            found = next(iter(winners.values()))
        else:
            found = self.decide(theory, conjunction(candidates[said] for said in winners), budget)
        found.verdict, found.text = "which", text
        return found

    def _possible(
        self, theory: Theory, candidates: dict[str, Formula], budget: Budget
    ) -> tuple[dict[str, Formula], bool]:
        """The candidates that hold in one world of the theory, and True; all of them if there is no such world."""
        if theory.closed:
            return candidates, False
        world = self._engine(theory, conjunction(candidates.values()))(theory, FALSE, budget)
        if world.verdict != "open" or world.certificate is None:
            return candidates, False
        data = world.certificate
        shown = World({from_data(a) for a in data["true"]}, {from_data(q): Fraction(v) for q, v in data["values"]},
                      {THING: tuple(data["things"]), **theory.sorts})  # fmt: skip
        return {said: f for said, f in candidates.items() if evaluate(f, shown)}, True

    def _plan(self, problem: Planning, budget: Budget) -> Found:
        search = strips.fast_downward if self.planner == "fast-downward" else strips.plan
        steps = search(problem, budget)
        if steps is None:
            return Found("no plan", self.planner, text="There is no plan", reason="all reachable states were searched")
        text = "; ".join(steps) or "Nothing needs to be done"
        return Found("plan", self.planner, Claim("plan"), {"kind": "plan", "plan": steps}, text)


def _last_token(text: str) -> Any:
    return sentences(text)[-1][-1]

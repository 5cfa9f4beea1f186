"""Text to formulas: each sentence is given to the grammars in turn, and a sentence none of them takes is reported."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from nexus.reasoning.english import comparison, knights, logic, planning, puzzles, quantities, symbolic
from nexus.reasoning.english.text import Discourse, Effect, English, NotUnderstood, Query, Reading, sentences
from nexus.reasoning.formulas import Sym, Theory, signature_faults, substitute
from nexus.reasoning.reading import SyntaxFault, Token

Grammar = Callable[[English, Discourse], Effect]
# More special grammars come first; logic, whose vocabulary is open, comes last.
_STATEMENTS: tuple[Grammar, ...] = (
    puzzles.filler, puzzles.header, puzzles.values, puzzles.clue, planning.schema, planning.facts, planning.blocks,
    knights.header, knights.telling, knights.people, knights.saying, symbolic.statement, comparison.statement,
    quantities.statement, logic.closed_world, logic.statement,
)  # fmt: skip
_QUESTIONS: tuple[Grammar, ...] = (
    puzzles.question, knights.question, symbolic.question, comparison.question, quantities.question, logic.question,
)  # fmt: skip
MAX_TEXT = 100_000


def parse(text: str) -> Reading:
    """Read a text whole.

    Raises:
        NotUnderstood: for each sentence outside of the grammar where it ends to be understood, and the cure.
    """
    if len(text) > MAX_TEXT:
        raise NotUnderstood([SyntaxFault(Token("", 1, 1), "comes too late", f"give at most {MAX_TEXT} letters")])
    d, faults = Discourse(), []
    found = sentences(text)
    if not found:
        raise NotUnderstood([SyntaxFault(Token("", 1, 1), "is all there is", "write some sentences and a question")])
    for sentence in found:
        try:
            _read(sentence, d)
        except SyntaxFault as fault:
            faults.append(fault)
    if faults:
        raise NotUnderstood(faults)
    return _finished(d, found[-1][-1])


def _read(sentence: list[Token], d: Discourse) -> None:
    """Let the first grammar that takes the whole sentence have it; otherwise report the one that came furthest."""
    faults: list[tuple[float, int, SyntaxFault]] = []
    is_board = "board" in d.memory
    for rank, grammar in enumerate((*_STATEMENTS, *_QUESTIONS)):
        if is_board and grammar not in _ON_A_BOARD:
            continue  # a clue that was not understood must not become a fact about something else
        try:
            effect = grammar(English(sentence), d)
        except SyntaxFault as fault:
            at = max((i for i, t in enumerate(sentence) if t == fault.token), default=len(sentence))
            general = grammar is (logic.question if sentence[-1].text == "?" else logic.statement)
            special = is_board and grammar in (puzzles.clue, puzzles.question)
            faults.append((at + 1.5 * general + 1000 * special, rank, fault))
            continue
        effect()
        return
    raise max(faults, key=lambda entry: entry[:2])[2]


def viable(text: str) -> bool:
    """Whether some in-grammar text begins like this; ``text`` ends between two words.

    Every finished sentence has to be read already; an unfinished one fits if a grammar only misses what comes after it.
    """
    found = sentences(text)
    d = Discourse()
    for number, sentence in enumerate(found):
        try:
            _read(sentence, d)
        except SyntaxFault:
            last = number == len(found) - 1 and sentence[-1].text not in (".", "?", "!")
            return last and _misses_only_the_end(sentence, d)
    return True


def _misses_only_the_end(sentence: list[Token], d: Discourse) -> bool:
    grammars = _ON_A_BOARD if "board" in d.memory else (*_STATEMENTS, *_QUESTIONS)
    for grammar, end in itertools.product(grammars, ("", "?")):
        c = English([*sentence, Token(end, 0, 0)] if end else sentence)
        try:
            grammar(c, d)
        except SyntaxFault as fault:
            if not fault.token.text or c.unfinished:
                return True
        else:
            return True
    return False


_ON_A_BOARD = (puzzles.filler, puzzles.header, puzzles.values, puzzles.clue, puzzles.question)


def _finished(d: Discourse, last: Token) -> Reading:
    planned = planning.problem(d)
    if "scene" in d.memory and (planned is None or d.axioms):
        problem = "ends a text of actions and facts " + (
            "without a goal" if planned is None else "with other sentences"
        )
        raise NotUnderstood([SyntaxFault(last, problem, "say: The goal is that ..., and nothing of another kind")])
    candidates = [q for q in d.queries if q.kind == "which" and q.formula is not None]
    for query in candidates:  # "who is red": anyone whose name has been mentioned
        assert query.formula is not None
        query.candidates = {said: substitute(query.formula, {"x": Sym(key)}) for key, said in d.names.items()}
        query.formula = None
    theory = Theory(tuple(d.axioms), dict(d.sorts), dict(d.ranges), d.closed)
    faults = signature_faults(theory, *(q.formula for q in d.queries if q.formula is not None))
    if faults:
        raise NotUnderstood([SyntaxFault(last, f"ends a text in which {faults[0]}", "use one name for one thing")])
    if not d.queries:
        cure = "end with a question, for instance: Is Max red?  or: True or false: Max is red."
        raise NotUnderstood([SyntaxFault(last, "ends a text that asks nothing", cure)])
    return Reading(theory, d.queries, d.sources, planned, {**d.phrases, "": "", **_spellings(d)})


def _spellings(d: Discourse) -> dict[str, str]:
    return {f"name:{key}": spelling for key, spelling in d.names.items()}


__all__ = ["NotUnderstood", "Query", "Reading", "parse", "viable"]

"""Formulas back to English, with the words of the text they come from."""

from __future__ import annotations

from collections.abc import Mapping

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
    Var,
)

_OPS = {
    "=": "equals",
    "!=": "differs from",
    "<": "is less than",
    "<=": "is at most",
    ">": "is more than",
    ">=": "is at least",
}


def say(formula: Formula, phrases: Mapping[str, str]) -> str:
    """The formula as an English sentence without its full stop."""
    match formula:
        case Truth(value):
            return "this is so" if value else "this is a contradiction"
        case Atom():
            return _atom(formula, phrases)
        case Not(Atom() as atom):
            return _negated(_atom(atom, phrases))
        case Not(body):
            return f"it is not the case that {say(body, phrases)}"
        case And(parts):
            return " and ".join(say(p, phrases) for p in parts)
        case Or(parts):
            return "either " + " or ".join(say(p, phrases) for p in parts)
        case Implies(left, right):
            return _it(f"if {say(left, phrases)} then {say(right, phrases)}")
        case Iff(left, right):
            return f"{say(left, phrases)} if and only if {say(right, phrases)}"
        case Forall(_, body, _):
            return say(body, phrases) if isinstance(body, Implies) else f"for everything, {say(body, phrases)}"
        case Exists(_, body, _):
            return f"there is something such that {say(body, phrases)}"
        case Compare(op, left, right):
            return f"{_quantity(left, phrases)} {_OPS[op]} {_quantity(right, phrases)}"
    return str(formula)


def _it(sentence: str) -> str:
    """The second and further "something" is the first one again."""
    first, found, rest = sentence.partition("something")
    return first + found + rest.replace("something", "it")


def _atom(atom: Atom, phrases: Mapping[str, str]) -> str:
    if not atom.args:
        return atom.name
    template = phrases.get(atom.name, "{0} is " + atom.name if len(atom.args) == 1 else "")
    names = [_name(a, phrases) for a in atom.args]
    return template.format(*names) if template else f"{atom.name}({', '.join(names)})"


def _negated(sentence: str) -> str:
    if " is " in sentence:
        return sentence.replace(" is ", " is not ", 1)
    return f"it is not the case that {sentence}"


def _name(term: Term, phrases: Mapping[str, str]) -> str:
    if isinstance(term, Var):
        return "something" if term.name == "x" else term.name.upper()
    return phrases.get(f"name:{term}", str(term))


def _quantity(term: Term, phrases: Mapping[str, str]) -> str:
    match term:
        case Fun("+" | "-" | "*" as op, args):
            return f" {op} ".join(_quantity(a, phrases) for a in args)
        case Fun(name, (Sym() as who,)):
            words, _, change = name.partition("__")
            later = f" after change {change}" if change else ""
            return f"the {words.replace('_', ' ')} of {_name(who, phrases)}{later}"
        case Num() | Fun():
            return str(term)
    return _name(term, phrases)

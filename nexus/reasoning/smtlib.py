"""SMT-LIB 2.6: the writer for any theory, and a reader for quantifier-free problems and the writer's own output.

Names and propositions keep their spelling between bars. A quantity becomes a constant, Int if it has a range, else
Real.
"""

from __future__ import annotations

import itertools
import re
from fractions import Fraction
from typing import Any

from nexus.reasoning.formulas import (
    FALSE,
    OPERATORS,
    THING,
    TRUE,
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
    Theory,
    Truth,
    Var,
    individuals,
    quantities,
    walk,
)
from nexus.reasoning.reading import SyntaxFault, Token
from nexus.reasoning.trees import trees


def write_smtlib(theory: Theory, goal: Formula | None = None, commands: bool = True) -> str:
    """The axioms and the negated goal as an SMT-LIB script; unsat means that the goal is entailed."""
    formulas = [*theory.axioms, *([] if goal is None else [Not(goal)])]
    names = list(dict.fromkeys([*individuals(formulas), *itertools.chain(*theory.sorts.values())]))
    lines = ["(set-logic ALL)"] if commands else []
    lines.append(f"(declare-sort {THING} 0)")
    lines += [f"(declare-const {_bar(name)} {THING})" for name in names]
    if len(names) > 1:
        lines.append(f"(assert (distinct {' '.join(map(_bar, names))}))")
    for name, arity in dict.fromkeys((n.name, len(n.args)) for f in formulas for n in walk(f) if isinstance(n, Atom)):
        lines.append(f"(declare-fun {_bar('p:' + name)} ({' '.join([THING] * arity)}) Bool)")
    for quantity in dict.fromkeys([*quantities(formulas), *theory.ranges]):
        bounds = theory.ranges.get(quantity)
        lines.append(f"(declare-const {_bar(str(quantity))} {'Int' if bounds else 'Real'})")
        if bounds:
            lines.append(f"(assert (<= {_number(bounds[0])} {_bar(str(quantity))} {_number(bounds[1])}))")
    lines += [f"(assert {_write(f, theory)})" for f in formulas]
    return "\n".join([*lines, *(["(check-sat)"] if commands else [])]) + "\n"


def _bar(name: str) -> str:
    return f"|{name}|"


def _number(value: Fraction | int) -> str:
    value = Fraction(value)
    text = str(abs(value.numerator)) if value.denominator == 1 else f"(/ {abs(value.numerator)} {value.denominator})"
    return f"(- {text})" if value < 0 else text


def _write(node: Formula | Term, theory: Theory) -> str:
    def call(name: str, *below: Formula | Term) -> str:
        return f"({name} {' '.join(_write(b, theory) for b in below)})" if below else name

    match node:
        case Truth(value):
            return str(value).lower()
        case Num(value):
            return _number(value)
        case Sym(name) | Var(name):
            return _bar(name)
        case Fun(name, args):
            return call(name, *args) if name in OPERATORS else _bar(str(node))
        case Atom(name, args):
            return call(_bar("p:" + name), *args)
        case Compare("!=", left, right):
            return f"(not {call('=', left, right)})"
        case Compare(op, left, right):
            return call(op, left, right)
        case Not(body):
            return call("not", body)
        case And(parts) | Or(parts):
            neutral = "true" if isinstance(node, And) else "false"
            return call(type(node).__name__.lower(), *parts) if parts else neutral
        case Implies(left, right):
            return call("=>", left, right)
        case Iff(left, right):
            return call("=", left, right)
        case Forall(var, body, sort) | Exists(var, body, sort):
            known = [f"(= {_bar(var)} {_bar(n)})" for n in theory.sorts.get(sort, ())]
            inner = _write(body, theory)
            if known:
                inner = f"({'=>' if isinstance(node, Forall) else 'and'} (or {' '.join(known)} false) {inner})"
            return f"({type(node).__name__.lower()} (({_bar(var)} {THING})) {inner})"
    raise ValueError(f"{node!r} is not a formula")


# ---- reading --------------------------------------------------------------------------------------------------------

_FOLD: dict[str, Any] = {"and": And, "or": Or}


def read_smtlib(text: str) -> Theory:
    """The assertions of a script over Bool, Int and Real constants, uninterpreted predicates and one sort of things.

    Raises:
        SyntaxFault: with the line, the token and the cure.
    """
    axioms: list[Formula] = []
    declared: dict[str, str] = {}
    for tree in trees(text):
        _command(tree, axioms, declared)
    return Theory(tuple(axioms))


def _command(tree: Any, axioms: list[Formula], declared: dict[str, str]) -> None:
    if isinstance(tree, Token):
        raise SyntaxFault(tree, "stands outside of a command", "write commands in ( )")
    head = tree[1] if len(tree) > 1 and isinstance(tree[1], Token) else tree[0]
    match head.text, len(tree):
        case ("declare-const", 4):
            declared[_plain(tree[2])] = tree[3].text
        case ("declare-fun", 5):
            declared[_plain(tree[2])] = tree[4].text
        case ("declare-sort", 4):
            pass
        case ("assert", 3):
            axioms.append(_formula(tree[2], declared, frozenset()))
        case ("set-logic" | "set-info" | "set-option" | "check-sat" | "exit" | "get-model", _):
            pass
        case _:
            known = "declare-const, declare-fun, declare-sort, assert, check-sat"
            raise SyntaxFault(head, "is no command that is understood", f"use {known}")


def _plain(token: Any) -> str:
    if not isinstance(token, Token):
        raise SyntaxFault(token[0], "is a list where a name belongs", "give a name")
    return token.text.strip("|").removeprefix("p:")


def _formula(tree: Any, declared: dict[str, str], bound: frozenset[str]) -> Formula:
    if isinstance(tree, Token):
        name = _plain(tree)
        if name in ("true", "false"):
            return TRUE if name == "true" else FALSE
        if declared.get(name) != "Bool":
            raise SyntaxFault(tree, "is not declared as Bool", f"(declare-const {tree.text} Bool)")
        return Atom(name)
    op, args = _plain(tree[1]) if len(tree) > 1 else "", tree[2:]
    if op in ("forall", "exists") and len(args) == 2:
        names = [_plain(pair[1]) for pair in args[0][1:]]
        body = _formula(args[1], declared, bound | set(names))
        for name in reversed(names):
            body = Forall(name, body) if op == "forall" else Exists(name, body)
        return body
    if op in _FOLD:
        return _FOLD[op](tuple(_formula(a, declared, bound) for a in args))
    if op == "not" and len(args) == 1:
        return Not(_formula(args[0], declared, bound))
    if op == "=>" and len(args) == 2:
        return Implies(_formula(args[0], declared, bound), _formula(args[1], declared, bound))
    if op == "=" and len(args) == 2 and _is_formula(args[0], declared):
        return Iff(_formula(args[0], declared, bound), _formula(args[1], declared, bound))
    if op in ("=", "<", "<=", ">", ">=", "distinct") and len(args) >= 2:
        sides = [_term(a, declared, bound) for a in args]
        pairs = itertools.combinations(sides, 2) if op == "distinct" else itertools.pairwise(sides)
        made = tuple(Compare("!=" if op == "distinct" else op, a, b) for a, b in pairs)
        return made[0] if len(made) == 1 else And(made)
    if declared.get(op) == "Bool":
        return Atom(op, tuple(_term(a, declared, bound) for a in args))
    where = tree[1] if len(tree) > 1 and isinstance(tree[1], Token) else tree[0]
    raise SyntaxFault(where, "is no formula that is understood", "use and, or, not, =>, =, <, distinct, or a predicate")


def _is_formula(tree: Any, declared: dict[str, str]) -> bool:
    if isinstance(tree, Token):
        return tree.text in ("true", "false") or declared.get(_plain(tree)) == "Bool"
    head = _plain(tree[1]) if len(tree) > 1 else ""
    logical = ("and", "or", "not", "=>", "=", "<", "<=", ">", ">=", "forall", "exists")
    return head in logical or declared.get(head) == "Bool"


def _term(tree: Any, declared: dict[str, str], bound: frozenset[str]) -> Term:
    if isinstance(tree, Token):
        name = _plain(tree)
        if re.fullmatch(r"\d+(\.\d+)?", name):
            return Num(Fraction(name))
        if name in bound:
            return Var(name)
        if name not in declared:
            raise SyntaxFault(tree, "is not declared", f"(declare-const {tree.text} Real)")
        return Fun(name) if declared[name] in ("Int", "Real") else Sym(name)
    op, args = _plain(tree[1]) if len(tree) > 1 else "", [_term(a, declared, bound) for a in tree[2:]]
    if op == "-" and len(args) == 1:
        return Num(-args[0].value) if isinstance(args[0], Num) else Fun("-", (Num(Fraction(0)), args[0]))
    values = [a.value for a in args if isinstance(a, Num)]
    if op == "/" and len(values) == len(args) == 2 and values[1]:
        return Num(values[0] / values[1])
    if op in OPERATORS and len(args) >= 2:
        return Fun(op, tuple(args)) if op == "+" or len(args) == 2 else _left_fold(op, args)
    raise SyntaxFault(tree[1] if len(tree) > 1 else tree[0], "is no quantity", "use + - * and declared constants")


def _left_fold(op: str, args: list[Term]) -> Term:
    result = args[0]
    for further in args[1:]:
        result = Fun(op, (result, further))
    return result

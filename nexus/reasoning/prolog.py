"""Prolog and Datalog syntax: facts, rules and queries, both ways.

    parent(ann, bob).  grandparent(X, Z) :- parent(X, Y), parent(Y, Z).  ?- grandparent(ann, X).

``not p`` and ``\\+ p`` in a body are negation as failure, so a program with them is a closed theory; ``-p`` is "p is
false" (classical negation) and belongs to open ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from nexus.reasoning.formulas import (
    And,
    Atom,
    Forall,
    Formula,
    Implies,
    Not,
    Sym,
    Term,
    Theory,
    Var,
    conjunction,
    walk,
)
from nexus.reasoning.reading import Cursor, SyntaxFault, tokens

_TOKEN = re.compile(r":-|\?-|\\\+|[A-Za-z_][A-Za-z0-9_]*|'[^'\n]*'|\d+|[(),.\-]")
_PLAIN = re.compile(r"[a-z][A-Za-z0-9_]*")


def read_prolog(text: str) -> tuple[Theory, list[Formula]]:
    """The program as a theory, and its queries.

    Raises:
        SyntaxFault: with the line, the token and the cure.
    """
    cursor = Cursor(tokens(re.sub(r"%[^\n]*", "", text), _TOKEN))
    axioms: list[Formula] = []
    queries: list[Formula] = []
    failing = False
    while not cursor.done:
        if cursor.accept("?-"):
            queries.append(conjunction(_literals(cursor)))
        else:
            head, body = _literal(cursor), []
            if cursor.accept(":-"):
                failing |= _negates(cursor)
                body = _literals(cursor)
            axioms.append(_closed_formula(Implies(conjunction(body), head) if body else head))
        cursor.expect(".", "end every clause with a full stop")
    return Theory(tuple(axioms), closed=failing), queries


def _negates(cursor: Cursor) -> bool:
    rest = (token.text for token in cursor.stream[cursor.position :])
    for text in rest:
        if text == ".":
            return False
        if text in ("not", "\\+"):
            return True
    return False


def _literals(cursor: Cursor) -> list[Formula]:
    found = [_literal(cursor)]
    while cursor.accept(","):
        found.append(_literal(cursor))
    return found


def _literal(cursor: Cursor) -> Formula:
    if cursor.accept("not", "\\+", "-"):
        return Not(_literal(cursor))
    token = cursor.take()
    if not re.fullmatch(r"[a-z]\w*|'[^']*'", token.text):
        cure = "begin predicates with a small letter, or put them between quotes"
        raise SyntaxFault(token, "is no predicate", cure)
    args: list[Term] = []
    if cursor.accept("("):
        args.append(_argument(cursor))
        while cursor.accept(","):
            args.append(_argument(cursor))
        cursor.expect(")", "close every ( with a )")
    return Atom(token.text.strip("'"), tuple(args))


def _argument(cursor: Cursor) -> Term:
    token = cursor.take()
    if not re.fullmatch(r"\w+|'[^']*'", token.text):
        raise SyntaxFault(token, "is no argument", "give names (small letter) or variables (capital letter)")
    if token.text == "_":
        return Var(f"_{token.line}_{token.column}")
    return Var(token.text) if token.text[0].isupper() or token.text[0] == "_" else Sym(token.text.strip("'"))


def _closed_formula(formula: Formula) -> Formula:
    for name in reversed(list(dict.fromkeys(n.name for n in walk(formula) if isinstance(n, Var)))):
        formula = Forall(name, formula)
    return formula


def write_prolog(theory: Theory, queries: Iterable[Formula] = (), negation: str = "\\+") -> str:
    """The theory as a program.

    Raises:
        ValueError: an axiom is not a rule.
    """
    sign = negation if theory.closed else "-"
    lines = []
    for axiom in theory.axioms:
        inner = axiom
        while isinstance(inner, Forall):
            inner = inner.body
        body, head = (inner.left, inner.right) if isinstance(inner, Implies) else (And(()), inner)
        parts = body.parts if isinstance(body, And) else (body,)
        tail = f" :- {', '.join(_write(p, sign) for p in parts)}" if parts else ""
        lines.append(f"{_write(head, '-')}{tail}.")
    lines += [f"?- {', '.join(_write(p, sign) for p in (q.parts if isinstance(q, And) else (q,)))}." for q in queries]
    return "\n".join(lines) + "\n"


def _write(formula: Formula, sign: str) -> str:
    match formula:
        case Not(Atom() as atom):
            return f"{sign}{' ' if len(sign) > 1 else ''}{_write(atom, sign)}"
        case Atom(name, args):
            return _name(name) + (f"({', '.join(map(_term, args))})" if args else "")
    raise ValueError(f"'{formula}' is not an atom or a negated one; Prolog has facts and rules only")


def _name(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else f"'{name}'"


def _term(term: Term) -> str:
    if isinstance(term, Var):
        return term.name[0].upper() + term.name[1:] if term.name[0] != "_" else term.name
    return _name(str(term))

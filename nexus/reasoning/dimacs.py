"""DIMACS CNF: the format of SAT solvers, both ways."""

from __future__ import annotations

import re
from collections.abc import Iterable

from nexus.reasoning.formulas import Atom, Formula, Not, Theory, disjunction
from nexus.reasoning.reading import SyntaxFault, Token, tokens


def read_dimacs(text: str) -> Theory:
    """Clauses as axioms over propositions x1, x2, ...

    Raises:
        SyntaxFault: with the line, the token and the cure.
    """
    stream = tokens(re.sub(r"^c[^\n]*$", "", text, flags=re.MULTILINE), re.compile(r"\S+"))
    if [t.text for t in stream[:2]] != ["p", "cnf"] or len(stream) < 4:
        where = stream[0] if stream else Token("", 1, 1)
        raise SyntaxFault(where, "stands where the header belongs", "begin with: p cnf VARIABLES CLAUSES")
    variables, count = (_integer(t) for t in stream[2:4])
    axioms: list[Formula] = []
    clause: list[Formula] = []
    for token in stream[4:]:
        value = _integer(token)
        if abs(value) > variables:
            raise SyntaxFault(token, f"is above the {variables} variables of the header", "correct the header")
        if value:
            clause.append(Atom(f"x{value}") if value > 0 else Not(Atom(f"x{-value}")))
        else:
            axioms.append(disjunction(clause))
            clause = []
    last = stream[-1]
    if clause:
        raise SyntaxFault(last, "ends the text inside a clause", "end every clause with 0")
    if len(axioms) != count:
        raise SyntaxFault(last, f"ends clause {len(axioms)} of {count}", "correct the number of clauses in the header")
    return Theory(tuple(axioms))


def _integer(token: Token) -> int:
    try:
        return int(token.text)
    except ValueError:
        raise SyntaxFault(token, "is not a whole number", "write literals as 1, -1, 2 ...") from None


def write_dimacs(clauses: Iterable[Iterable[int]]) -> str:
    """Clauses of numbered literals as a DIMACS text."""
    rows = [list(clause) for clause in clauses]
    top = max((abs(lit) for row in rows for lit in row), default=0)
    return "\n".join([f"p cnf {top} {len(rows)}", *(" ".join(map(str, [*row, 0])) for row in rows)]) + "\n"

"""The typed formula language that everything in this room speaks.

The one idea: a small closed set of immutable node types, from propositional logic through Horn and first-order logic
over named individuals to linear arithmetic over unknown quantities, each with one way to be printed and stored.
Names of individuals are taken to denote different things (the unique names assumption).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

THING = "thing"  # the sort of individuals about which no list is complete


@dataclass(frozen=True)
class Var:
    """A variable bound by a quantifier."""

    name: str

    def __str__(self) -> str:
        return self.name.upper()


@dataclass(frozen=True)
class Sym:
    """A named individual."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Num:
    """An exact number."""

    value: Fraction

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True)
class Fun:
    """A quantity: ``+``, ``-`` or ``*`` of others, or an unknown such as ``height(ann)``."""

    name: str
    args: tuple[Term, ...] = ()

    def __str__(self) -> str:
        if self.name in OPERATORS:
            return "(" + f" {self.name} ".join(map(str, self.args)) + ")"
        return _call(self.name, self.args)


Term = Var | Sym | Num | Fun
OPERATORS = ("+", "-", "*")
OPPOSITE = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


@dataclass(frozen=True)
class Truth:
    """The formula that always holds, or never."""

    value: bool

    def __str__(self) -> str:
        return "true" if self.value else "false"


@dataclass(frozen=True)
class Atom:
    """A predicate of individuals, ``chases(cat, mouse)``; without arguments a proposition."""

    name: str
    args: tuple[Term, ...] = ()

    def __str__(self) -> str:
        return _call(self.name, self.args)


@dataclass(frozen=True)
class Compare:
    """``left op right`` with op one of = != < <= > >=, over quantities, or = and != over individuals."""

    op: str
    left: Term
    right: Term

    def __str__(self) -> str:
        return f"{self.left} {self.op} {self.right}"


@dataclass(frozen=True)
class Not:
    """Negation."""

    body: Formula

    def __str__(self) -> str:
        return f"not {_tight(self.body)}"


@dataclass(frozen=True)
class And:
    """All parts hold."""

    parts: tuple[Formula, ...]

    def __str__(self) -> str:
        return " and ".join(map(_tight, self.parts)) or "true"


@dataclass(frozen=True)
class Or:
    """At least one part holds."""

    parts: tuple[Formula, ...]

    def __str__(self) -> str:
        return " or ".join(map(_tight, self.parts)) or "false"


@dataclass(frozen=True)
class Implies:
    """If left then right."""

    left: Formula
    right: Formula

    def __str__(self) -> str:
        return f"{_tight(self.left)} -> {_tight(self.right)}"


@dataclass(frozen=True)
class Iff:
    """Left exactly if right."""

    left: Formula
    right: Formula

    def __str__(self) -> str:
        return f"{_tight(self.left)} <-> {_tight(self.right)}"


@dataclass(frozen=True)
class Forall:
    """For every individual of the sort."""

    var: str
    body: Formula
    sort: str = THING

    def __str__(self) -> str:
        return f"all {self.var.upper()}: {self.body}"


@dataclass(frozen=True)
class Exists:
    """For at least one individual of the sort."""

    var: str
    body: Formula
    sort: str = THING

    def __str__(self) -> str:
        return f"some {self.var.upper()}: {_tight(self.body)}"


Formula = Truth | Atom | Compare | Not | And | Or | Implies | Iff | Forall | Exists
FALSE, TRUE = Truth(False), Truth(True)


@dataclass(frozen=True)
class Theory:
    """What is given.

    Attributes:
        axioms: formulas that hold.
        sorts: sorts whose individuals are all known. Other sorts, ``THING`` among them, may have more than are named.
        ranges: the unknown quantities that are whole numbers from low to high.
        closed: what cannot be derived is false, and ``Not`` in the body of a rule means that (stratified negation).
    """

    axioms: tuple[Formula, ...]
    sorts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ranges: Mapping[Fun, tuple[int, int]] = field(default_factory=dict)
    closed: bool = False


@dataclass(frozen=True)
class Action:
    """A grounded STRIPS action: what it needs (``needs`` true, ``forbids`` false), what it makes true and false."""

    name: str
    needs: frozenset[Atom]
    adds: frozenset[Atom]
    deletes: frozenset[Atom]
    forbids: frozenset[Atom] = frozenset()


@dataclass(frozen=True)
class Planning:
    """A planning problem: from the facts of ``start`` to a state in which every atom of ``goal`` holds."""

    start: frozenset[Atom]
    goal: frozenset[Atom]
    actions: tuple[Action, ...]


# ---- building -------------------------------------------------------------------------------------------------------


def conjunction(parts: Iterable[Formula]) -> Formula:
    """And of the parts; of a single part the part itself."""
    several = tuple(parts)
    return several[0] if len(several) == 1 else And(several) if several else TRUE


def disjunction(parts: Iterable[Formula]) -> Formula:
    """Or of the parts; of a single part the part itself."""
    several = tuple(parts)
    return several[0] if len(several) == 1 else Or(several) if several else FALSE


def negation(formula: Formula) -> Formula:
    """Not, without doubling it; the opposite of a comparison is a comparison."""
    if isinstance(formula, Compare):
        return Compare(OPPOSITE[formula.op], formula.left, formula.right)
    return formula.body if isinstance(formula, Not) else Not(formula)


def number(value: int | Fraction | str) -> Num:
    """An exact number term."""
    return Num(Fraction(value))


def parts_of(formula: Formula) -> list[Formula]:
    """The parts of a conjunction; of any other formula itself."""
    return list(formula.parts) if isinstance(formula, And) else [formula]


def rule_parts(axiom: Formula) -> tuple[list[str], list[Formula], Formula]:
    """Variables, body and head of an axiom that has the form of a rule or a fact.

    Raises:
        ValueError: a variable ranges over a closed sort.
    """
    variables = []
    while isinstance(axiom, Forall):
        if axiom.sort != THING:
            raise ValueError(f"'{axiom}' is about the sort {axiom.sort!r}; write rules about everything")
        variables.append(axiom.var)
        axiom = axiom.body
    return (variables, parts_of(axiom.left), axiom.right) if isinstance(axiom, Implies) else (variables, [], axiom)


# ---- walking --------------------------------------------------------------------------------------------------------


def children(node: Formula | Term) -> tuple[Any, ...]:
    """The nodes directly below."""
    match node:
        case Not(body) | Forall(_, body, _) | Exists(_, body, _):
            return (body,)
        case And(parts) | Or(parts):
            return parts
        case Implies(left, right) | Iff(left, right) | Compare(_, left, right):
            return (left, right)
        case Atom(_, args) | Fun(_, args):
            return args
    return ()


def walk(node: Formula | Term) -> Iterator[Any]:
    """The node and everything below it."""
    yield node
    for child in children(node):
        yield from walk(child)


def substitute(node: Any, binding: Mapping[str, Term]) -> Any:
    """The node with free variables replaced."""
    match node:
        case Var(name):
            return binding.get(name, node)
        case Atom(name, args) | Fun(name, args):
            return type(node)(name, tuple(substitute(a, binding) for a in args))
        case Compare(op, left, right):
            return Compare(op, substitute(left, binding), substitute(right, binding))
        case Not(body):
            return Not(substitute(body, binding))
        case And(parts) | Or(parts):
            return type(node)(tuple(substitute(p, binding) for p in parts))
        case Implies(left, right) | Iff(left, right):
            return type(node)(substitute(left, binding), substitute(right, binding))
        case Forall(var, body, sort) | Exists(var, body, sort):
            inner = {k: v for k, v in binding.items() if k != var}
            return type(node)(var, substitute(body, inner), sort)
    return node


def individuals(formulas: Iterable[Formula]) -> list[str]:
    """Names of all individuals that occur, in order of first mention."""
    return list(dict.fromkeys(n.name for f in formulas for n in walk(f) if isinstance(n, Sym)))


def quantities(formulas: Iterable[Formula]) -> list[Fun]:
    """All unknown quantities that occur, in order of first mention."""
    found = (n for f in formulas for n in walk(f) if isinstance(n, Fun) and n.name not in OPERATORS)
    return list(dict.fromkeys(found))


def signature_faults(theory: Theory, *goals: Formula) -> list[str]:
    """What is ill-typed: two arities of one name, sizes of individuals, unknown sorts, loose variables."""
    seen: dict[tuple[type, str], int] = {}
    faults = []
    for formula in (*theory.axioms, *goals):
        for node in walk(formula):
            if isinstance(node, Atom | Fun) and node.name not in OPERATORS:
                arity = seen.setdefault((type(node), node.name), len(node.args))
                if arity != len(node.args):
                    faults.append(f"{node.name} is used with {arity} and with {len(node.args)} arguments; use one")
                if any(isinstance(a, Num | Fun) for a in node.args):
                    faults.append(f"'{node}' is about a quantity; only individuals have predicates and quantities")
            if isinstance(node, Compare):
                sides = [isinstance(side, Sym | Var) for side in (node.left, node.right)]
                if sides[0] != sides[1] or (sides[0] and node.op not in ("=", "!=")):
                    faults.append(f"'{node}' compares the size of an individual; compare quantities")
            if isinstance(node, Forall | Exists) and node.sort != THING and node.sort not in theory.sorts:
                faults.append(f"the sort {node.sort!r} in '{node}' is not declared; list it in sorts")
        faults += [f"variable {v.upper()} in '{formula}' is not bound; quantify it" for v in sorted(_free(formula))]
    return list(dict.fromkeys(faults))


def _free(node: Any) -> set[str]:
    if isinstance(node, Var):
        return {node.name}
    below = set(itertools.chain.from_iterable(_free(child) for child in children(node)))
    return below - {node.var} if isinstance(node, Forall | Exists) else below


# ---- storing: nested lists of strings, ready for JSON ---------------------------------------------------------------

_NODES: dict[str, Any] = {
    c.__name__.lower(): c for c in (Var, Sym, Fun, Atom, Compare, Not, And, Or, Implies, Iff, Forall, Exists)
}


def to_data(node: Any) -> Any:
    """The node as nested lists of strings."""
    match node:
        case Num(value):
            return ["num", str(value)]
        case Truth(value):
            return ["truth", str(value).lower()]
        case Atom(name, args) | Fun(name, args):
            return [type(node).__name__.lower(), name, *map(to_data, args)]
        case And(parts) | Or(parts):
            return [type(node).__name__.lower(), *map(to_data, parts)]
        case Var(name) | Sym(name):
            return [type(node).__name__.lower(), name]
        case Compare(op, left, right):
            return ["compare", op, to_data(left), to_data(right)]
        case Forall(var, body, sort) | Exists(var, body, sort):
            return [type(node).__name__.lower(), var, to_data(body), sort]
    return [type(node).__name__.lower(), *map(to_data, children(node))]


def from_data(data: Any) -> Any:
    """What `to_data` stored.

    Raises:
        ValueError: the data is not a formula or term.
    """
    if not isinstance(data, list | tuple) or not data:
        raise ValueError(f"{data!r} is not a stored formula; write it with to_data")
    try:
        kind, *rest = data
        if kind == "num":
            return Num(Fraction(rest[0]))
        if kind == "truth":
            return Truth({"true": True, "false": False}[rest[0]])
        made = [item if isinstance(item, str) else from_data(item) for item in rest]
        if kind in ("atom", "fun"):
            return _NODES[kind](made[0], tuple(made[1:]))
        return _NODES[kind](tuple(made)) if kind in ("and", "or") else _NODES[kind](*made)
    except (TypeError, KeyError, IndexError, ZeroDivisionError, AttributeError) as error:
        raise ValueError(f"{data!r} is not a stored formula; write it with to_data") from error


def _call(name: str, args: tuple[Term, ...]) -> str:
    return f"{name}({', '.join(map(str, args))})" if args else name


def _tight(formula: Formula) -> str:
    loose = isinstance(formula, And | Or | Implies | Iff | Forall | Exists)
    return f"({formula})" if loose else str(formula)

"""PDDL: typed STRIPS domains with negated preconditions, read and grounded, and written back grounded.

The subset is `:strips :typing :negative-preconditions` with constants (Fox and Long 2003); anything else is refused by
name. Actions are grounded over all objects of the right types; those that can never apply, for a static fact says so,
are left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

from nexus.reasoning.formulas import Action, Atom, Planning, Sym
from nexus.reasoning.reading import SyntaxFault, Token
from nexus.reasoning.trees import Tree, head, trees, where

ROOT = "object"


@dataclass
class _Schema:
    name: str
    parameters: list[tuple[str, str]]
    needs: list[Tree]
    effects: list[Tree]


@dataclass
class _Domain:
    parents: dict[str, str] = field(default_factory=dict)
    objects: dict[str, str] = field(default_factory=dict)
    predicates: dict[str, int] = field(default_factory=dict)
    schemas: list[_Schema] = field(default_factory=list)


def read_pddl(domain: str, problem: str) -> Planning:
    """A domain and a problem as a grounded planning problem.

    Raises:
        SyntaxFault: with the line, the token and the cure.
    """
    d = _Domain()
    for part in _sections(domain, "domain"):
        _domain_part(d, part)
    start: set[Atom] = set()
    goal: set[Atom] = set()
    parts = _sections(problem, "problem")
    for part in parts:
        if head(part) == ":objects":
            d.objects.update(_typed(part[2:]))
        elif head(part) not in (":domain", ":init", ":goal", ":requirements"):
            _refuse(part, "use :objects, :init and :goal")
    for part in parts:
        if head(part) == ":init":
            start |= {_atom(d, item, {}) for item in part[2:]}
        elif head(part) == ":goal":
            goal |= {_positive(d, item) for item in _conjuncts(part[2:])}
    return Planning(frozenset(start), frozenset(goal), tuple(_grounded(d, start)))


def _sections(text: str, kind: str) -> list[Tree]:
    found = trees(text)
    if len(found) != 1 or head(found[0]) != "define" or len(found[0]) < 3 or head(found[0][2]) != kind:
        place = where(found[0]) if found else Token("", 1, 1)
        raise SyntaxFault(place, f"begins no {kind}", f"write (define ({kind} NAME) ...)")
    return found[0][3:]


def _refuse(tree: Tree, cure: str) -> NoReturn:
    raise SyntaxFault(where(tree), "is not understood", cure)


def _domain_part(d: _Domain, part: Tree) -> None:
    match head(part):
        case ":requirements":
            known = (":strips", ":typing", ":negative-preconditions")
            for item in part[2:]:
                if head(item) not in known:
                    _refuse(item, f"this reader knows {', '.join(known)}")
        case ":types":
            d.parents.update(_typed(part[2:]))
        case ":constants":
            d.objects.update(_typed(part[2:]))
        case ":predicates":
            d.predicates.update({head(p): len(_typed(p[2:])) for p in part[2:]})
        case ":action":
            d.schemas.append(_schema(part))
        case _:
            _refuse(part, "use :requirements, :types, :constants, :predicates and :action")


def _typed(items: list[Tree]) -> dict[str, str]:
    """Names with their types, from "a b - place c"."""
    found: dict[str, str] = {}
    waiting: list[str] = []
    words = iter(items)
    for item in words:
        if not isinstance(item, Token):
            _refuse(item, "give names, and types after a -")
        if item.text == "-":
            kind = head(next(words, item))
            found.update(dict.fromkeys(waiting, kind))
            waiting = []
        else:
            waiting.append(item.text.lower())
    return {**found, **dict.fromkeys(waiting, ROOT)}


def _schema(part: Tree) -> _Schema:
    fields = {head(key): value for key, value in zip(part[3::2], part[4::2], strict=False)}
    unknown = [key for key in part[3::2] if head(key) not in (":parameters", ":precondition", ":effect")]
    if unknown:
        _refuse(unknown[0], "an action has :parameters, :precondition and :effect")
    parameters = list(_typed(fields[":parameters"][1:]).items()) if ":parameters" in fields else []
    needs = _conjuncts([fields[":precondition"]]) if ":precondition" in fields else []
    effects = _conjuncts([fields[":effect"]]) if ":effect" in fields else []
    return _Schema(head(part[2]), parameters, needs, effects)


def _conjuncts(items: list[Tree]) -> list[Tree]:
    found = []
    for item in items:
        if not isinstance(item, Token) and head(item) == "and":
            found += _conjuncts(item[2:])
        elif isinstance(item, Token) or len(item) > 1:
            found.append(item)
    return found


def _atom(d: _Domain, tree: Tree, binding: dict[str, str]) -> Atom:
    name = head(tree)
    if name in ("or", "forall", "exists", "when", "imply", "=", "increase") or isinstance(tree, Token):
        _refuse(tree, "this reader knows conjunctions of atoms and of negated atoms")
    if name not in d.predicates:
        raise SyntaxFault(where(tree), "is no predicate of the domain", f"use one of {', '.join(sorted(d.predicates))}")
    if len(tree) - 2 != d.predicates[name]:
        raise SyntaxFault(where(tree), f"has {len(tree) - 2} arguments", f"give {d.predicates[name]}")
    args = []
    for item in tree[2:]:
        value = binding.get(head(item), head(item))
        if value not in d.objects:
            raise SyntaxFault(where(item), "is no object", "declare it in :objects or :parameters")
        args.append(Sym(value))
    return Atom(name, tuple(args))


def _positive(d: _Domain, tree: Tree) -> Atom:
    if head(tree) == "not":
        _refuse(tree, "goals are conjunctions of atoms")
    return _atom(d, tree, {})


def _is_a(d: _Domain, kind: str, wanted: str) -> bool:
    for _ in range(len(d.parents) + 1):
        if kind == wanted or wanted == ROOT:
            return True
        kind = d.parents.get(kind, ROOT)
    return False


def _grounded(d: _Domain, start: set[Atom]) -> Iterator[Action]:
    changing = {head(e[2] if head(e) == "not" else e) for s in d.schemas for e in s.effects}
    for schema in d.schemas:
        choices = [[o for o, kind in d.objects.items() if _is_a(d, kind, wanted)] for _, wanted in schema.parameters]
        for values in itertools.product(*choices):
            binding = dict(zip((p for p, _ in schema.parameters), values, strict=True))
            action = _action(d, schema, binding, " ".join([schema.name, *values]))
            static = [a for a in action.needs if a.name not in changing]
            if set(static) <= start and not any(a in start for a in action.forbids if a.name not in changing):
                yield action


def _action(d: _Domain, schema: _Schema, binding: dict[str, str], name: str) -> Action:
    sides: dict[str, set[Atom]] = {"needs": set(), "forbids": set(), "adds": set(), "deletes": set()}
    for items, yes, no in ((schema.needs, "needs", "forbids"), (schema.effects, "adds", "deletes")):
        for item in items:
            negated = not isinstance(item, Token) and head(item) == "not" and len(item) == 3
            sides[no if negated else yes].add(_atom(d, item[2] if negated else item, binding))
    return Action(name, **{key: frozenset(value) for key, value in sides.items()})


def write_pddl(problem: Planning) -> tuple[str, str]:
    """A grounded problem as a domain without parameters and a problem; names of atoms and actions are made plain."""
    atoms: set[Atom] = set(problem.start | problem.goal)
    for action in problem.actions:
        atoms |= action.needs | action.forbids | action.adds | action.deletes
    names = {atom: _plain(str(atom)) for atom in sorted(atoms, key=str)}

    def some(several: frozenset[Atom], form: str = "({})") -> str:
        return " ".join(form.format(names[a]) for a in sorted(several, key=str))

    lines = ["(define (domain grounded)", "  (:requirements :strips :negative-preconditions)"]
    lines.append(f"  (:predicates {' '.join(f'({n})' for n in names.values())})")
    for action in problem.actions:
        needs = f"{some(action.needs)} {some(action.forbids, '(not ({}))')}"
        effects = f"{some(action.adds)} {some(action.deletes, '(not ({}))')}"
        lines.append(f"  (:action {_plain(action.name)} :parameters ()")
        lines.append(f"    :precondition (and {needs}) :effect (and {effects}))")
    about = [f"(define (problem one) (:domain grounded)\n  (:init {some(problem.start)})"]
    return "\n".join([*lines, ")\n"]), "\n".join([*about, f"  (:goal (and {some(problem.goal)})))\n"])


def _plain(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text.lower()).strip("-")

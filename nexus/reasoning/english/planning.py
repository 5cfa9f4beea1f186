"""Planning in English: blocks, and any domain whose actions the text describes.

    The red block is on the blue block. The blue block is on the table. The red block is clear. The hand is empty.
    The goal is that the blue block is on the red block.

A domain of one's own: "To perform attack, the following facts need to be true: province object, planet object. Once
attack is performed, the following facts will be true: pain object. Once attack is performed, the following facts will
be false: province object." Then: "Initially, province object a. My goal is to have that object a craves object b."
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from nexus.reasoning.english.text import Discourse, Effect, English, Query
from nexus.reasoning.formulas import Action, Atom, Planning, Sym


@dataclass
class Scene:
    """What a text has said about a planning problem."""

    start: set[Atom] = field(default_factory=set)
    goal: set[Atom] = field(default_factory=set)
    schemas: dict[str, dict[str, list[tuple[str, ...]]]] = field(default_factory=dict)
    blocks: dict[str, None] = field(default_factory=dict)
    objects: dict[str, None] = field(default_factory=dict)


def _scene(d: Discourse) -> Scene:
    found = d.memory.setdefault("scene", Scene())
    assert isinstance(found, Scene)
    return found


# ---- blocks ---------------------------------------------------------------------------------------------------------


def _block(c: English, seen: dict[str, None]) -> Sym:
    if c.accept("the"):
        name = c.open_word("block").lower()
        c.need("block")
    else:
        c.need("block")
        name = c.take().text.lower()
    seen[name] = None
    return Sym(name)


def _block_fact(c: English, seen: dict[str, None]) -> Atom:
    if c.accept("the hand is empty", "my hand is empty", "the arm is empty", "i am holding nothing"):
        return Atom("handempty")
    if c.accept("the hand is holding", "the hand holds", "i am holding"):
        return Atom("holding", (_block(c, seen),))
    upper = _block(c, seen)
    if c.accept("is clear", "has nothing on it", "has nothing on top of it"):
        return Atom("clear", (upper,))
    if c.accept("is on the table", "stands on the table", "sits on the table"):
        return Atom("ontable", (upper,))
    if not c.accept("is on top of", "sits on top of", "sits on", "is on", "stands on", "rests on"):
        c.fail("says nothing about blocks that is understood", "say: is on the table, is on the ... block, is clear")
    return Atom("on", (upper, _block(c, seen)))


def blocks(c: English, d: Discourse) -> Effect:
    """Facts about blocks, or the goal."""
    goal = c.accept(
        "the goal is that", "my goal is to have that", "my goal is that", "goal :", "the goal is to have that"
    )
    if not goal:
        c.accept(
            "as initial conditions i have that ,",
            "as initial conditions i have that",
            "initially ,",
            "initially",
            "at first ,",
        )
    seen: dict[str, None] = {}
    facts = [_block_fact(c, seen)]
    while c.accept(", and", "and", ","):
        facts.append(_block_fact(c, seen))
    c.finish()

    def effect() -> None:
        scene = _scene(d)
        scene.blocks.update(seen)
        (scene.goal if goal else scene.start).update(facts)
        if goal:
            _ask_for_plan(c, d)

    return effect


def _ask_for_plan(c: English, d: Discourse) -> None:
    if not any(q.kind == "plan" for q in d.queries):
        d.queries.append(Query("plan", c.text()))


def blocks_actions(names: list[str]) -> list[Action]:
    """The four actions of Blocksworld (Gupta and Nau 1992) over the named blocks."""
    made = []
    empty = Atom("handempty")
    for x in map(Sym, names):
        clear, table, held = Atom("clear", (x,)), Atom("ontable", (x,)), Atom("holding", (x,))
        free = frozenset({clear, table, empty})
        made.append(Action(f"pick up the {x} block", free, frozenset({held}), free))
        made.append(Action(f"put down the {x} block", frozenset({held}), free, frozenset({held})))
        for y in map(Sym, names):
            if x != y:
                on, below = Atom("on", (x, y)), Atom("clear", (y,))
                made.append(Action(f"stack the {x} block on top of the {y} block", frozenset({held, below}),
                                   frozenset({on, clear, empty}), frozenset({held, below})))  # fmt: skip
                made.append(Action(f"unstack the {x} block from on top of the {y} block", frozenset({on, clear, empty}),
                                   frozenset({held, below}), frozenset({on, clear, empty})))  # fmt: skip
    return made


# ---- domains that are described -------------------------------------------------------------------------------------


def _pattern(c: English) -> tuple[str, ...]:
    """A fact of a schema: "province object", "object craves other object", "harmony"."""
    words = []
    while not c.done and c.word not in (",", "and", "."):
        words.append(c.take().text.lower())
    if not words:
        c.fail("is no fact", "name a fact, for instance: province object")
    return tuple(words)


def _patterns(c: English) -> list[tuple[str, ...]]:
    found = [_pattern(c)]
    while c.accept(", and", ",", "and"):
        found.append(_pattern(c))
    return found


def schema(c: English, d: Discourse) -> Effect:
    """What an action needs, and what it makes true or false."""
    if c.accept("to perform"):
        name, role = c.open_word("action").lower(), "needs"
        c.accept("action")
        c.accept(",")
        c.need("the following facts need to be true :", "the following fact needs to be true :",
               "the following needs to be true :")  # fmt: skip
    else:
        c.need("once")
        name = c.open_word("action").lower()
        c.accept("action")
        c.need("is performed ,", "is performed")
        c.need("the following facts will be", "the following fact will be")
        role = "adds" if c.accept("true") else "deletes"
        if role == "deletes":
            c.need("false")
        c.need(":")
    patterns = _patterns(c)
    c.finish()
    return lambda: _scene(d).schemas.setdefault(name, {}).__setitem__(role, patterns)


def _fact(c: English, seen: dict[str, None]) -> Atom:
    """A fact about named objects: "province object a", "object a craves object b", "harmony"."""
    words, args = [], []
    while not c.done and c.word not in (",", "and"):
        if c.accept("object"):
            args.append(Sym(c.take().text.lower()))
            seen[args[-1].name] = None
            words.append("_")
        else:
            words.append(c.take().text.lower())
    if not [w for w in words if w != "_"]:
        c.fail("is no fact", "say for instance: province object a")
    return Atom("_".join(w for w in words if w != "_"), tuple(args))


def facts(c: English, d: Discourse) -> Effect:
    """The initial facts or the goal of a described domain."""
    scene = d.memory.get("scene")
    if not isinstance(scene, Scene) or not scene.schemas:
        c.fail(
            "comes before any action is described", "begin: To perform NAME, the following facts need to be true: ..."
        )
    goal = c.accept("my goal is to have that", "the goal is that", "goal :", "my goal is that")
    if not goal:
        c.need("as initial conditions i have that ,", "as initial conditions i have that", "initially ,", "initially")
    seen: dict[str, None] = {}
    found = [_fact(c, seen)]
    while c.accept(", and", "and", ","):
        found.append(_fact(c, seen))
    c.finish()
    known = {_schema_atom(p, "", "").name for s in scene.schemas.values() for ps in s.values() for p in ps}
    strange = [a.name for a in found if a.name not in known]
    if strange:
        c.fail(f"ends with the fact {strange[0]!r}, which no action speaks of", "use the facts of the actions")

    def effect() -> None:
        scene.objects.update(seen)
        (scene.goal if goal else scene.start).update(found)
        if goal:
            _ask_for_plan(c, d)

    return effect


def _schema_atom(pattern: tuple[str, ...], x: str, y: str) -> Atom:
    words: list[str] = []
    args: list[Sym] = []
    position = 0
    while position < len(pattern):
        if pattern[position] == "object":
            args.append(Sym(x))
        elif pattern[position : position + 2] == ("other", "object"):
            args.append(Sym(y))
            position += 1
        else:
            words.append(pattern[position])
        position += 1
    return Atom("_".join(words), tuple(args))


def _described(scene: Scene) -> list[Action]:
    made = []
    for name, parts in scene.schemas.items():
        two = any("other" in p for ps in parts.values() for p in ps)
        for x, y in itertools.product(scene.objects, scene.objects if two else [""]):
            if x != y:
                atoms = {
                    r: frozenset(_schema_atom(p, x, y) for p in parts.get(r, [])) for r in ("needs", "adds", "deletes")
                }
                called = f"{name} object {x}" + (f" from object {y}" if two else "")
                made.append(Action(called, **atoms))
    return made


def problem(d: Discourse) -> Planning | None:
    """The planning problem of the text, if it has one."""
    scene = d.memory.get("scene")
    if not isinstance(scene, Scene) or not scene.goal:
        return None
    actions = _described(scene) if scene.schemas else blocks_actions(list(scene.blocks))
    return Planning(frozenset(scene.start), frozenset(scene.goal), tuple(actions))

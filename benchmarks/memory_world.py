"""A made-up world for memory_edits.py: people, cities, firms, books, and questions whose answers are known."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product

from memory_templates import RELATIONS, VALUES, Relation
from memory_wordings import STATEMENTS, WORDINGS

_SYLLABLES = "ba be di do fa ga hel ika jor ka lo mi nu or pe ri sa tu va zo"
SYLLABLES = _SYLLABLES.split()
ENDS = {
    "person": ("n", "ra", "lis", "mo"),
    "city": ("burg", "stad", "ford", "mere"),
    "firm": ("ex", "corp", "tec", "ia"),
}
_MONTHS = "January February March April May June July August September October November December"
TITLES = (
    "Silent Golden Broken Hidden Distant Frozen Burning Crooked Velvet Hollow Scarlet Patient Wandering Bitter Narrow "
    "Sleeping Paper Iron Copper Salty Northern Southern Forgotten Gentle Restless Shallow Thirsty Wooden Tidal Amber",
    "Harbour Garden Clock Bridge Letter Orchard Lantern Window Mountain Kitchen Ferry Mirror Station Violin Island "
    "Compass Market Shadow River Ladder Winter Engine Candle Meadow Anchor Tower Curtain Needle Basket Thread Valley "
    "Feather Cellar Saddle Ribbon Pocket Hammer Lighthouse Cradle Summit Fountain Ledger Bakery Canal Stable Quarry "
    "Chapel Parade Marsh Pilot Tailor Gate Carpet Drawer Kettle Whistle Beacon Burrow Terrace Willow",
)
SHARES = {"person": 0.5, "city": 0.17, "firm": 0.17, "work": 0.16}
PER_SUBJECT = {"person": 5, "city": 3, "firm": 3, "work": 3}
CHANGED = 0.1  # of the edits replace an earlier value


REQUESTS = (
    "Write a poem about {s}.", "What should I give {s} as a present?", "Why is {s} sad?", "How do I get to {s}?",
    "What is the weather like in {s}?", "Is {s} nice?", "Translate {s} into German.", "Can you summarise {s}?",
    "Should I trust {s}?", "What did {s} say yesterday?", "How many letters has the name {s}?",
    "Who is better than {s}?", "What is {s}'s password?", "How tall is {s}?",
    "What is the religion of {s}?", "When did {s} die?",
)  # fmt: skip


@dataclass(frozen=True)
class Edit:
    """One thing to teach: who, which relation, what value; `again` if an earlier value no longer holds; `form` is
    another sentence than the relation's own."""

    subject: str
    relation: Relation
    value: str
    again: bool = False
    form: str = ""

    @property
    def text(self) -> str:
        """The sentence that is taught."""
        text = (self.form or self.relation.taught).format(s=self.subject, v=self.value)
        return text[0].upper() + text[1:]


@dataclass(frozen=True)
class Probe:
    """A question; `path` are the facts that answer it, none if it was not taught; `kind` says what it tests."""

    kind: str
    question: str
    path: tuple[tuple[str, str], ...] = ()


@dataclass
class World:
    """Names by kind, edits in order, and what holds after them: (subject, relation name) to value."""

    names: dict[str, list[str]]
    edits: list[Edit] = field(default_factory=list)
    holds: dict[tuple[str, str], str] = field(default_factory=dict)


def build(n: int, seed: int) -> World:
    """A world of n edits."""
    rng = random.Random(seed)
    subjects = round(n * (1 - CHANGED) / sum(SHARES[kind] * PER_SUBJECT[kind] for kind in SHARES)) + 4
    world = World({kind: _names(kind, max(4, round(subjects * share)), rng) for kind, share in SHARES.items()})
    wanted = [(kind, name, relation) for kind in SHARES for name in world.names[kind]
              for relation in rng.sample(_of(kind), PER_SUBJECT[kind])]  # fmt: skip
    rng.shuffle(wanted)
    for _, name, relation in wanted[: n - round(n * CHANGED)]:
        _edit(world, Edit(name, relation, _value(world, name, relation, rng)))
    for edit in rng.sample(world.edits, n - len(world.edits)):
        _edit(world, Edit(edit.subject, edit.relation, _value(world, edit.subject, edit.relation, rng), again=True))
    return world


def taught(world: World, which: str, rng: random.Random, most: int) -> list[Probe]:
    """Questions about what was taught: `asked` in its words, `dev`, `test` and `blind` in other words."""
    found = [Probe(which, question, ((subject, relation.name),))
             for subject, relation in _holding(world) for question in _forms(relation, subject, which)]  # fmt: skip
    return rng.sample(found, min(most, len(found)))


def near_misses(world: World, rng: random.Random, most: int, forms: str) -> list[Probe]:
    """Half ask an untaught relation of someone known, half a taught relation of someone unknown with a similar name."""
    found = []
    for kind, names in world.names.items():
        for name in names:
            for relation in _of(kind):
                form = rng.choice(_forms(relation, name, forms))
                if (name, relation.name) not in world.holds:
                    found.append(Probe("other relation", form))
                else:
                    found.append(Probe("other name", form.replace(name, similar(name, rng))))
    known = set().union(*map(set, world.names.values()))
    found = [probe for probe in found if probe.kind == "other relation" or not any(n in probe.question for n in known)]
    rng.shuffle(found)
    return [p for kind in ("other relation", "other name") for p in [q for q in found if q.kind == kind][: most // 2]]


def requests(world: World, rng: random.Random, most: int) -> list[Probe]:
    """What people also say about names they taught: none of it was taught."""
    names = [name for kind in world.names.values() for name in kind]
    return [Probe("other request", rng.choice(REQUESTS).format(s=rng.choice(names))) for _ in range(most)]


def two_hops(world: World, rng: random.Random, most: int, which: str) -> list[Probe]:
    """Questions that join two facts; the second is asked in the words that were taught or in others."""
    by_name = {relation.name: relation for relation in RELATIONS}
    found = []
    for (subject, name), value in world.holds.items():
        first = by_name[name]
        for second in RELATIONS:
            if first.noun and (value, second.name) in world.holds and second.name != name:
                form = rng.choice(_forms(second, "{s}", rng.choice(("asked", which))))
                middle = (f"{subject}'s {first.noun}", f"the {first.noun} of {subject}")
                choice = middle[0] if "{s}'s" in form else rng.choice(middle)  # or it is two things
                found.append(Probe("two hops", form.format(s=choice), ((subject, name), (value, second.name))))
    return rng.sample(found, min(most, len(found)))


def _holding(world: World) -> Iterator[tuple[str, Relation]]:
    by_name = {relation.name: relation for relation in RELATIONS}
    return ((subject, by_name[name]) for subject, name in world.holds)


def _forms(relation: Relation, subject: str, which: str) -> list[str]:
    forms = {
        "asked": (relation.asked,), "dev": relation.others[:1], "test": relation.others[1:],
        "blind": WORDINGS[relation.name],
    }  # fmt: skip
    return [form.format(s=subject) for form in forms[which]]


def in_blind_sentences(world: World, seed: int) -> World:
    """The same world, each edit in a sentence by somebody who never saw the reader."""
    rng = random.Random(seed)
    edits = [replace(edit, form=rng.choice(STATEMENTS[edit.relation.name])) for edit in world.edits]
    return World(world.names, edits, world.holds)


def _edit(world: World, edit: Edit) -> None:
    world.edits.append(edit)
    world.holds[edit.subject, edit.relation.name] = edit.value


def _of(kind: str) -> list[Relation]:
    return [relation for relation in RELATIONS if relation.about == kind]


def _names(kind: str, count: int, rng: random.Random) -> list[str]:
    if kind == "work":
        made = [f"The {a} {b}" for a, b in product(TITLES[0].split(), TITLES[1].split())]
        return rng.sample(made, count)
    found: dict[str, None] = {}
    while len(found) < count:
        found[" ".join(_word(kind, rng) for _ in range(2 if kind == "person" else 1))] = None
    return list(found)


def _word(kind: str, rng: random.Random) -> str:
    return ("".join(rng.choice(SYLLABLES) for _ in range(rng.choice((2, 3)))) + rng.choice(ENDS[kind])).capitalize()


def similar(name: str, rng: random.Random) -> str:
    """A name that differs in its end."""
    words = name.split()
    words[-1] = f"{words[-1][:-2]}{rng.choice(('xa', 'qui', 'wys', 'tho'))}"
    return " ".join(words)


def _value(world: World, subject: str, relation: Relation, rng: random.Random) -> str:
    old = world.holds.get((subject, relation.name))
    while True:
        value = _draw(world, relation.value, rng)
        if value not in (old, subject):
            return value


def _draw(world: World, kind: str, rng: random.Random) -> str:
    if kind in world.names:
        return rng.choice(world.names[kind])
    if kind in VALUES:
        return rng.choice(VALUES[kind])
    return {
        "dates": lambda: f"{rng.randint(1, 28)} {rng.choice(_MONTHS.split())}",
        "phones": lambda: f"555-{rng.randint(1000, 9999)}",
        "numbers": lambda: f"{rng.randint(2, 900)},{rng.randint(100, 999)}",
        "years": lambda: str(rng.randint(1400, 2020)),
        "times": lambda: f"{rng.randint(6, 11)}:{rng.choice(('00', '15', '30', '45'))}",
        "prices": lambda: f"{rng.randint(3, 90)} euros",
    }[kind]()

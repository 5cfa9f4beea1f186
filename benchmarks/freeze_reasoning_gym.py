"""Freeze problems of reasoning-gym's logic families into tests/golden/reasoning_gym.json.

    python -m venv /tmp/gym && /tmp/gym/bin/pip install reasoning-gym==0.1.25
    /tmp/gym/bin/python benchmarks/freeze_reasoning_gym.py

It runs in an environment of its own, since the package pins a dozen others. Only the problems' own sentences are kept:
how the answer is to be formatted is left out, and the question is put in one of the forms that the grammar knows.
"""

from __future__ import annotations

import importlib
import itertools
import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

COUNT, SEED = 60, 11
TARGET = Path(__file__).resolve().parents[1] / "tests" / "golden" / "reasoning_gym.json"


def main() -> None:
    """Write the file."""
    gym = importlib.import_module("reasoning_gym")
    rows = []
    for family, convert in (("syllogism", syllogism), ("knights_knaves", knights), ("zebra_puzzles", zebra),
                            ("propositional_logic", propositional), ("mini_sudoku", sudoku)):  # fmt: skip
        data = gym.create_dataset(family, size=COUNT, seed=SEED)
        rows += [{"family": family, **convert(data[i])} for i in range(COUNT)]
    head = {"reasoning-gym": version("reasoning-gym"), "seed": SEED, "problems": rows}
    TARGET.write_text(json.dumps(head, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")


def syllogism(item: dict[str, Any]) -> dict[str, Any]:
    """Premises as sentences; yes if the conclusion follows."""
    meta = item["metadata"]
    premises = re.findall(r"^\d+\. (.*)$", item["question"], flags=re.MULTILINE)
    text = " ".join(f"{p.rstrip('.')}." for p in premises) + f" Does it logically follow that {meta['conclusion']}?"
    label = "yes" if item["answer"] == "Yes" else "not yes"
    sentences = [*premises, meta["conclusion"]]
    return {"text": text, "answer": follows(sentences, False), "label": label, "with_import": follows(sentences, True)}


def follows(sentences: list[str], existing: bool) -> str:
    """Whether the last sentence follows, by trying all 256 ways to inhabit the regions of three kinds.

    ``existing`` reads every kind as inhabited (existential import), which the package's labels seem to do at times.
    """
    parsed = [re.fullmatch(r"(All|No|Some) (\w+) are (not )?(\w+)\.?", s.strip()).groups() for s in sentences]
    kinds = sorted({p[1].lower() for p in parsed} | {p[3].lower() for p in parsed})
    regions = list(itertools.product((True, False), repeat=len(kinds)))
    for inhabited in itertools.product((True, False), repeat=len(regions)):
        world = [dict(zip(kinds, r, strict=True)) for r, here in zip(regions, inhabited, strict=True) if here]
        if existing and not all(any(member[k] for member in world) for k in kinds):
            continue
        *given, asked = [_holds(p, world) for p in parsed]
        if all(given) and not asked:
            return "not yes"
    return "yes"


def _holds(sentence: tuple[str, ...], world: list[dict[str, bool]]) -> bool:
    quantifier, subject, negated, predicate = sentence
    members = [m[predicate.lower()] != bool(negated) for m in world if m[subject.lower()]]
    return {"All": all(members), "No": not any(members), "Some": any(members)}[quantifier]


def knights(item: dict[str, Any]) -> dict[str, Any]:
    """Without the bracket that says how to format the answer."""
    return {
        "text": item["question"].split("(Format")[0].strip(),
        "answer": item["answer"].rstrip(".").replace(", and", ",").lower(),
    }


def zebra(item: dict[str, Any]) -> dict[str, Any]:
    """Without the sentence that says how to format the answer."""
    text = item["question"].split("? Provide only")[0].strip()
    return {"text": text if text.endswith("?") else text + "?", "answer": item["answer"].lower()}


def propositional(item: dict[str, Any]) -> dict[str, Any]:
    """The premises, and whether the dataset's example conclusion follows; the answer is by truth table."""
    meta = item["metadata"]
    asked = meta["example_answer"]
    letters = sorted(set(re.findall(r"[A-Z]", "".join([*meta["premises"], asked]))))
    rows = [dict(zip(letters, row, strict=True)) for row in itertools.product((True, False), repeat=len(letters))]
    fits = [truth(asked, row) for row in rows if all(truth(p, row) for p in meta["premises"])]
    answer = "contradiction" if not fits else "yes" if all(fits) else "unknown" if any(fits) else "no"
    return {"text": " ".join(f"{p}." for p in meta["premises"]) + f" Does {asked} follow?", "answer": answer}


def truth(formula: str, row: dict[str, bool]) -> bool:
    """The value of a formula, by turning its signs into Python's."""
    for letter, value in row.items():
        formula = re.sub(rf"\b{letter}\b", str(int(value)), formula)
    while "→" in formula or "↔" in formula or "∧" in formula or "∨" in formula or "¬" in formula:
        before = formula
        formula = re.sub(r"¬([01])", lambda m: str(1 - int(m[1])), formula)
        formula = re.sub(r"\(([01]) ([∧∨→↔]) ([01])\)", lambda m: str(_apply(m[2], int(m[1]), int(m[3]))), formula)
        formula = re.sub(r"^([01]) ([∧∨→↔]) ([01])$", lambda m: str(_apply(m[2], int(m[1]), int(m[3]))), formula)
        formula = re.sub(r"\(([01])\)", r"\1", formula)
        if formula == before:
            raise ValueError(f"cannot evaluate {formula}")
    return formula.strip("()") == "1"


def _apply(sign: str, a: int, b: int) -> int:
    return {"∧": a & b, "∨": a | b, "→": (1 - a) | b, "↔": int(a == b)}[sign]


def sudoku(item: dict[str, Any]) -> dict[str, Any]:
    """The grid; there is no text to parse, the problem goes in as formulas."""
    return {"text": "", "grid": item["metadata"]["puzzle"], "answer": item["metadata"]["solution"]}


if __name__ == "__main__":
    main()

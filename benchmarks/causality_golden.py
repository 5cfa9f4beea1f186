"""Freezes y0's verdicts for the tests: every question on the ADMGs of 3 nodes, and 2,000 on random ones of 4 to 6.

python benchmarks/causality_golden.py --peers peers/bin/python      writes tests/golden/causality_y0.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import causality_effects
from causality import Bench

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "causality_y0.json"
TREES = 25  # of every so many questions the formula is kept too


def row(number, question, answer):
    """[graph, outcomes, treatments, conditions, identifiable, formula or null]."""
    graph, y, x, z = question
    tree = answer["tree"]
    return [str(graph), y, x, z, tree is not None, tree if number % TREES == 0 else None]


def main() -> None:
    """Ask y0 and write the file."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--peers", metavar="PYTHON", required=True)
    asked = causality_effects.questions(2000)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.parse_args().peers, None, 1.0, True, Path(folder))
        answers = bench.peer("identification", {"questions": [causality_effects.as_json(q) for q in asked]})
        versions = bench.peer("versions", {})
    rows = [
        json.dumps(row(k, q, a), separators=(",", ":")) for k, (q, a) in enumerate(zip(asked, answers, strict=True))
    ]
    head = json.dumps({name: versions[name] for name in ("y0", "numpy")})
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text('{"versions": ' + head + ',\n"rows": [\n' + ",\n".join(rows) + "\n]}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

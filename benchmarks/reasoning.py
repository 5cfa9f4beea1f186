"""Reasoning, end to end: text in, answer and checked proof out, beside the solver used bare; one run, one table.

    python benchmarks/reasoning.py                    everything (about 6 minutes on one core)
    python benchmarks/reasoning.py --scale 0.1        a tenth of it
    python benchmarks/reasoning.py --only mutants     one part

Own problems come from seeded generators that share nothing with parser or solvers; reasoning-gym's come from a frozen
file. "Bare" is z3 (clingo for closed worlds, Fast Downward for plans) on the same formulas, without parser, proof and
checker. Writes benchmarks/results/reasoning.json.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import resource
import statistics
import time
from pathlib import Path
from typing import Any

from nexus.reasoning import asp, smt, strips
from nexus.reasoning import mutants as corrupt
from nexus.reasoning.answer import Answer
from nexus.reasoning.budget import Budget, OutOfBudget
from nexus.reasoning.checker import check
from nexus.reasoning.english.parser import parse
from nexus.reasoning.english.text import NotUnderstood
from nexus.reasoning.formulas import Compare, Fun, Num, Sym, Theory, conjunction, negation, number
from nexus.reasoning.planners import validate
from nexus.reasoning.problems import FAMILIES, generate, stray
from nexus.reasoning.reasoner import Reasoner

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "reasoning.json"
GYM = ROOT / "tests" / "golden" / "reasoning_gym.json"
SIZES = {
    "ontology": 600,
    "rulebase": 700,
    "zebra": 250,
    "blocksworld": 300,
    "mystery": 300,
    "islands": 350,
    "ages": 250,
    "shelf": 300,
    "sums": 250,
}
BARE_SAMPLE = 100  # problems of each family that the bare solver is given
FD_SAMPLE = 10  # plans that Fast Downward is timed on: its start alone takes a third of a second


def main() -> None:
    """Parse, measure, print, write; parts that were not asked for keep their last results."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--scale", type=float, default=1.0, help="share of the problems")
    options.add_argument("--seed", type=int, default=2026)
    options.add_argument("--only", default=",".join(PARTS), help="parts, parted by commas (default: %(default)s)")
    args = options.parse_args()
    result = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for part in args.only.split(","):
        result[part] = PARTS[part](Reasoner(), args.scale, args.seed)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def say(*text: object) -> None:
    """Print at once: parts take a while."""
    print(*text, flush=True)


def clock() -> float:
    """Seconds of CPU time, with that of processes it waited for: fair on a machine that others use too."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


# ---- families -------------------------------------------------------------------------------------------------------


def families(reasoner: Reasoner, scale: float, seed: int) -> list[dict[str, Any]]:
    """The table, and the headline figures."""
    header()
    rows = [own_family(reasoner, name, max(4, int(SIZES[name] * scale)), seed) for name in FAMILIES]
    rows += gym_families(reasoner, scale)
    summary(rows)
    return rows


def header() -> None:
    """The first line of the table."""
    heads = ("family", "n", "parsed", "right", "proved", "wrong proofs", "ms", "ms 95%", "bare right", "bare ms")
    say("".join(f"{head:>{26 if not i else 13}}" for i, head in enumerate(heads)))


def own_family(reasoner: Reasoner, name: str, count: int, seed: int) -> dict[str, Any]:
    """One row of the table."""
    row = new_row(name)
    for problem in generate(name, count, seed):
        answer = timed_ask(reasoner, problem.text, row)
        if answer is None:
            continue
        got = "plan" if answer.verdict == "plan" else answer.text.lower()
        count_answer(row, answer, got == problem.answer)
        if row["bare_of"] < (FD_SAMPLE if problem.answer == "plan" else BARE_SAMPLE):
            bare(row, problem.text, problem.answer)
    return finish(row)


def pool(reasoner: Reasoner, count: int, seed: int, families: list[str] | None = None) -> dict[str, list[Answer]]:
    """Proved answers of each kind of certificate, from problems of other seeds."""
    proved: dict[str, list[Answer]] = collections.defaultdict(list)
    for name in families or FAMILIES:
        for problem in generate(name, count, seed + 1):
            answer = reasoner.ask(problem.text)
            if answer.proved:
                proved[answer.certificate["kind"]].append(answer)
    return proved


def new_row(name: str) -> dict[str, Any]:
    """An empty row."""
    counts = dict.fromkeys(("problems", "understood", "right", "proved", "wrong_proved", "bare_right", "bare_of"), 0)
    return {"family": name, **counts, "times": [], "bare_times": []}


def timed_ask(reasoner: Reasoner, text: str, row: dict[str, Any]) -> Answer | None:
    """Ask, and note the time; None if the text was not understood."""
    row["problems"] += 1
    start = clock()
    try:
        answer = reasoner.ask(text)
    except NotUnderstood:
        return None
    row["times"].append(clock() - start)
    row["understood"] += 1
    return answer


def count_answer(row: dict[str, Any], answer: Answer, right: bool) -> None:
    """Enter one answer."""
    row["right"] += right
    row["proved"] += answer.proved
    row["wrong_proved"] += answer.proved and not right


def finish(row: dict[str, Any]) -> dict[str, Any]:
    """Times as milliseconds."""
    for key, into in (("times", "ms"), ("bare_times", "bare_ms")):
        times = sorted(row.pop(key))
        row[into] = round(1e3 * statistics.median(times), 2) if times else None
        if key == "times" and times:
            row["ms_95"] = round(1e3 * times[int(0.95 * (len(times) - 1))], 2)
    understood = max(row["understood"], 1)
    shares = (row["understood"] / row["problems"], row["right"] / understood, row["proved"] / understood)
    cells = [row["family"], row["problems"], *(f"{share:.3f}" for share in shares), row["wrong_proved"], row["ms"]]
    cells += [
        row.get("ms_95"),
        f"{row['bare_right']}/{row['bare_of']}" if row["bare_of"] else "-",
        row["bare_ms"] or "-",
    ]
    say("".join(f"{cell!s:>{26 if not i else 13}}" for i, cell in enumerate(cells)))
    return row


def bare(row: dict[str, Any], text: str, wanted: str) -> None:
    """The solver alone on the formulas: no parser, no proof, no check."""
    reading = parse(text)
    query, theory = reading.queries[0], reading.theory
    start = clock()
    if query.kind == "plan":
        got = fast_downward(reading.planning)
    elif theory.closed:
        (model,) = asp.answer_sets(theory, Budget(30))
        positive = query.formula if not hasattr(query.formula, "body") else query.formula.body
        got = "yes" if (positive in model) == (positive is query.formula) else "no"
    elif query.kind == "decide":
        got = decide(theory, query.formula)
    elif query.kind == "value":
        world = smt.decide(theory, Compare("<", number(0), number(0)), Budget(30))[1]
        values = {str(_term(q)): v for q, v in world["values"]}
        got = str(_evaluate(query.term, values))
        got = got if decide(theory, Compare("=", query.term, number(got))) == "yes" else "unknown"
    else:
        sure = [said for said, f in query.candidates.items() if smt.decide(theory, f, Budget(30))[0] == "entailed"]
        got = " and ".join(sure).lower() or "unknown"
    row["bare_times"].append(clock() - start)
    row["bare_of"] += 1
    row["bare_right"] += got == wanted


def fast_downward(problem: Any) -> str:
    """Whether Fast Downward finds a plan; running out of wall time counts against it and is no fault of the run."""
    try:
        return "no plan" if strips.fast_downward(problem, Budget(120)) is None else "plan"
    except OutOfBudget:
        return "gave up"


def decide(theory: Theory, formula: Any) -> str:
    """By z3 alone."""
    if smt.decide(theory, formula, Budget(30))[0] == "entailed":
        return "yes"
    return "no" if smt.decide(theory, negation(formula), Budget(30))[0] == "entailed" else "unknown"


def _term(data: Any) -> Any:
    from nexus.reasoning.formulas import from_data

    return from_data(data)


def _evaluate(term: Any, values: dict[str, str]) -> Any:
    from fractions import Fraction

    match term:
        case Num(value):
            return value
        case Fun("+", args):
            return sum(_evaluate(a, values) for a in args)
        case Fun("-", (a, b)):
            return _evaluate(a, values) - _evaluate(b, values)
        case Fun("*", (a, b)):
            return _evaluate(a, values) * _evaluate(b, values)
    return Fraction(values.get(str(term), "0"))


def gym_families(reasoner: Reasoner, scale: float) -> list[dict[str, Any]]:
    """reasoning-gym's problems; sudoku goes in as formulas."""
    rows: dict[str, dict[str, Any]] = {}
    problems = json.loads(GYM.read_text(encoding="utf-8"))["problems"]
    for number_, item in enumerate(problems):
        row = rows.setdefault(item["family"], new_row("gym: " + item["family"]))
        if scale < 1 and number_ % 60 >= max(4, int(60 * scale)):
            continue
        if item["family"] == "mini_sudoku":
            theory, goal = sudoku(item["grid"], item["answer"])
            row["problems"] += 1
            row["understood"] += 1
            answer: Answer | None = reasoner.prove(theory, goal)
            row["times"].append(answer.seconds)
            right = answer.verdict == "yes"
        else:
            answer = timed_ask(reasoner, item["text"], row)
            if answer is None:
                continue
            right = agrees(item, answer)
        count_answer(row, answer, right)
        if "label" in item:
            row["label_right"] = row.get("label_right", 0) + ((answer.verdict == "yes") == (item["label"] == "yes"))
    return [finish(row) for row in rows.values()]


def agrees(item: dict[str, Any], answer: Answer) -> bool:
    """Whether the answer is the right one, each family in its own form."""
    if item["family"] == "knights_knaves":
        parts = [
            {p.strip().replace(" an ", " a ") for p in t.split(",")} for t in (item["answer"], answer.text.lower())
        ]
        return parts[0] == parts[1]
    if item["family"] == "syllogism":
        return (answer.verdict == "yes") == (item["answer"] == "yes")
    return item["answer"] in (answer.verdict, answer.text.lower())


def sudoku(grid: list[list[int]], solution: list[list[int]]) -> tuple[Theory, Any]:
    """A 4 x 4 sudoku as a theory, and its solution as the claim."""
    cell = {(r, c): Fun("cell", (Sym(f"r{r}"), Sym(f"c{c}"))) for r in range(4) for c in range(4)}
    units = [[(r, c) for c in range(4)] for r in range(4)] + [[(r, c) for r in range(4)] for c in range(4)]
    units += [[(r + i, c + j) for i in (0, 1) for j in (0, 1)] for r in (0, 2) for c in (0, 2)]
    pairs = {(a, b) for unit in units for a in unit for b in unit if a < b}
    axioms = [Compare("!=", cell[a], cell[b]) for a, b in sorted(pairs)]
    axioms += [Compare("=", cell[r, c], number(grid[r][c])) for r, c in cell if grid[r][c]]
    goal = conjunction(Compare("=", cell[r, c], number(solution[r][c])) for r, c in cell)
    return Theory(tuple(axioms), ranges=dict.fromkeys(cell.values(), (1, 4))), goal


# ---- the other claims -----------------------------------------------------------------------------------------------


def depth_curve(reasoner: Reasoner, scale: float, seed: int) -> dict[str, list[float]]:
    """Share of right and proved answers by depth, 1 to 8."""
    curve, count = {}, max(3, int(40 * scale))
    for name in ("ontology", "rulebase", "ages", "sums"):
        shares = []
        for depth in range(1, 9):
            right = 0
            for number_ in range(count):
                problem = FAMILIES[name](random.Random(f"depth {name} {seed} {depth} {number_}"), depth)
                answer = reasoner.ask(problem.text)
                right += answer.proved and answer.text.lower() == problem.answer
            shares.append(right / count)
        curve[name] = shares
        say(f"depth 1 to 8, {name}: {' '.join(f'{s:.3f}' for s in shares)}  (target: flat)")
    return curve


def strays(reasoner: Reasoner, scale: float, seed: int) -> dict[str, int]:
    """Texts outside of the grammar: refused, or (wrongly) proved."""
    count = max(20, int(2_000 * scale))
    said: collections.Counter[str] = collections.Counter()
    for number_ in range(count):
        problem = stray(random.Random(f"stray {seed} {number_}"))
        try:
            answer = reasoner.ask(problem.text)
        except NotUnderstood:
            said["refused"] += 1
        else:
            said[answer.status] += 1
            say("  not refused:", problem.text)
    say(f"outside of the grammar: {dict(said)} of {count}; wrong proofs {said['proved']} (target 0)")
    return dict(said)


def plans(reasoner: Reasoner, scale: float, seed: int) -> dict[str, int]:
    """Plans by moving blocks about, and by unified-planning's validator."""
    answers = pool(reasoner, max(3, int(250 * scale)), seed, ["blocksworld", "mystery"])["plan"]
    sample = max(5, int(120 * scale))
    blocks = [a for a in answers if any(x.name.startswith("pick up") for x in a.given.actions)]
    moved = sum(corrupt.moves_work(a.given, a.certificate["plan"]) for a in blocks)
    validated = [
        validate(a.given, a.certificate["plan"]) for a in random.Random(0).sample(answers, min(sample, len(answers)))
    ]
    say(
        f"plans: {moved} of {len(blocks)} work with blocks; "
        f"validator accepts {sum(validated)} of {len(validated)} (target: all)"
    )
    return {"blocks": len(blocks), "work": moved, "validated": sum(validated), "of": len(validated)}


def opinions(reasoner: Reasoner, scale: float, seed: int) -> dict[str, int]:
    """Proved claims put to z3 and to cvc5."""
    proved = pool(reasoner, max(2, int(50 * scale)), seed, [f for f in FAMILIES if f not in ("blocksworld", "mystery")])
    sample = [a for kind in ("steps", "drup", "farkas") for a in proved[kind]]
    agree: collections.Counter[str] = collections.Counter()
    for answer in sample:
        agree["z3"] += smt.decide(answer.given, answer.claim.formula, Budget(30))[0] == "entailed"
        agree["cvc5"] += smt.second_opinion(answer.given, answer.claim.formula, Budget(30)) == "entailed"
    say(
        f"second opinions on {len(sample)} proved claims: z3 agrees {agree['z3']}, "
        f"cvc5 agrees {agree['cvc5']} (target: all)"
    )
    return {"of": len(sample), **agree}


def mutants(reasoner: Reasoner, scale: float, seed: int) -> dict[str, Any]:
    """Corrupted certificates of all kinds, in equal parts."""
    proved, count = pool(reasoner, max(4, int(40 * scale)), seed), max(100, int(10_000 * scale))
    rng = random.Random(seed)
    accepted, made = [], collections.Counter()
    kinds = sorted(k for k in proved if proved[k])
    total = 0
    while total < count:
        answer = rng.choice(proved[kinds[total % len(kinds)]])
        for how, given, claim, certificate in corrupt.mutants(answer, rng, 1):
            made[how] += 1
            total += 1
            if check(given, claim, certificate)[0]:
                accepted.append((how, answer.question, str(claim)))
    for how, number_ in sorted(made.items()):
        say(f"  {how}: {number_}")
    for entry in accepted[:10]:
        say("  accepted:", entry)
    say(f"mutated certificates: {total}, accepted {len(accepted)} (target 0 of 10,000)")
    return {"made": dict(made), "total": total, "accepted": len(accepted)}


# ---- printing -------------------------------------------------------------------------------------------------------


def summary(rows: list[dict[str, Any]]) -> None:
    """The headline figures beside their targets."""
    total = {k: sum(r[k] for r in rows) for k in ("problems", "understood", "right", "proved", "wrong_proved")}
    own = [r for r in rows if not r["family"].startswith("gym")]
    parsed = sum(r["understood"] for r in own) / sum(r["problems"] for r in own)
    say(
        f"problems {total['problems']} (target >= 3,000); "
        f"wrong answers labelled proved {total['wrong_proved']} (target 0)"
    )
    say(f"in-grammar text understood {parsed:.4f} (target >= 0.95)")
    shares = [total[key] / total["understood"] for key in ("right", "proved")]
    say(f"of what was understood: right {shares[0]:.4f}, proved {shares[1]:.4f}")
    labels = [r for r in rows if "label_right" in r]
    for r in labels:
        say(f"{r['family']}: the package's own labels agree in {r['label_right']} of {r['understood']} (see the page)")


PARTS = {
    "families": families,
    "depth": depth_curve,
    "stray": strays,
    "plans": plans,
    "opinions": opinions,
    "mutants": mutants,
}

if __name__ == "__main__":
    main()

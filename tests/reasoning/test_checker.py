"""The checker accepts what follows and nothing else; every kind of certificate, and every way to cheat that we know."""

import ast
import random
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nexus.reasoning import arithmetic, datalog, horn, sat, strips
from nexus.reasoning import mutants as corrupt
from nexus.reasoning.budget import Budget
from nexus.reasoning.checker import Claim, check
from nexus.reasoning.derivation import Derivation
from nexus.reasoning.formulas import (
    FALSE,
    Action,
    And,
    Atom,
    Compare,
    Exists,
    Forall,
    Fun,
    Iff,
    Implies,
    Not,
    Num,
    Or,
    Planning,
    Sym,
    Theory,
    Var,
    negation,
    number,
    to_data,
)
from nexus.reasoning.problems import generate
from nexus.reasoning.reasoner import Reasoner

ROOT = Path(__file__).resolve().parents[2]
P, Q, R = Atom("p"), Atom("q"), Atom("r")
X, TOM, ANN = Var("x"), Sym("tom"), Sym("ann")


def unary(name, who=X):
    return Atom(name, (who,))


CATS = Theory((Forall("x", Implies(unary("cat"), unary("animal"))), unary("cat", TOM)))


def test_it_is_short_and_imports_no_solver():
    """The checker itself, and everything of this room that it stands on."""
    folder = ROOT / "nexus" / "reasoning"
    assert len((folder / "checker.py").read_text(encoding="utf-8").splitlines()) <= 300
    seen, waiting = set(), ["checker"]
    while waiting:
        seen.add(stem := waiting.pop())
        tree = ast.parse((folder / f"{stem}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [a.name for a in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                if name.startswith("nexus."):
                    assert name.startswith("nexus.reasoning."), name
                    waiting += [part] if (part := name.split(".")[2]) not in seen else []
                else:
                    assert name.split(".")[0] in sys.stdlib_module_names, name
    assert seen == {"checker", "clauses", "formulas", "semantics"}


# ---- natural deduction ----------------------------------------------------------------------------------------------


def steps(build):
    d = Derivation()
    return d.certificate(build(d))


def test_every_rule_of_natural_deduction_is_accepted_where_it_holds():
    theory = Theory((P, Implies(P, Q), Or((Q, R)), Implies(R, Q), Iff(P, R), And((P, Q)), Not(Atom("s"))))
    proofs = {
        Q: lambda d: d.apply(d.axiom(1, theory.axioms[1]), [d.axiom(0, P)]),
        And((Q, P)): lambda d: d.add("and", And((Q, P)), [d.parts(d.axiom(5, theory.axioms[5]))[1], d.axiom(0, P)]),
        Or((R, P)): lambda d: d.add("or", Or((R, P)), [d.axiom(0, P)], to_data(Or((R, P)))),
        R: lambda d: d.apply(d.add("iff", Implies(P, R), [d.axiom(4, theory.axioms[4])], "forth"), [d.axiom(0, P)]),
        Implies(R, P): lambda d: d.add("suppose", Implies(R, P), [d.axiom(0, P)], to_data(R)),
    }
    for goal, build in proofs.items():
        assert check(theory, Claim("entails", goal), steps(build)) == (True, "checked"), goal


def test_cases_discharge_each_part_only_in_its_own_case():
    theory = Theory((Or((P, R)), Implies(P, Q), Implies(R, Q)))

    def build(d, second):
        p, r = d.assume(P), d.assume(R)
        first = d.apply(d.axiom(1, theory.axioms[1]), [p])
        other = d.apply(d.axiom(2, theory.axioms[2]), [r]) if second else first
        return d.add("cases", Q, [d.axiom(0, theory.axioms[0]), first, other])

    assert check(theory, Claim("entails", Q), steps(lambda d: build(d, True)))[0]
    assert not check(theory, Claim("entails", Q), steps(lambda d: build(d, False)))[0]


def test_an_open_assumption_proves_nothing():
    accepted, reason = check(Theory((Q,)), Claim("entails", P), steps(lambda d: d.assume(P)))
    assert not accepted
    assert "assumption" in reason


def test_a_name_that_is_mentioned_is_not_arbitrary():
    goal = Forall("x", unary("cat"))

    def build(d, name):
        return d.add("all", goal, [d.axiom(1, CATS.axioms[1])], [name, to_data(goal)])

    assert not check(CATS, Claim("entails", goal), steps(lambda d: build(d, "tom")))[0]
    assert not check(CATS, Claim("entails", goal), steps(lambda d: build(d, "ann")))[0]


def test_an_assumption_about_a_name_is_not_generalised():
    theory, goal = Theory((P,)), Forall("x", Implies(P, unary("cat")))

    def build(d):
        step = d.add("suppose", Implies(P, unary("cat", ANN)), [d.assume(unary("cat", ANN))], to_data(P))
        return d.add("all", goal, [step], ["ann", to_data(goal)])

    assert not check(theory, Claim("entails", goal), steps(build))[0]


@pytest.mark.parametrize(
    "goal",
    [unary("animal", TOM), Forall("x", Implies(unary("cat"), unary("animal"))), Exists("x", unary("animal"))],
    ids=str,
)
def test_horn_proofs_are_accepted_for_their_claim_only(goal):
    certificate = horn.prove(CATS, goal, Budget())
    assert check(CATS, Claim("entails", goal), certificate)[0]
    for other in (negation(goal), unary("animal", ANN), FALSE, Forall("x", unary("animal"))):
        assert not check(CATS, Claim("entails", other), certificate)[0]


# ---- clauses --------------------------------------------------------------------------------------------------------

LITERALS = st.sampled_from([n for n in range(-5, 6) if n])
BUSY = [HealthCheck.too_slow]  # a busy machine is no fault of the test
CLAUSES = st.lists(st.lists(LITERALS, min_size=1, max_size=3), min_size=1, max_size=14)


def propositional(clauses):
    return Theory(tuple(Or(tuple(Atom(f"x{n}") if n > 0 else Not(Atom(f"x{-n}")) for n in c)) for c in clauses))


def satisfiable(clauses):
    """By trying all assignments."""
    for row in range(2**5):
        if all(any((row >> (abs(n) - 1)) & 1 == (n > 0) for n in clause) for clause in clauses):
            return True
    return False


@given(CLAUSES, st.lists(st.lists(LITERALS, max_size=3), max_size=6))
@settings(max_examples=150, suppress_health_check=BUSY)
def test_drup_is_accepted_exactly_for_what_is_unsatisfiable(clauses, lemmas):
    theory = propositional(clauses)
    entailed, found = sat.solve(theory, FALSE, Budget())
    assert entailed == (not satisfiable(clauses))
    if entailed:
        assert check(theory, Claim("entails", FALSE), found) == (True, "checked")
    else:
        made_up = {"kind": "drup", "lemmas": lemmas}
        assert not check(theory, Claim("entails", FALSE), made_up)[0]


def test_an_unnamed_thing_may_be_one_that_has_a_name():
    """ "Some cat exists" does not say that it is another than Tom."""
    theory = Theory((Exists("x", unary("cat")), unary("dog", TOM)))
    goal = Exists("x", And((unary("cat"), Compare("!=", X, TOM))))
    assert not check(theory, Claim("entails", goal), {"kind": "drup", "lemmas": []})[0]
    own = Theory((Exists("x", unary("cat")), Not(unary("cat", Sym("_0")))))
    assert not check(own, Claim("entails", FALSE), {"kind": "drup", "lemmas": []})[0]


def test_what_exists_for_each_thing_is_not_a_single_thing():
    theory = Theory((Forall("x", Exists("y", Atom("likes", (X, Var("y"))))),))
    goal = Exists("y", Forall("x", Atom("likes", (X, Var("y")))))
    accepted, reason = check(theory, Claim("entails", goal), {"kind": "drup", "lemmas": []})
    assert not accepted
    assert "functions" in reason


def test_values_of_a_range():
    a, b = Fun("place", (Sym("a"),)), Fun("place", (Sym("b"),))
    theory = Theory((Compare("<", a, b),), ranges={a: (1, 2), b: (1, 2)})
    entailed, certificate = sat.solve(theory, Compare("=", b, number(2)), Budget())
    assert entailed
    assert check(theory, Claim("entails", Compare("=", b, number(2))), certificate)[0]
    wider = Theory(theory.axioms, ranges={a: (1, 2), b: (1, 3)})
    assert not check(wider, Claim("entails", Compare("=", b, number(2))), certificate)[0]


# ---- arithmetic -----------------------------------------------------------------------------------------------------

H = [Fun("h", (Sym(n),)) for n in "abc"]


def test_farkas_sums():
    theory = Theory((Compare(">", H[0], H[1]), Compare(">=", H[1], H[2]), Compare("=", H[2], number("7/2"))))
    goal = Compare(">", H[0], number(3))
    certificate = arithmetic.farkas(theory, goal, Budget())
    assert check(theory, Claim("entails", goal), certificate) == (True, "checked")
    for other in (Compare(">", H[0], number(4)), Compare("<", H[0], number(3)), Compare("=", H[0], number("7/2"))):
        assert arithmetic.farkas(theory, other, Budget()) is None
        assert not check(theory, Claim("entails", other), certificate)[0]


@pytest.mark.parametrize(
    "sum_",
    [
        [[-1, "1"], [0, "-1"]],
        [[-1, "1"], [0, "2"]],
        [[-1, "0"], [0, "0"]],
        [[-1, "1"]],
        [],
        [[-1, "1"], [5, "1"]],
        [[-1, "1"], [True, "1"]],
        [[-1, "1"], [0, "x"]],
    ],
)
def test_a_wrong_multiplier_is_refused(sum_):
    theory = Theory((Compare("<", H[0], H[1]), Compare("<", H[1], H[2])))
    goal = Compare(">=", H[1], H[0])
    assert not check(theory, Claim("entails", goal), {"kind": "farkas", "sums": [sum_]})[0]


def test_equality_needs_both_sides():
    theory = Theory((Compare("<=", H[0], number(3)),))
    goal = Compare("=", H[0], number(3))
    assert not check(theory, Claim("entails", goal), {"kind": "farkas", "sums": [[[-1, "1"], [0, "1"]]]})[0]


# ---- worlds, closed worlds, plans -----------------------------------------------------------------------------------


def world(true=(), values=(), things=("tom",)):
    return {"true": [to_data(a) for a in true], "values": [[to_data(q), v] for q, v in values], "things": list(things)}


def test_worlds_are_evaluated_whole():
    goal = unary("red", TOM)
    both = {"kind": "models", "for": world([unary("cat", TOM), unary("animal", TOM), goal]),
            "against": world([unary("cat", TOM), unary("animal", TOM)])}  # fmt: skip
    assert check(CATS, Claim("unknown", goal), both)[0]
    assert not check(CATS, Claim("entails", goal), both)[0]
    for broken in (world([unary("cat", TOM), goal]), world([goal, unary("animal", TOM)]), world(things=[])):
        assert not check(CATS, Claim("unknown", goal), {**both, "for": broken})[0]
    assert not check(CATS, Claim("unknown", goal), {**both, "against": both["for"]})[0]
    empty = {"kind": "models", "for": world(things=["ann"]), "against": world(things=["ann"])}
    assert not check(CATS, Claim("unknown", goal), empty)[0]  # a world without Tom


def test_values_of_a_world_stay_in_their_range():
    a = Fun("place", (Sym("a"),))
    theory, goal = Theory((), ranges={a: (1, 2)}), Compare("=", a, number(1))
    good = {"kind": "models", "for": world(values=[(a, "1")]), "against": world(values=[(a, "2")])}
    assert check(theory, Claim("unknown", goal), good)[0]
    for value in ("3", "3/2", "0"):
        assert not check(theory, Claim("unknown", goal), {**good, "against": world(values=[(a, value)])})[0]


RULES = Theory(
    (
        unary("bird", TOM),
        unary("bird", ANN),
        unary("ill", ANN),
        Forall("x", Implies(And((unary("bird"), Not(unary("ill")))), unary("flies"))),
    ),
    closed=True,
)


def test_closed_worlds():
    model, certificate = datalog.closed_world(RULES, P, Budget())
    assert unary("flies", TOM) in model
    assert unary("flies", ANN) not in model
    assert check(RULES, Claim("entails", unary("flies", TOM)), certificate)[0]
    assert check(RULES, Claim("entails", Not(unary("flies", ANN))), certificate)[0]
    assert not check(RULES, Claim("entails", unary("flies", ANN)), certificate)[0]
    open_world = Theory(RULES.axioms)
    assert not check(open_world, Claim("entails", Not(unary("flies", ANN))), certificate)[0]


def test_an_atom_does_not_support_itself():
    theory = Theory((Implies(P, Q), Implies(Q, P)), closed=True)
    model = [{"atom": to_data(P), "rule": 1, "with": {}}, {"atom": to_data(Q), "rule": 0, "with": {}}]
    circle = {"kind": "closed", "strata": {"p": 0, "q": 0}, "model": model}
    assert not check(theory, Claim("entails", P), circle)[0]
    assert check(theory, Claim("entails", Not(P)), {**circle, "model": []})[0]


@pytest.mark.parametrize("levels", [(0, 0), (1, 0), (float("inf"), float("inf")), (float("nan"), 0)])
def test_a_program_without_strata_has_no_closed_world(levels):
    theory = Theory((Implies(Not(Q), P), Implies(Not(P), Q)), closed=True)
    certificate = {"kind": "closed", "strata": {"p": levels[0], "q": levels[1]},
                   "model": [{"atom": to_data(P), "rule": 0, "with": {}}]}  # fmt: skip
    assert not check(theory, Claim("entails", P), certificate)[0]
    with pytest.raises(datalog.NotStratified, match="depends on its own negation"):
        datalog.closed_world(theory, P, Budget())


def test_plans_are_simulated():
    a, b, c = Atom("a"), Atom("b"), Atom("c")
    problem = Planning(
        frozenset({a}),
        frozenset({c}),
        (
            Action("one", frozenset({a}), frozenset({b}), frozenset({a})),
            Action("two", frozenset({b}), frozenset({c}), frozenset(), forbids=frozenset({a})),
        ),
    )
    assert strips.plan(problem, Budget()) == ["one", "two"]
    for plan, good in ((["one", "two"], True), (["two"], False), (["one"], False), (["one", "one", "two"], False),
                       (["one", "three"], False), ([], False), ("one", False)):  # fmt: skip
        assert check(problem, Claim("plan"), {"kind": "plan", "plan": plan})[0] == good
    assert strips.plan(Planning(problem.start, frozenset({c, a}), problem.actions), Budget()) is None


# ---- anything at all ------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "steps", "axiom", "1/0", "atom", "p"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["kind", "steps", "lemmas", "sums", "for", "against", "model", "strata", "by", "from", "with", "then"]), inner),
    max_leaves=12,
)  # fmt: skip


@given(st.sampled_from(["steps", "drup", "farkas", "models", "closed", "plan", "other"]), JSON, JSON, JSON)
@settings(max_examples=200, suppress_health_check=BUSY)
def test_no_data_whatever_proves_what_is_false_or_raises(kind, one, two, three):
    made = {"kind": kind, "steps": one, "lemmas": one, "sums": one, "for": one, "against": two, "model": one,
            "strata": two, "plan": three}  # fmt: skip
    for theory, claim in ((CATS, Claim("entails", unary("red", TOM))), (Theory((P,)), Claim("unknown", P)),
                          (RULES, Claim("entails", unary("flies", ANN))), (CATS, Claim("entails", FALSE))):  # fmt: skip
        assert check(theory, claim, made)[0] is False


@pytest.mark.parametrize(
    "theory",
    [
        Theory((Atom("cat", (Num(Fraction(1)),)),)),
        Theory((unary("cat"),)),
        Theory((Forall("x", unary("cat"), "nowhere"),)),
        Theory((Compare("<", TOM, ANN),)),
        Theory((Compare("=", TOM, number(1)),)),
        Theory((unary("cat", TOM), Atom("cat"))),
    ],
    ids=str,
)
def test_an_ill_typed_theory_proves_nothing(theory):
    assert not check(theory, Claim("entails", FALSE), {"kind": "drup", "lemmas": []})[0]
    assert not check(theory, Claim("entails", P), {"kind": "models", "for": world(), "against": world()})[0]


@pytest.mark.parametrize("family", ["ontology", "rulebase", "zebra", "blocksworld", "islands", "ages", "sums"])
def test_corrupted_certificates_are_refused(family):
    """A small part of benchmarks/reasoning.py, which makes ten thousand."""
    rng, reasoner, made = random.Random(family), Reasoner(), 0
    for problem in generate(family, 3, seed=7):
        answer = reasoner.ask(problem.text)
        assert answer.proved
        for how, theory, claim, certificate in corrupt.mutants(answer, rng, 25):
            made += 1
            assert not check(theory, claim, certificate)[0], how
    assert made >= 40

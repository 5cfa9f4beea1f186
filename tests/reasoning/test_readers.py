"""Prolog, DIMACS, SMT-LIB and PDDL: what is written is read back, and what is malformed is told by line and token."""

import pytest

from nexus.reasoning import asp, smt
from nexus.reasoning.budget import Budget
from nexus.reasoning.checker import Claim, check
from nexus.reasoning.dimacs import read_dimacs, write_dimacs
from nexus.reasoning.formulas import (
    And,
    Atom,
    Compare,
    Exists,
    Forall,
    Fun,
    Iff,
    Implies,
    Not,
    Or,
    Sym,
    Theory,
    Var,
    from_data,
    number,
    signature_faults,
    to_data,
)
from nexus.reasoning.pddl import read_pddl, write_pddl
from nexus.reasoning.prolog import read_prolog, write_prolog
from nexus.reasoning.reading import SyntaxFault
from nexus.reasoning.reasoner import Reasoner
from nexus.reasoning.smtlib import read_smtlib, write_smtlib

FAMILY = """
% who is whose ancestor
parent(ann, bob). parent(bob, carl).
ancestor(X, Y) :- parent(X, Y).
ancestor(X, Z) :- parent(X, Y), ancestor(Y, Z).
?- ancestor(ann, carl).
"""


def test_prolog_there_and_back():
    theory, queries = read_prolog(FAMILY)
    assert not theory.closed
    assert Reasoner().prove(theory, queries[0]).proved
    again, same = read_prolog(write_prolog(theory, queries))
    assert (again, same) == (theory, queries)


def test_negation_as_failure_closes_the_world_and_clingo_agrees():
    theory, queries = read_prolog("bird(tom). bird(ann). ill(ann). flies(X) :- bird(X), \\+ ill(X). ?- flies(ann).")
    assert theory.closed
    answer = Reasoner().prove(theory, queries[0])
    assert (answer.verdict, answer.status) == ("no", "proved")
    (model,) = asp.answer_sets(theory, Budget())
    assert Atom("flies", (Sym("tom"),)) in model
    assert queries[0] not in model


def test_clingo_gives_all_answer_sets():
    theory, _ = read_prolog("p :- not q. q :- not p.")
    assert sorted(map(str, (next(iter(s)) for s in asp.answer_sets(theory, Budget())))) == ["p", "q"]


def test_dimacs_there_and_back():
    text = "c a comment\np cnf 3 3\n1 -2 0\n2 3 0\n-1 0\n"
    theory = read_dimacs(text)
    assert [str(a) for a in theory.axioms] == ["x1 or not x2", "x2 or x3", "not x1"]
    assert write_dimacs([[1, -2], [2, 3], [-1]]) == "p cnf 3 3\n1 -2 0\n2 3 0\n-1 0\n"
    assert Reasoner().prove(theory, Atom("x3")).proved


X, CAT = Var("x"), Atom("cat", (Var("x"),))
FORMULAS = [
    Forall("x", Implies(CAT, Exists("y", Atom("likes", (X, Var("y")))))),
    Or((Atom("p"), Not(And((Atom("p"), Atom("q")))))),
    Iff(Atom("p"), Atom("q")),
    Compare("<=", Fun("+", (Fun("h"), number("1/2"))), Fun("*", (number(2), Fun("k")))),
    Compare("!=", Fun("h"), number(-3)),
]


def test_smtlib_there_and_back():
    theory = Theory(tuple(FORMULAS))
    again = read_smtlib(write_smtlib(theory))
    for formula, read in zip(theory.axioms, again.axioms, strict=True):
        assert smt.decide(Theory((formula,)), read, Budget())[0] == "entailed"
        assert smt.decide(Theory((read,)), formula, Budget())[0] == "entailed"


def test_smtlib_of_others():
    theory = read_smtlib(
        "(set-logic QF_LRA) ; two numbers\n(declare-const x Real)(declare-const y Real)\n"
        "(assert (and (< x y) (<= y (+ 1.5 (/ 1 2)))))(assert (distinct x y))(check-sat)"
    )
    assert smt.decide(theory, Compare("<", Fun("x"), number(2)), Budget())[0] == "entailed"
    assert smt.second_opinion(theory, Compare("<", Fun("x"), number(2)), Budget()) == "entailed"
    assert smt.second_opinion(theory, Compare("<", Fun("x"), number(1)), Budget()) == "open"


@pytest.mark.parametrize("formula", FORMULAS, ids=str)
def test_formulas_are_stored_and_restored(formula):
    assert from_data(to_data(formula)) == formula


@pytest.mark.parametrize(
    "data", [None, [], ["what"], ["and", 3], ["num", "1/0"], ["truth", "maybe"], ["not"], "atom", ["atom"]]
)
def test_data_that_is_no_formula_is_told(data):
    with pytest.raises(ValueError, match="not a stored formula"):
        from_data(data)


def test_types_are_checked():
    theory = Theory((Atom("cat", (Sym("tom"),)), Atom("cat"), Compare("<", Sym("tom"), number(3)), CAT))
    faults = "\n".join(signature_faults(theory))
    assert "cat is used with 1 and with 0 arguments" in faults
    assert "compares the size of an individual" in faults
    assert "variable X" in faults


LOGISTICS = """
(define (domain errands)
  (:requirements :strips :typing :negative-preconditions)
  (:types place thing)
  (:constants home - place)
  (:predicates (at ?p - place) (has ?t - thing) (sold ?t - thing ?p - place) (closed ?p - place))
  (:action go :parameters (?a ?b - place) :precondition (at ?a) :effect (and (at ?b) (not (at ?a))))
  (:action buy :parameters (?t - thing ?p - place)
    :precondition (and (at ?p) (sold ?t ?p) (not (closed ?p))) :effect (has ?t)))
"""
ERRAND = """
(define (problem milk) (:domain errands) (:objects shop kiosk - place milk - thing)
  (:init (at home) (sold milk shop) (sold milk kiosk) (closed shop))
  (:goal (and (has milk) (at home))))
"""


def test_pddl_is_read_planned_checked_and_written():
    problem = read_pddl(LOGISTICS, ERRAND)
    answer = Reasoner().plan(problem)
    assert answer.proved
    assert answer.certificate["plan"] == ["go home kiosk", "buy milk kiosk", "go kiosk home"]
    again = read_pddl(*write_pddl(problem))
    assert check(again, Claim("plan"), Reasoner().plan(again).certificate)[0]
    assert len(again.actions) == len(problem.actions)


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (read_prolog, "p :- q", r"line 1, column 7: the end stands where '\.' belongs. cure: end every clause"),
        (read_prolog, "p(X) :- q(X).\nP :- q.", "line 2, column 1: 'P' is no predicate. cure: begin predicates"),
        (read_prolog, "p(a, §).", "line 1, column 6: '§' is no sign that is known"),
        (read_dimacs, "p dnf 1 1", "line 1, column 1: 'p' stands where the header belongs"),
        (read_dimacs, "p cnf 1 1\n1 2 0", "line 2, column 3: '2' is above the 1 variables"),
        (read_dimacs, "p cnf 1 1\n1", "ends the text inside a clause"),
        (read_dimacs, "p cnf 1 2\n1 0", "ends clause 1 of 2"),
        (read_dimacs, "p cnf x 2\n1 0", "'x' is not a whole number"),
        (read_smtlib, "(assert (and p q)", "opens a list that is not closed"),
        (read_smtlib, "(assert p)", r"line 1, column 9: 'p' is not declared as Bool. cure: \(declare-const p Bool\)"),
        (read_smtlib, "(push 1)", "'push' is no command that is understood"),
        (read_smtlib, "p", "stands outside of a command"),
        (read_smtlib, "p)", "'\\)' closes no list"),
        (read_smtlib, "(declare-const x Real)(assert (< x (sin x)))", "'sin' is no quantity"),
    ],
)
def test_malformed_input_is_told_by_line_token_and_cure(read, text, message):
    with pytest.raises(SyntaxFault, match=message):
        read(text)


@pytest.mark.parametrize(
    ("domain", "problem", "message"),
    [
        (LOGISTICS.replace("(at ?a) :effect", "(att ?a) :effect"), ERRAND, "'att' is no predicate of the domain"),
        (LOGISTICS, ERRAND.replace("(at home) (sold", "(at nowhere) (sold"), "'nowhere' is no object"),
        (LOGISTICS.replace(":precondition (at ?a)", ":precondition (or (at ?a))"), ERRAND, "'or' is not understood"),
        (LOGISTICS, ERRAND.replace("(:goal", "(:aim"), "':aim' is not understood"),
        (LOGISTICS[:-3], ERRAND, "opens a list that is not closed"),
    ],
)
def test_malformed_pddl_is_told_by_line_token_and_cure(domain, problem, message):
    with pytest.raises(SyntaxFault, match=message):
        read_pddl(domain, problem)

"""Identification: the criteria by their textbook cases, ID and IDC by exact models and by y0's verdicts."""

import json
from pathlib import Path

import numpy as np
import pytest

from nexus.causality.graphs import ADMG
from nexus.causality.identification.criteria import back_door, front_door, instrument, is_back_door
from nexus.causality.identification.estimand import Joint, Probability, Product, Quotient, Sum, effect_on
from nexus.causality.identification.id_algorithm import Hedge, NotIdentifiable, identify_effect
from nexus.causality.identification.identify import identify, projected
from nexus.causality.separation import separated
from nexus.causality.simulate import DiscreteModel, random_admg

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "causality_y0.json").read_text(encoding="utf-8"))


def _error(graph, y, x, z, estimand, rng):
    """Largest difference between the formula and the truth in a random discrete model."""
    model = DiscreteModel.random(graph, rng)
    do, given = ({name: int(rng.integers(model.cards[name])) for name in names} for names in (x, z))
    got = effect_on(estimand, Joint(graph.names, model.distribution()), y, {**do, **given})
    return float(np.abs(got - model.effect(y, do, given)).max())


def test_verdicts_equal_y0s_and_formulas_are_right():
    """Every question on the ADMGs of 3 nodes and 2,000 on random ones of 4 to 6 (y0 0.2.11, see benchmarks)."""
    rng, worst, seen = np.random.default_rng(0), 0.0, 0
    assert len(GOLDEN["rows"]) == 5000
    for number, (text, y, x, z, identifiable, _) in enumerate(GOLDEN["rows"]):
        graph = ADMG.parse(text)
        if not identifiable:
            with pytest.raises(NotIdentifiable) as caught:
                identify_effect(graph, y, x, z)
            assert caught.value.hedge.holds_in(graph)
            continue
        estimand = identify_effect(graph, y, x, z)
        if number % 5 == 0:
            worst, seen = max(worst, _error(graph, y, x, z, estimand, rng)), seen + 1
    assert seen > 500
    assert worst < 1e-9


def _formula(tree):
    if "p" in tree:
        return Probability(tuple(tree["p"]), tuple(tree["given"]))
    if "sum" in tree:
        return Sum(tuple(tree["sum"]), _formula(tree["body"]))
    if "product" in tree:
        return Product(tuple(map(_formula, tree["product"])))
    return Quotient(_formula(tree["above"]), _formula(tree["below"]))


def test_formulas_have_the_same_value_as_y0s():
    rng, seen = np.random.default_rng(1), 0
    for text, y, x, z, _, tree in (row for row in GOLDEN["rows"] if row[5]):
        graph = ADMG.parse(text)
        model = DiscreteModel.random(graph, rng)
        joint, fixed = Joint(graph.names, model.distribution()), dict.fromkeys([*x, *z], 1)
        ours, theirs = (effect_on(e, joint, y, fixed) for e in (identify_effect(graph, y, x, z), _formula(tree)))
        np.testing.assert_allclose(ours, theirs, atol=1e-9)
        seen += 1
    assert seen > 50


def test_a_hedge_is_checked_and_a_false_one_refused():
    graph = ADMG.parse("x -> y, x <-> y")
    with pytest.raises(NotIdentifiable, match=r"hedge: unmeasured causes join \{x, y\}") as caught:
        identify_effect(graph, ["y"], ["x"])
    hedge = caught.value.hedge
    assert hedge.holds_in(graph)
    assert not hedge.holds_in(ADMG.parse("x -> y"))
    whole = frozenset("xy")
    assert not Hedge(whole, whole, frozenset("x"), frozenset("y")).holds_in(graph)


def test_textbook_formulas():
    assert str(identify_effect(ADMG.parse("z -> x, z -> y, x -> y"), ["y"], ["x"])) == "Σ_{z} P(z) P(y | x, z)"
    front = identify_effect(ADMG.parse("x -> m, m -> y, x <-> y"), ["y"], ["x"])
    assert str(front) == "Σ_{m} P(m | x) [Σ_{x} P(x) P(y | m, x)]"
    napkin = ADMG.parse("w -> r, r -> x, x -> y, w <-> x, w <-> y")
    assert identify(napkin, "x", "y").ways[-1] == "id"


@pytest.mark.parametrize(
    ("text", "adjust"),
    [
        ("z -> x, z -> y, x -> y", {"z"}),
        ("x -> y", set()),
        ("x -> c, y -> c, x -> y", set()),  # a collider stays out
        ("a -> m, b -> m, a -> x, b -> y, x -> y", set()),  # M-bias: nothing must be adjusted for
        ("x -> m, m -> y", set()),  # a mediator stays out
        ("z -> w, w -> x, z -> y, x -> y", {"z"}),  # the cause of the outcome is preferred
        ("x -> y, x <-> y", None),
    ],
)
def test_back_door_sets(text, adjust):
    assert back_door(ADMG.parse(text), "x", "y") == (None if adjust is None else frozenset(adjust))


def test_a_back_door_set_is_found_whenever_one_exists():
    from itertools import combinations

    for seed in range(60):
        graph = random_admg(5, 0.4, 0.25, np.random.default_rng(seed))
        x, y, *rest = graph.names
        if graph.directed[graph.index[y]].any():
            continue
        some = any(is_back_door(graph, x, y, s) for k in range(4) for s in combinations(rest, k))
        assert (back_door(graph, x, y) is not None) == some


def test_front_door_and_instruments():
    assert front_door(ADMG.parse("x -> m, m -> y, x <-> y"), "x", "y") == {"m"}
    assert front_door(ADMG.parse("x -> m, m -> y, x -> y, x <-> y"), "x", "y") is None
    assert front_door(ADMG.parse("x -> m, m -> y, x <-> m"), "x", "y") is None
    assert instrument(ADMG.parse("z -> x, x -> y, x <-> y"), "x", "y") == ("z", frozenset())
    assert instrument(ADMG.parse("z -> x, x -> y, x <-> y, w -> z, w -> y"), "x", "y") == ("z", frozenset("w"))
    assert instrument(ADMG.parse("z -> x, z -> y, x -> y, x <-> y"), "x", "y") is None


def test_unmeasured_variables_are_projected_out():
    graph = ADMG.parse("u -> x, u -> y, x -> m, m -> y")
    assert projected(graph, ["x", "y", "m"]) == ADMG.parse("x -> m, m -> y, x <-> y")
    assert projected(graph, ["x", "y", "u"]) == ADMG.parse("u -> x, u -> y, x -> y")
    found = identify(graph, "x", "y", observed=["x", "y", "m"])
    assert found.adjust is None
    assert found.mediators == {"m"}
    assert "front-door" in found.explain()


def test_a_projection_keeps_every_separation():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        graph = random_admg(6, 0.4, 0.15, rng)
        kept = sorted(rng.permutation(graph.names)[:4].tolist())
        small = projected(graph, kept)
        a, b, c, d = kept
        for given in ([], [c], [c, d]):
            assert separated(small, [a], [b], given) == separated(graph, [a], [b], given)


def test_faulty_questions_are_refused():
    graph = ADMG.parse("x -> y")
    with pytest.raises(ValueError, match="disjoint"):
        identify_effect(graph, ["y"], ["y"])
    with pytest.raises(ValueError, match="no variable 'q'"):
        identify_effect(graph, ["q"], ["x"])
    with pytest.raises(ValueError, match="two variables"):
        identify(graph, "x", "x")

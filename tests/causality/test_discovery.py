"""Discovery: each method by what it must find, with perfect tests or on data whose truth is known."""

import itertools

import numpy as np
import pytest
import torch

from nexus.causality.discovery.baselines import baseline_graphs, r_squared, sortability
from nexus.causality.discovery.choice import choose, linearity
from nexus.causality.discovery.discover import METHODS, Settings, discover
from nexus.causality.discovery.fci import ARROW, NONE, PAG, TAIL, fci
from nexus.causality.discovery.independence import FisherZ, GSquared
from nexus.causality.discovery.lingam import direct_lingam
from nexus.causality.discovery.log_det import (
    _slope,
    fit_log_det,
    log_det_acyclicity,
    project_to_dag,
    strongest_dag,
)
from nexus.causality.discovery.order_search import boss
from nexus.causality.discovery.pc import pc
from nexus.causality.discovery.scores import DiscreteScore, GaussianScore
from nexus.causality.equivalence import cpdag_of, shd
from nexus.causality.graphs import DAG, find_cycle
from nexus.causality.knowledge import Knowledge
from nexus.causality.separation import separated
from nexus.causality.simulate import curved_data, linear_data, random_admg, random_dag
from nexus.causality.table import Table, standardise


def _free(d):
    allowed = ~np.eye(d, dtype=bool)
    return allowed, np.zeros_like(allowed)


class Oracle:
    """Perfect tests: what the graph says."""

    def __init__(self, graph):
        self.graph = graph

    def p_value(self, i, j, given):
        n = self.graph.names
        return float(separated(self.graph, [n[i]], [n[j]], [n[k] for k in given]))


def test_pc_with_perfect_tests_finds_the_class():
    for seed in range(12):
        graph = random_dag(6, 8, np.random.default_rng(seed))
        assert (pc(Oracle(graph), *_free(6), most=6) == cpdag_of(graph).matrix).all()


def test_fci_with_perfect_tests_says_nothing_false():
    arrows = tails = 0
    for seed in range(30):
        graph = random_admg(5, 0.4, 0.25, np.random.default_rng(seed))
        found = fci(Oracle(graph), graph.names, *_free(5), most=5)
        for i, j in itertools.permutations(range(5), 2):
            a, b = graph.names[i], graph.names[j]
            if found.marks[i, j] == ARROW:  # b is no cause of a
                arrows += 1
                assert b not in graph.ancestors([a]), (str(graph), str(found))
            if found.marks[i, j] == TAIL:
                tails += 1
                assert b in graph.ancestors([a]), (str(graph), str(found))
    assert arrows > 50
    assert tails > 5


def test_fci_sees_that_two_instruments_meet_in_a_confounded_pair():
    graph = random_admg(1, 0, 0, np.random.default_rng(0)).parse("a -> x, b -> x, x -> y, y <-> z, c -> z")
    found = fci(Oracle(graph), graph.names, *_free(6), most=4)
    assert ("x", "y") in found.causes
    assert "y <-> z" in found.edges


def test_a_pag_needs_marks_at_both_ends():
    with pytest.raises(ValueError, match="one end"):
        PAG("ab", [[NONE, ARROW], [NONE, NONE]])


def _bic(values, node, parents, penalty):
    z = standardise(values)
    rest = z[:, node] - z[:, parents] @ np.linalg.lstsq(z[:, parents], z[:, node], rcond=None)[0]
    return len(z) * np.log((rest**2).mean()) + penalty * np.log(len(z)) * len(parents)


def test_the_swept_score_is_the_regressions_bic():
    rng = np.random.default_rng(0)
    values = linear_data(random_dag(6, 9, rng), 300, "gaussian", rng)
    score = GaussianScore(values, *_free(6), penalty=1.0)
    for node in range(6):
        before = 0b111111 & ~(1 << node)
        cost, parents = score.best(node, before)
        assert cost == pytest.approx(_bic(values, node, list(parents), 1.0), abs=1e-6)
        for one in parents:  # grow-shrink has stopped where no single removal helps
            assert cost <= _bic(values, node, [p for p in parents if p != one], 1.0) + 1e-6


def test_equivalent_orders_cost_the_same():
    rng = np.random.default_rng(1)
    values = linear_data(random_dag(2, 1, rng), 200, "gaussian", rng)
    score = GaussianScore(values, *_free(2))
    one = score.best(0, 0)[0] + score.best(1, 1)[0]
    assert one == pytest.approx(score.best(1, 0)[0] + score.best(0, 2)[0], abs=1e-6)


def test_order_search_beats_pc_and_the_empty_graph_on_gaussian_data():
    ours = theirs = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        graph = random_dag(10, 20, rng)
        values = standardise(linear_data(graph, 1000, "gaussian", rng))
        ours += shd(cpdag_of(DAG(graph.names, boss(GaussianScore(values, *_free(10))))), cpdag_of(graph))
        theirs += shd(pc(FisherZ(values), *_free(10)), cpdag_of(graph))
    assert ours <= 0.5 * theirs
    assert ours < 20


@pytest.mark.parametrize("noise", ["exponential", "uniform"])
def test_lingam_finds_the_dag(noise):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        graph = random_dag(10, 20, rng)
        found = direct_lingam(linear_data(graph, 2000, noise, rng), *_free(10))
        assert shd(found, graph) <= 1


def test_additive_noise_is_found_where_mechanisms_are_curved():
    rng = np.random.default_rng(0)
    graph = random_dag(6, 8, rng)
    found = discover(curved_data(graph, 1000, "gaussian", rng))
    assert found.method == "additive"
    assert shd(found.graph, graph) <= 1


def test_the_discrete_score_finds_a_collider():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2, (2, 2000))
    c = np.where(rng.random(2000) < 0.9, a ^ b | (a & b), rng.integers(0, 2, 2000))
    values = np.column_stack([a, b, c]).astype(float)
    found = boss(DiscreteScore(values, *_free(3)))
    assert (found == DAG.parse("x0 -> x2, x1 -> x2", names=["x0", "x1", "x2"]).directed).all()
    assert discover(values).method == "discrete"


def test_g_squared_is_calibrated_and_sees_dependence():
    rng = np.random.default_rng(0)
    p_values = [GSquared(rng.integers(0, 3, (300, 3)).astype(float)).p_value(0, 1, [2]) for _ in range(200)]
    assert 0.02 < np.mean(np.array(p_values) < 0.05) < 0.10
    x = rng.integers(0, 3, 300)
    assert GSquared(np.column_stack([x, (x + (rng.random(300) < 0.3)) % 3]).astype(float)).p_value(0, 1, []) < 1e-6


# ---- the differentiable one -----------------------------------------------------------------------------------------


def test_the_log_determinant_is_zero_for_dags_only_and_has_the_right_gradient():
    dag = torch.triu(torch.randn(5, 5, dtype=torch.float64), 1)
    assert float(log_det_acyclicity(dag)) == pytest.approx(0.0, abs=1e-12)
    cyclic = (0.3 * torch.randn(5, 5, dtype=torch.float64)).requires_grad_()
    assert float(log_det_acyclicity(cyclic.detach())) > 1e-6
    assert torch.autograd.gradcheck(log_det_acyclicity, cyclic)
    assert float(log_det_acyclicity(2 * torch.ones(2, 2, dtype=torch.float64))) == float("inf")


def test_the_projection_is_always_a_dag_and_keeps_what_can_be_kept():
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert not find_cycle(project_to_dag(rng.normal(size=(6, 6))))
    weights = np.array([[0, 2.0, 0], [0.5, 0, 0.3], [0, 0, 0]])
    assert project_to_dag(weights, 0.1).tolist() == [[False, True, False], [False, False, True], [False] * 3]


def test_the_strongest_dag_drops_no_more_than_it_must():
    for seed in range(50):
        weights = torch.randn(6, 6, generator=torch.Generator().manual_seed(seed))
        kept = strongest_dag(weights, 0.05).numpy()
        assert not find_cycle(kept)
        strength = np.abs(weights.numpy()) * (1 - np.eye(6))
        assert find_cycle(strength >= strength[~kept].max())  # with the next edge there would be a cycle
    assert not strongest_dag(torch.zeros(3, 3)).any()


def test_the_written_out_gradient_is_the_traced_one():
    rng = np.random.default_rng(0)
    z = standardise(rng.normal(size=(100, 4)) @ rng.normal(size=(4, 4)))
    covariance = torch.from_numpy(z.T @ z / 100)
    weights = torch.from_numpy(0.3 * rng.normal(size=(4, 4))).requires_grad_()
    rest = torch.eye(4, dtype=torch.float64) - weights
    fit = 0.5 * torch.log((rest * (covariance @ rest)).sum(0)).sum()
    (0.1 * (fit + 0.03 * weights.abs().sum()) + 2.0 * log_det_acyclicity(weights)).backward()
    ours = _slope(weights.detach().numpy(), covariance.numpy(), 0.1, 2.0, 0.03)
    np.testing.assert_allclose(ours, weights.grad.numpy(), atol=1e-10)


def test_log_det_finds_a_chain_and_obeys_what_is_ruled_out():
    rng = np.random.default_rng(0)
    values = linear_data(DAG.parse("x0 -> x1, x1 -> x2, x2 -> x3"), 1000, "gaussian", rng)
    allowed = np.triu(_free(4)[0])
    weights = fit_log_det(values, allowed, steps=400)
    found = project_to_dag(weights, 0.15, allowed)
    assert (found == DAG.parse("x0 -> x1, x1 -> x2, x2 -> x3").directed).all()
    assert not weights[~allowed].any()


# ---- choice, knowledge, interventions, baselines --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "method"), [("gaussian", "boss"), ("exponential", "lingam"), ("uniform", "lingam"), ("curved", "additive")]
)
def test_the_method_follows_the_data(kind, method):
    hits = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        graph = random_dag(6, 8, rng)
        make = curved_data if kind == "curved" else linear_data
        values = make(graph, 800, "gaussian" if kind == "curved" else kind, rng)
        chosen = choose(Table(graph.names, values), *_free(6), hidden=False, interventions=False)
        hits += chosen.method == method
        assert chosen.reasons
    assert hits >= 4


def test_few_rows_hidden_causes_and_mixed_columns_have_reasons_of_their_own():
    rng = np.random.default_rng(0)
    few = Table(("a", "b"), rng.exponential(size=(50, 2)))
    assert choose(few, *_free(2), hidden=False, interventions=False).method == "boss"
    assert choose(few, *_free(2), hidden=True, interventions=False).method == "fci"
    mixed = Table(("a", "b"), np.column_stack([rng.integers(0, 2, 200), rng.exponential(size=200)]))
    assert "a are discrete" in choose(mixed, *_free(2), hidden=False, interventions=False).reasons[0]


def test_linearity_is_calibrated():
    rng = np.random.default_rng(0)
    graph = DAG.parse("x0 -> x1")
    p_values = [linearity(linear_data(graph, 200, "laplace", rng), graph.directed)[1] for _ in range(200)]
    assert np.mean(np.array(p_values) < 0.05) < 0.10


def test_knowledge_directs_what_data_leave_open():
    rng = np.random.default_rng(0)
    values = linear_data(DAG.parse("x0 -> x1, x1 -> x2"), 1000, "gaussian", rng)
    assert len(discover(values).undetermined) == 2
    tiers = discover(values, knowledge=Knowledge(tiers=[["x0"], ["x1", "x2"]]))
    assert tiers.identified == [("x0", "x1"), ("x1", "x2")]
    for method in ("boss", "pc"):
        forced = discover(values, Settings(method=method), Knowledge(required=[("x2", "x1")]))
        assert ("x2", "x1") in forced.identified
    assert ("x0", "x1") not in discover(values, knowledge=Knowledge(forbidden=[("x0", "x1"), ("x1", "x0")])).dag().edges


def test_interventions_direct_what_observation_leaves_open():
    rng = np.random.default_rng(0)
    seen = linear_data(DAG.parse("x0 -> x1"), 500, "gaussian", rng)
    acted = seen.copy()
    acted[:, 1] = rng.normal(size=500) * 3  # x1 set from outside: x0 does not answer
    targets = [()] * 500 + [("x1",)] * 500
    found = discover(np.concatenate([seen, acted]), interventions=targets)
    assert found.identified == [("x0", "x1")]
    with pytest.raises(ValueError, match="one for each row"):
        discover(seen, interventions=[()])
    with pytest.raises(ValueError, match="takes no interventions"):
        discover(seen, Settings(method="pc"), interventions=[()] * 500)


def test_the_scale_does_not_matter_and_variance_sorting_is_beside():
    rng = np.random.default_rng(0)
    graph = random_dag(8, 14, rng)
    raw = linear_data(graph, 1000, "gaussian", rng)
    assert sortability(raw.var(0), graph.directed) > 0.8  # the raw order leaks
    first, second = discover(raw), discover(raw * rng.uniform(0.1, 10, 8))
    assert first.graph == second.graph
    assert set(first.baselines) == {"found", "empty graph", "random order", "variance order", "R2 order"}
    assert first.baselines["empty graph"] == (0, 0.0)
    assert r_squared(raw).shape == (8,)
    assert not baseline_graphs(raw)["empty graph"].any()


def test_bootstrap_confidence_is_high_for_true_edges_only():
    rng = np.random.default_rng(0)
    values = linear_data(DAG.parse("x0 -> x1, x2"), 500, "exponential", rng)
    found = discover(values, bootstrap=10)
    assert found.confidence[("x0", "x1")] >= 0.9
    assert found.adjacency[("x0", "x1")] == 1.0
    assert found.adjacency.get(("x1", "x2"), 0.0) <= 0.2
    assert "x0 -> x1 (" in found.explain()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_and_explains_itself(method):
    rng = np.random.default_rng(0)
    values = np.digitize(rng.normal(size=(200, 3)), [0]).astype(float)
    if method != "discrete":
        values += rng.normal(size=(200, 3))
    found = discover(values, Settings(method=method, threshold=0.3))
    assert "identified" in found.explain()


@pytest.mark.parametrize(("change", "message"), [({"method": "ges"}, "boss"), ({"alpha": 2.0}, "between 0 and 1")])
def test_faulty_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Settings(**change)

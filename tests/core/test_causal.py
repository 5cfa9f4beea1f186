"""The engine: a DAG whatever the weights, no leak in time, do() down the graph, structure learnt, tables answered."""

import numpy as np
import pandas as pd
import pytest
import torch

from nexus.causality.graphs import CycleError, find_cycle
from nexus.core.causal import CausalConfig, CausalInferenceEngine


@pytest.fixture
def engine() -> CausalInferenceEngine:
    torch.manual_seed(0)
    return CausalInferenceEngine(CausalConfig.tiny())


@pytest.fixture
def hidden() -> torch.Tensor:
    return torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(1))


def test_the_structure_is_a_dag_whatever_the_weights(engine):
    for seed in range(30):
        with torch.no_grad():
            engine.weights.copy_(torch.randn(4, 4, generator=torch.Generator().manual_seed(seed)))
        assert not find_cycle(engine.adjacency().numpy())
        assert engine.structure().edges


def test_the_projection_follows_the_weights(engine):
    with torch.no_grad():
        engine.weights.zero_()
        assert not engine.adjacency().any()
        engine.weights[1, 2] = 1.0
    assert engine.structure().edges == [("x1", "x2")]


def test_a_position_depends_on_its_own_input_alone(engine, hidden):
    changed = hidden.clone()
    changed[:, 4:] = torch.randn(2, 3, 16)
    torch.testing.assert_close(engine(changed)[:, :4], engine(hidden)[:, :4], atol=0, rtol=0)
    assert engine(hidden).shape == hidden.shape


def test_every_parameter_gets_a_gradient(engine, hidden):
    (engine(hidden).square().sum() + engine.loss(hidden)).backward()
    for name, parameter in engine.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_it_is_saved_and_loaded(engine, hidden, tmp_path):
    engine.set_graph("x0 -> x1, x2, x3")
    same = CausalInferenceEngine.load(engine.save(tmp_path))
    torch.testing.assert_close(same(hidden), engine(hidden))
    assert same.structure().edges == [("x0", "x1")]


def test_a_cycle_is_refused_and_named(engine):
    with pytest.raises(CycleError, match="Causal graph is not DAG: it has the cycle x0 -> x1 -> x0"):
        engine.set_graph(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))


def test_a_given_graph_is_the_structure_until_it_is_cleared(engine):
    learnt = engine.structure()
    engine.set_graph("x3 -> x2, x2 -> x1, x1 -> x0")
    assert set(engine.structure().edges) == {("x3", "x2"), ("x2", "x1"), ("x1", "x0")}
    engine.clear_graph()
    assert engine.structure() == learnt


def test_a_graph_in_another_order_of_names_keeps_its_meaning(engine):
    engine.set_graph("x3 -> x0, x1, x2")
    assert engine.structure().edges == [("x3", "x0")]


def test_an_intervention_runs_down_the_graph_and_not_up(engine, hidden):
    with torch.no_grad():
        engine.weights.zero_()
        engine.weights[0, 1], engine.weights[1, 2] = 0.5, -2.0
    values = engine.variables(hidden)
    after = engine.intervened(values, {1: 3.0})
    torch.testing.assert_close(after[..., [0, 3]], values[..., [0, 3]])
    torch.testing.assert_close(after[..., 1], torch.full_like(after[..., 1], 3.0))
    torch.testing.assert_close(after[..., 2], values[..., 2] - 2.0 * (3.0 - values[..., 1]))
    torch.testing.assert_close(engine.intervened(values, {}), values)
    assert not torch.equal(engine(hidden, do={1: 3.0}), engine(hidden))


def test_the_loss_learns_a_structure_from_hidden_states():
    torch.manual_seed(0)
    engine = CausalInferenceEngine(CausalConfig(d_model=3, n_variables=3, sparsity_weight=0.02))
    engine.read.weight.data.copy_(torch.eye(3))
    engine.read.bias.data.zero_()
    engine.norm = torch.nn.Identity()  # the variables are the data themselves
    engine.read.requires_grad_(False)
    a = torch.randn(2000)
    b = 1.5 * a + torch.randn(2000)
    hidden = torch.stack([a, b, torch.randn(2000)], -1)[None]
    optimiser = torch.optim.Adam([engine.weights], lr=0.02)
    for _ in range(300):
        optimiser.zero_grad()
        engine.loss(hidden).backward()
        optimiser.step()
    joined = {frozenset(edge) for edge in engine.structure().edges}
    assert joined == {frozenset(("x0", "x1"))}


def test_the_weights_scale_their_parts_of_the_loss(engine, hidden):
    base = engine.loss(hidden)
    engine.sparsity_weight += 1.0
    off = engine.weights * (1 - torch.eye(4))
    torch.testing.assert_close(engine.loss(hidden) - base, off.abs().sum(), atol=1e-4, rtol=1e-4)
    engine.sparsity_weight -= 1.0
    engine.dag_weight += 10.0
    assert engine.loss(hidden) > base


def test_half_precision_and_compilation_work(engine, hidden):
    compiled = torch.compile(engine, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(hidden), engine(hidden))
    assert engine.bfloat16()(hidden.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda e: e(torch.zeros(1, 2, 3)), r"give \(B, T, 16\)"),
        (lambda e: e(torch.zeros(1, 2, 16), do={9: 1.0}), "numbers from 0 to 3"),
        (lambda e: CausalInferenceEngine({"n_variables": 0}), "n_variables = 0 is not positive"),
        (lambda e: CausalInferenceEngine({"dag_wieght": 1}), "did you mean 'dag_weight'"),
    ],
)
def test_faulty_calls_are_refused(engine, act, message):
    with pytest.raises(ValueError, match=message):
        act(engine)


# ---- tables ---------------------------------------------------------------------------------------------------------


def test_tables_are_answered_from_pandas_and_numpy(engine):
    rng = np.random.default_rng(0)
    z = rng.exponential(size=500)
    t = z + rng.exponential(size=500)
    frame = pd.DataFrame({"z": z, "t": t, "y": 2 * t - z + rng.exponential(size=500)})
    found = engine.discover(frame)
    assert found.identified == [("z", "t"), ("z", "y"), ("t", "y")]
    assert engine.identify("t", "y").adjust == {"z"}
    assert engine.estimate("t", "y").value == pytest.approx(2.0, abs=0.2)
    assert engine.intervene({"t": 1.0}).column("y").mean() == pytest.approx(2.0, abs=0.3)
    assert engine.counterfactual(frame.iloc[:2], {"t": 0.0}).values.shape == (2, 3)
    assert all(r.passed for r in engine.refute("t", "y"))
    assert "back-door" in engine.explain()
    assert engine.discover(frame.to_numpy()).identified == [("x0", "x1"), ("x0", "x2"), ("x1", "x2")]


def test_a_table_may_come_with_its_graph(engine):
    rng = np.random.default_rng(0)
    t = rng.integers(0, 2, 200)
    data = {"t": t, "y": t + rng.normal(size=200)}
    assert engine.estimate("t", "y", data, "t -> y").value == pytest.approx(1.0, abs=0.4)
    assert engine.estimate("t", "y", {"t": t, "y": 5.0 * t + rng.normal(size=200)}).value > 4  # the graph stays


def test_log_det_discovery_uses_the_engines_weights(engine):
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    data = np.column_stack([x, x + rng.normal(size=300)])
    assert engine.discover(data, method="log_det").graph.edges
    engine.sparsity_weight = 5.0
    assert engine.discover(data, method="log_det").graph.edges == []

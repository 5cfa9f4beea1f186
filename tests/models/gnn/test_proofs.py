"""Each graph model equals its oracle, every planted mistake is caught, and each tiny model keeps the zoo's contract."""

from __future__ import annotations

import pytest
import torch

from nexus.catalog import rows
from nexus.core.base import ConfigError
from tests.models.gnn.proving import caught, largest_difference, proof_of

STEMS = [row.stem for row in rows(section=14)]
CLASSES = {row.stem: row.name for row in rows(section=14)}
PLANTED = [(stem, mutation) for stem in STEMS for mutation in proof_of(stem).MUTATIONS]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("stem", STEMS)
def test_it_equals_its_oracle(stem, seed):
    proof = proof_of(stem)
    assert proof.TOLERANCE == 1e-10
    assert largest_difference(proof, seed) <= proof.TOLERANCE


@pytest.mark.parametrize(("stem", "mutation"), PLANTED, ids=[f"{s}: {m.name}" for s, m in PLANTED])
def test_a_planted_mistake_is_caught(stem, mutation):
    assert caught(proof_of(stem), mutation, stem)


@pytest.mark.parametrize("stem", STEMS)
def test_every_parameter_of_the_tiny_model_gets_a_gradient(stem):
    module, inputs = proof_of(stem).example()
    output = module.train()(*inputs)
    assert output.isfinite().all()
    output.square().sum().backward()
    idle = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle
    assert module.num_parameters() < 10_000


@pytest.mark.parametrize("stem", STEMS)
def test_the_tiny_model_is_repeatable_saves_and_loads(stem, tmp_path):
    module, inputs = proof_of(stem).example()
    twin = proof_of(stem).example()[0].eval()
    again = type(module).load(module.eval().save(tmp_path))
    with torch.no_grad():
        assert torch.equal(module(*inputs), again(*inputs))
        assert torch.equal(module(*inputs), twin(*inputs))


@pytest.mark.parametrize("stem", STEMS)
def test_an_unknown_or_faulty_option_is_refused(stem):
    kind = type(proof_of(stem).example()[0])
    assert kind.__name__ == CLASSES[stem]
    with pytest.raises(ConfigError, match="unknown key 'n_layer'; did you mean 'n_layers'"):
        kind({"n_layer": 3})
    with pytest.raises(ConfigError) as told:
        kind({"d_model": 0, "n_layers": -1, "dropout": 1.0, "pooling": "most"})
    assert {"d_model", "n_layers", "dropout", "pooling"} <= {
        line.split()[1] for line in str(told.value).splitlines()[1:]
    }

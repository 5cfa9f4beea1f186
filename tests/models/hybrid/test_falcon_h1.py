"""FalconH1: its proof, cached decode, that it learns, and its multipliers."""

import pytest
import torch

from nexus.models.hybrid.falcon_h1 import FalconH1, FalconH1Config
from tests.state_space import decodes_as_it_trains, learns, proof_holds


@pytest.mark.parametrize("seed", range(2))
def test_proof(seed):
    proof_holds("falcon_h1", seed)


def test_it_decodes_as_it_trains():
    decodes_as_it_trains(FalconH1(FalconH1Config.tiny()))


def test_it_learns():
    learns(FalconH1(FalconH1Config.tiny()))


@pytest.mark.parametrize("name", [name for name in FalconH1Config.__dataclass_fields__ if "multiplier" in name])
def test_every_multiplier_does_something(name):
    torch.manual_seed(0)
    plain = FalconH1(FalconH1Config.tiny())
    value = getattr(plain.config, name)
    changed = tuple(2 * v for v in value) if isinstance(value, tuple) else 2 * value
    torch.manual_seed(0)
    other = FalconH1(plain.config.replace(**{name: changed}))
    ids = torch.randint(0, 97, (1, 5))
    assert not torch.allclose(plain(ids).logits, other(ids).logits)


def test_multipliers_must_be_five():
    with pytest.raises(ValueError, match="ssm_multipliers"):
        FalconH1Config(ssm_multipliers=(1.0, 2.0))

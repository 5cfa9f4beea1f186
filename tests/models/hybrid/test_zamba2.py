"""Zamba2: its proof, cached decode, that it learns, and that what is shared is one tensor."""

import pytest

from nexus.models.hybrid.zamba2 import Zamba2, Zamba2Config
from tests.state_space import decodes_as_it_trains, learns, proof_holds


@pytest.mark.parametrize("seed", range(2))
def test_proof(seed):
    proof_holds("zamba2", seed)


def test_it_decodes_as_it_trains():
    decodes_as_it_trains(Zamba2(Zamba2Config.tiny()))


def test_it_learns():
    learns(Zamba2(Zamba2Config.tiny()))


def test_what_is_shared_is_one_tensor_with_one_gradient():
    model = Zamba2(Zamba2Config.tiny())
    assert len(model.shared) == 2
    once = model.num_parameters()
    more = Zamba2(Zamba2Config.tiny().replace(plan="MSSMSS"))
    adapters = sum(p.numel() for p in model.shared[0].ffn_adapters[0].parameters())
    adapters += sum(p.numel() for p in model.shared[0].qkv_adapters[0].parameters())
    layer = sum(p.numel() for p in model.layers[1].parameters())
    assert more.num_parameters() - once == adapters + layer  # one more use: adapters and a Mamba layer, no attention


def test_an_unknown_plan_is_refused():
    with pytest.raises(ValueError, match="plan = 'MX' has unknown layers"):
        Zamba2Config(plan="MX")

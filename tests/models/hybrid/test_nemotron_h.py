"""NemotronH: its proof, cached decode, that it learns, and its plan and its balance."""

import pytest
import torch

from nexus.models.hybrid.nemotron_h import NemotronH, NemotronHConfig
from tests.state_space import decodes_as_it_trains, learns, proof_holds


@pytest.mark.parametrize("seed", range(2))
def test_proof(seed):
    proof_holds("nemotron_h", seed)


def test_it_decodes_as_it_trains():
    decodes_as_it_trains(NemotronH(NemotronHConfig.tiny()))


def test_it_learns():
    learns(NemotronH(NemotronHConfig.tiny()))


def test_the_balance_moves_tokens_but_not_their_shares():
    torch.manual_seed(0)
    model = NemotronH(NemotronHConfig.tiny())
    experts, x = model.layers[-1].mixer.module, torch.randn(1, 6, 32)
    assert "balance" in experts.state_dict()
    assert "balance" not in dict(experts.named_parameters())
    first = experts(x)
    experts.balance += torch.tensor([9.0, 9.0, 0.0, 0.0])  # everyone to the first two
    scores = torch.sigmoid(experts.router(x))[..., :2]
    shares = 1.5 * scores / scores.sum(-1, keepdim=True)
    first_two = zip(experts.experts_up[:2], experts.experts_down[:2], strict=True)
    answers = torch.stack([(x @ up.mT).relu().square() @ down.mT for up, down in first_two], dim=-2)
    by_hand = (shares.unsqueeze(-1) * answers).sum(-2) + experts.shared(x)
    assert torch.allclose(experts(x), by_hand, atol=1e-6)
    assert not torch.allclose(first, by_hand, atol=1e-3)


def test_an_unknown_plan_is_refused():
    with pytest.raises(ValueError, match="plan = 'M#' has unknown blocks"):
        NemotronHConfig(plan="M#")

"""Eight-bit weights: codes as torch makes them, the error within half a scale, a model that still says the same."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nexus.core.state_space import HybridConfig, HybridLM
from nexus.inference.generation import generate
from nexus.inference.quantization import Int8Linear, quantize, to_codes, weight_bytes


@pytest.fixture
def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(40, 24)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")  # torch means to drop it; until then it is the oracle
def test_codes_are_those_of_torch(linear):
    ours = Int8Linear(linear)
    theirs = torch.quantize_per_channel(linear.weight.detach(), ours.scale[:, 0], torch.zeros(24), 0, torch.qint8)
    assert torch.equal(ours.codes, theirs.int_repr())


def test_the_weight_is_off_by_at_most_half_a_scale(linear):
    ours = Int8Linear(linear)
    assert bool(((ours.weight - linear.weight).abs() <= ours.scale * 0.5001).all())
    assert int(ours.codes.abs().max()) == 127


def test_a_row_of_zeros_stays_zero(linear):
    with torch.no_grad():
        linear.weight[3] = 0
    assert torch.equal(Int8Linear(linear).weight[3], torch.zeros(40))


@pytest.mark.parametrize("shape", [(1, 64), (3, 64), (2, 40, 64), (0, 64)])
@pytest.mark.parametrize("bias", [True, False])
def test_the_product_is_that_of_the_rounded_rows_and_the_rounded_weight(shape, bias):
    ours, x = Int8Linear(nn.Linear(64, 32, bias=bias)), torch.randn(shape)
    codes, scale = to_codes(x.reshape(-1, 64))
    meant = F.linear((codes * scale).double(), ours.weight.double(), None if ours.bias is None else ours.bias.double())
    assert ours(x).shape == (*shape[:-1], 32)
    torch.testing.assert_close(ours(x).double(), meant.view(*shape[:-1], 32), atol=1e-5, rtol=1e-5)


def test_a_row_does_not_depend_on_the_rows_beside_it():
    ours, x = Int8Linear(nn.Linear(64, 32)), torch.randn(9, 64) * torch.logspace(-3, 3, 9)[:, None]
    assert torch.equal(ours(x)[4:5], ours(x[4:5]))


def test_not_a_number_stays_one():
    ours, x = Int8Linear(nn.Linear(8, 4)), torch.ones(2, 8)
    x[1, 3] = torch.nan
    assert ours(x).isnan().any(1).tolist() == [False, True]


def test_a_language_model_keeps_its_words_and_loses_its_weight():
    torch.manual_seed(1)
    config = HybridConfig.tiny(d_model=64, d_ff=256, vocab_size=512, tie_embeddings=False)
    model, small = HybridLM(config).eval(), HybridLM(config).eval()
    small.load_state_dict(model.state_dict())
    quantize(small)
    ids = torch.randint(0, 512, (2, 30))
    with torch.inference_mode():
        exact, rounded = model(ids).logits, small(ids).logits
    assert float((exact - rounded).norm() / exact.norm()) < 0.05
    assert weight_bytes(small) < 0.55 * weight_bytes(model)  # the embedding stays as it is
    assert len(generate(small, ids, max_new_tokens=5)[0]) == 5


def test_a_tied_head_is_quantised_and_the_embedding_is_not():
    model = quantize(HybridLM(HybridConfig.tiny()).eval())
    assert isinstance(model.lm_head, Int8Linear)
    assert model.embed.weight.dtype == torch.float32


def test_a_second_time_is_refused(linear):
    model = quantize(nn.Sequential(linear))
    with pytest.raises(ValueError, match=r"no nn\.Linear left"):
        quantize(model)
    with pytest.raises(ValueError, match="use Int8Linear"):
        quantize(nn.Linear(2, 2))

"""Titans memory: its proof, its forms, and that it remembers."""

import pytest
import torch
from torch.nn import functional as F

from nexus.layers.ssm.titans import TitansMemory, recall, titans_chunked, titans_sequential
from tests.numerics import close, randomise
from tests.state_space import forms_agree, is_causal, proof_holds


def memory(**options):
    layer = TitansMemory(8, n_heads=2, **{"chunk_size": 4, **options}).double()
    randomise(layer)
    return layer


@pytest.mark.parametrize("seed", range(3))
def test_proof(seed):
    proof_holds("titans", seed)


@pytest.mark.parametrize("length", [1, 2, 7, 13])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_whole_chunked_and_token_by_token_are_one(length, depth):
    forms_agree(memory(depth=depth), torch.randn(2, length, 8, dtype=torch.float64))


@pytest.mark.parametrize("chunk", [1, 3, 16])
def test_matrix_form_equals_explicit_gradient_steps(chunk):
    layer = memory(chunk_size=chunk)
    tokens = layer.tokens(torch.randn(2, 11, 8, dtype=torch.float64))
    fast, after = titans_chunked(tokens, layer.init_state(2), chunk)
    slow, wanted = titans_sequential(tokens, layer.init_state(2), chunk)
    close(fast, slow)
    assert after.offset == wanted.offset == 11 % chunk
    for one, other in zip(after.anchor, wanted.anchor, strict=True):
        close(one, other)


def test_it_is_causal():
    is_causal(memory(), torch.randn(1, 9, 8, dtype=torch.float64))


def test_reading_writes_nothing_and_finds_what_was_written():
    layer, x = memory(), torch.randn(1, 6, 8, dtype=torch.float64)
    _, state = layer(x, layer.init_state(1))
    before = [w.clone() for w in state.weights]
    close(layer.read(x[:, -1:], state), layer(x)[0][:, -1:])
    assert all(torch.equal(a, b) for a, b in zip(before, state.weights, strict=True))


def test_what_is_read_again_surprises_less():
    layer = TitansMemory(16, chunk_size=1, max_step=0.02)
    x = torch.randn(1, 4, 16)
    state = layer.init_state(1)
    first = layer.surprise(x, state)
    with torch.no_grad():
        for _ in range(60):
            _, state = layer(x, state)
    assert (layer.surprise(x, state) < 0.5 * first).all()


def test_surprise_is_the_norm_of_the_gradient():
    layer, x = memory(depth=3), torch.randn(1, 1, 8, dtype=torch.float64)
    state, tokens = layer.init_state(1), layer.tokens(x)
    weights = [w[:, :1].detach().clone().requires_grad_() for w in state.weights]
    (recall(weights, tokens.k[:, :1]) - tokens.v[:, :1]).square().sum().backward()
    close(layer.surprise(x, state)[0, 0, 0], sum(w.grad.square().sum() for w in weights).sqrt())


def test_it_stores_pairs_that_a_fixed_map_cannot_know():
    keys, values = F.normalize(torch.randn(6, 16), dim=-1), torch.randn(6, 16)
    layer = TitansMemory(16, depth=1, chunk_size=1)
    tokens = layer.tokens(torch.randn(1, 6 * 40, 16))
    told = tokens._replace(
        k=keys.repeat(40, 1)[None, None], v=values.repeat(40, 1)[None, None],
        step=torch.full_like(tokens.step, 0.3), log_momentum=torch.full_like(tokens.step, -30.0),
        log_keep=torch.zeros_like(tokens.step),
    )  # fmt: skip
    _, state = titans_chunked(told, layer.init_state(1), 1)
    assert (recall(state.weights, keys[None, None]) - values).abs().max() < 0.05


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"chunk_size": 0}, {"reduction": "median"}])
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TitansMemory(8, **wrong)

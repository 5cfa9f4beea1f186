"""Linear attention: the proof, its three forms at odd lengths, and a state of one size."""

import pytest
import torch

from nexus.layers.attention import LinearAttention
from nexus.layers.attention.linear import FEATURES, LinearState, linear_chunked, linear_quadratic, linear_recurrent
from tests.numerics import ODD_LENGTHS, close, same_gradients
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("linear")


@pytest.mark.parametrize("length", ODD_LENGTHS)
@pytest.mark.parametrize("features", FEATURES)
def test_three_forms_are_equal(length, features):
    phi = FEATURES[features]
    q, k, v = (torch.randn(2, 2, length, 5, dtype=torch.float64, requires_grad=True) for _ in range(3))
    state = LinearState(torch.rand(2, 2, 5, 5, dtype=torch.float64), torch.rand(2, 2, 5, dtype=torch.float64))
    zero = LinearState(*(0 * t for t in state))
    quadratic = linear_quadratic(phi(q), phi(k), v)
    close(linear_chunked(phi(q), phi(k), v, 16)[0], quadratic)
    close(linear_recurrent(phi(q), phi(k), v, zero)[0], quadratic)
    (chunked, end), (stepped, last) = (
        linear_chunked(phi(q), phi(k), v, 16, state),
        linear_recurrent(phi(q), phi(k), v, state),
    )
    close(chunked, stepped)
    close(end.values, last.values)
    close(end.keys, last.keys)
    same_gradients(chunked, stepped, [q, k, v])


def test_decoding_keeps_a_state_of_one_size():
    layer = LinearAttention(16, 4, chunk=4).double()
    x, state, parts = torch.randn(2, 11, 16, dtype=torch.float64), layer.init_state(2), []
    for part in x.split([1, 6, 1, 3], dim=1):
        y, state = layer.step(part, state)
        assert state.values.shape == (2, 4, 4, 4)
        parts.append(y)
    close(torch.cat(parts, dim=1), layer(x, causal=True))


def test_a_query_that_matches_nothing_gets_zeros():
    q, k, v = -torch.ones(1, 1, 3, 2), torch.ones(1, 1, 3, 2), torch.randn(1, 1, 3, 2)
    assert not linear_chunked(q.relu(), k.relu(), v)[0].any()


def test_unknown_features_are_refused():
    with pytest.raises(ValueError, match=r"features='cos'.*elu"):
        LinearAttention(16, 4, features="cos")

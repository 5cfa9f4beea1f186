"""Linear attention: attention that is a recurrence.

The one idea: with a product of features in place of ``exp(q k)``, keys and values can be summed up first, so that all
that has been read fits into one matrix. Paper: Katharopoulos et al. 2020 (arXiv:2006.16236), eq. 5 and 16 to 20.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nexus.layers.attention.flash import key_mask
from nexus.layers.attention.multi_head import MultiHeadAttention

FEATURES: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": lambda x: F.elu(x) + 1,  # eq. 7
    "relu": F.relu,
    "exp": torch.exp,
}


class LinearState(NamedTuple):
    """What has been read: sums of key features times values (B, H, M, D), and of key features (B, H, M)."""

    values: Tensor
    keys: Tensor


class LinearAttention(MultiHeadAttention):
    """``phi(q) sum(phi(k) v^T) / phi(q) sum(phi(k))``, in the form that suits.

    Args:
        d_model, n_heads, bias: as in :class:`MultiHeadAttention`.
        features: name of the map phi in `FEATURES`; the paper's is ``elu(x) + 1``.
        chunk: length of the chunks of the causal form.
    """

    def __init__(self, d_model: int, n_heads: int, bias: bool = True, features: str = "elu", chunk: int = 64) -> None:
        super().__init__(d_model, n_heads, bias)
        if features not in FEATURES:
            raise ValueError(f"features={features!r}: is no feature map; use one of {', '.join(FEATURES)}")
        self.features, self.chunk = features, chunk

    def query_features(self, q: Tensor) -> Tensor:
        """Features (B, H, T, M) of queries."""
        return FEATURES[self.features](q)

    def key_features(self, k: Tensor) -> Tensor:
        """Features (B, H, K, M) of keys."""
        return FEATURES[self.features](k)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, bias: Tensor | None, causal: bool) -> Tensor:
        if bias is not None:
            raise ValueError("bias=...: linear attention has no scores to add it to; use MultiHeadAttention")
        q, k = self.query_features(q), self.key_features(k)
        if (mask := key_mask(mask, len(q), k.shape[-2])) is not None:
            k = k * mask.mT
        return linear_chunked(q, k, v, self.chunk)[0] if causal else linear_full(q, k, v)

    def init_state(self, batch_size: int) -> LinearState:
        """The state before the first token."""
        width = self.key_features(self.o_proj.weight.new_zeros(1, self.n_heads, 1, self.head_dim)).shape[-1]
        zeros = self.o_proj.weight.new_zeros(batch_size, self.n_heads, width, self.head_dim)
        return LinearState(zeros, zeros[..., 0].clone())

    def step(self, x: Tensor, state: LinearState) -> tuple[Tensor, LinearState]:
        """Read some more tokens (B, T, d_model) causally; cost and state do not depend on what came before."""
        q, k, v = self.project(x)
        y, state = linear_chunked(self.query_features(q), self.key_features(k), v, self.chunk, state)
        return self.o_proj(y.transpose(1, 2).flatten(-2)), state


def linear_full(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Every query sees every key (eq. 5); all (B, H, T, ...), of which q and k are features."""
    return _divide(q @ (k.mT @ v), (q * k.sum(-2, keepdim=True)).sum(-1, keepdim=True))


def linear_quadratic(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The causal form as one masked T x T matrix (eq. 8): the truth that the others are held against."""
    weights = (q @ k.mT).tril()
    return _divide(weights @ v, weights.sum(-1, keepdim=True))


def linear_recurrent(q: Tensor, k: Tensor, v: Tensor, state: LinearState) -> tuple[Tensor, LinearState]:
    """The causal form step after step (eq. 16 to 20)."""
    values, keys, outputs = state.values, state.keys, []
    for q_t, k_t, v_t in zip(q.unbind(-2), k.unbind(-2), v.unbind(-2), strict=True):
        values = values + k_t.unsqueeze(-1) * v_t.unsqueeze(-2)
        keys = keys + k_t
        outputs.append(_divide((q_t.unsqueeze(-2) @ values).squeeze(-2), (q_t * keys).sum(-1, keepdim=True)))
    return torch.stack(outputs, dim=-2), LinearState(values, keys)


def linear_chunked(
    q: Tensor, k: Tensor, v: Tensor, chunk: int = 64, state: LinearState | None = None
) -> tuple[Tensor, LinearState]:
    """The causal form as matrix products inside chunks and a sum of states between them."""
    length = q.shape[-2]
    chunk = min(chunk, length)
    q, k, v = (F.pad(t, (0, 0, 0, -length % chunk)).unflatten(-2, (-1, chunk)) for t in (q, k, v))  # (B, H, C, Q, .)
    values, keys = k.mT @ v, k.sum(-2)  # of each chunk alone
    if state is not None:
        values, keys = (torch.cat((s.unsqueeze(2), t), 2) for s, t in zip(state, (values, keys), strict=True))
    else:
        values, keys = F.pad(values, (0, 0, 0, 0, 1, 0)), F.pad(keys, (0, 0, 1, 0))
    values, keys = values.cumsum(2), keys.cumsum(2)
    weights = (q @ k.mT).tril()
    y = torch.matmul(weights, v) + q @ values[:, :, :-1]
    total = weights.sum(-1, keepdim=True) + q @ keys[:, :, :-1].unsqueeze(-1)
    y = _divide(y, total).flatten(2, 3)[..., :length, :]
    return y, LinearState(values[:, :, -1], keys[:, :, -1])


def _divide(y: Tensor, total: Tensor) -> Tensor:
    """``y / total``, zero where nothing was seen."""
    return y / total.masked_fill(total == 0, 1.0)

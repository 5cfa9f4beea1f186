"""Titans: a memory whose weights learn while it reads.

The one idea: a small network's weights are the state. For each token it takes a step of gradient descent, with momentum
and forgetting, on how badly it recalls that token's value from its key. Paper: Behrouz, Zhong and Mirrokni 2024
(arXiv:2501.00663), eqs. 9 to 14 and section 3.2. The gradients of one chunk are all taken at the weights that the chunk
began with (the paper's mini-batches); with ``chunk_size=1`` that is the sequential rule.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.layers.ssm.ssd import decay_matrix

Weights = tuple[Tensor, ...]  # of the memory's layers, each (B, H, in, out)


class TitansState(NamedTuple):
    """What the memory carries over: constant in the length of the text."""

    weights: Weights  # M
    momentum: Weights  # S, the surprise that is still felt
    anchor: Weights  # M where the present chunk began: gradients are taken here
    offset: int  # tokens of the present chunk that have been read


class Tokens(NamedTuple):
    """What each token asks, tells and allows. ``q, k, v`` (B, H, T, P), the others (B, H, T)."""

    q: Tensor
    k: Tensor
    v: Tensor
    step: Tensor  # theta: how much the momentary surprise counts
    log_momentum: Tensor  # log eta: how much of the past surprise stays
    log_keep: Tensor  # log (1 - alpha): how much of the memory stays

    def part(self, start: int, end: int) -> "Tokens":
        """The tokens from ``start`` to ``end``."""
        return Tokens(*(t[:, :, start:end] for t in self))


def recall(weights: Sequence[Tensor], x: Tensor) -> Tensor:
    """The memory M as a network: layers of ``weights`` (..., in, out) with GELU between, x (..., T, P)."""
    for i, weight in enumerate(weights):
        x = (F.gelu(x) if i else x) @ weight
    return x


def titans_sequential(tokens: Tokens, state: TitansState, chunk: int, scale: float = 1.0) -> tuple[Tensor, TitansState]:
    """The rule as it is written, a token at a time, with gradients from automatic differentiation: the truth.

    Args:
        chunk: tokens whose gradients are taken at the same weights.
        scale: of the inner loss ``scale * |M(k) - v|^2`` (eq. 12: 1).

    Returns:
        ``M_t(q_t)`` (B, H, T, P) after each token has been written, and the state.
    """

    def loss(weights: Weights, k: Tensor, v: Tensor) -> Tensor:
        return scale * (recall(weights, k) - v).square().sum()  # rows and heads don't meet: one sum serves all

    gradient: Callable[..., Weights] = torch.func.grad(loss)
    outputs = []
    for t in range(tokens.k.shape[2]):
        q, k, v, step, log_momentum, log_keep = tokens.part(t, t + 1)
        felt = gradient(state.anchor, k, v)
        eta, theta, keep = log_momentum.exp().unsqueeze(-1), step.unsqueeze(-1), log_keep.exp().unsqueeze(-1)
        momentum = tuple(eta * s - theta * g for s, g in zip(state.momentum, felt, strict=True))  # eq. 14
        weights = tuple(keep * m + s for m, s in zip(state.weights, momentum, strict=True))  # eq. 13
        outputs.append(recall(weights, q))
        state = _advance(TitansState(weights, momentum, state.anchor, state.offset), 1, chunk)
    return torch.cat(outputs, dim=2), state


def titans_chunked(tokens: Tokens, state: TitansState, chunk: int, scale: float = 1.0) -> tuple[Tensor, TitansState]:
    """The same numbers from matrix products: no weights of single tokens are ever made.

    Within a chunk each layer's weights are ``a_t M + b_t S - sum_j w_tj theta_j x_j d_j^T``, with x_j the layer's input
    and d_j the error at its output when key j is recalled; a query is turned by that sum as by linear attention.
    """
    start, length = 0, tokens.k.shape[2]
    outputs: list[Tensor] = []
    while start < length:
        end = min(length, start + chunk - state.offset)
        y, state = _one_chunk(tokens.part(start, end), state, scale)
        outputs.append(y)
        state = _advance(state, end - start, chunk)
        start = end
    return torch.cat(outputs, dim=2), state


def _advance(state: TitansState, tokens: int, chunk: int) -> TitansState:
    """Count ``tokens``; at the end of the chunk the weights become the anchor of the next."""
    offset = state.offset + tokens
    return state._replace(offset=offset) if offset < chunk else state._replace(anchor=state.weights, offset=0)


def _one_chunk(tokens: Tokens, state: TitansState, scale: float) -> tuple[Tensor, TitansState]:
    inputs, errors = _backward(state.anchor, tokens.k, tokens.v, scale)
    keep, momentum = tokens.log_keep.cumsum(-1), tokens.log_momentum.cumsum(-1)
    forget, fade = decay_matrix(keep), decay_matrix(momentum)
    mix = forget @ fade  # (B, H, C, C): the weight of gradient j in M_t
    a, b = keep.exp(), (forget @ momentum.exp().unsqueeze(-1)).squeeze(-1)
    fading = momentum.exp()
    y = tokens.q
    weights: list[Tensor] = []
    momenta: list[Tensor] = []
    for i, (m, s, x, error) in enumerate(zip(state.weights, state.momentum, inputs, errors, strict=True)):
        error = error * tokens.step.unsqueeze(-1)
        y = F.gelu(y) if i else y
        y = a.unsqueeze(-1) * (y @ m) + b.unsqueeze(-1) * (y @ s) - ((y @ x.mT) * mix) @ error
        weights.append(a[..., -1:, None] * m + b[..., -1:, None] * s - (x * mix[..., -1, :, None]).mT @ error)
        momenta.append(fading[..., -1:, None] * s - (x * fade[..., -1, :, None]).mT @ error)
    return y, TitansState(tuple(weights), tuple(momenta), state.anchor, state.offset)


def _backward(weights: Weights, k: Tensor, v: Tensor, scale: float) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs x and errors d of each layer under the inner loss, all tokens at once: gradient j is ``x_j d_j^T``."""
    before, inputs = [k], [k]
    for weight in weights[:-1]:
        before.append(inputs[-1] @ weight)
        inputs.append(F.gelu(before[-1]))
    errors = [2 * scale * (inputs[-1] @ weights[-1] - v)]
    for z, weight in zip(reversed(before[1:]), reversed(weights[1:]), strict=True):
        errors.append((errors[-1] @ weight.mT) * _gelu_slope(z))
    return inputs, errors[::-1]


def _gelu_slope(z: Tensor) -> Tensor:
    """Derivative of GELU, written out so that it can be differentiated once more."""
    return 0.5 * (1 + torch.erf(z * 0.5**0.5)) + z * torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


class TitansMemory(nn.Module):
    """Neural memory, (B, T, d_model) to (B, T, d_model); causal.

    Args:
        d_model: width in and out. n_heads: memories side by side. head_dim: width of a key; None is d_model / n_heads.
        depth: layers of the memory (1 is a matrix). expansion: width of its hidden layers, in head_dims.
        chunk_size: tokens whose gradients are taken at the same weights.
        max_step: largest step size; ``max_step * sigmoid`` of the token.
        normalise: SiLU on queries, keys and values, and queries and keys of length 1 (paper, section 4.4);
            False as in titans-pytorch's default.
        reduction: inner loss summed over the value's channels ("sum", eq. 12) or averaged ("mean", titans-pytorch).
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int = 1,
        head_dim: int | None = None,
        depth: int = 2,
        expansion: float = 2.0,
        chunk_size: int = 16,
        max_step: float = 0.1,
        normalise: bool = True,
        reduction: Literal["sum", "mean"] = "sum",
    ) -> None:
        super().__init__()
        if min(depth, chunk_size, n_heads) < 1:
            raise ValueError(f"depth={depth}, chunk_size={chunk_size}, n_heads={n_heads}: must be 1 or more")
        if reduction not in ("sum", "mean"):
            raise ValueError(f"reduction={reduction!r}: is not a choice; give 'sum' or 'mean'")
        self.n_heads, self.head_dim = n_heads, head_dim or d_model // n_heads
        self.chunk_size, self.max_step, self.normalise = chunk_size, max_step, normalise
        self.scale = 1.0 if reduction == "sum" else 1.0 / self.head_dim
        inner, hidden = n_heads * self.head_dim, int(self.head_dim * expansion)
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(d_model, inner, bias=False) for _ in range(3))
        self.step_proj, self.momentum_proj, self.decay_proj = (nn.Linear(d_model, n_heads) for _ in range(3))
        self.gate_proj = nn.Linear(d_model, n_heads, bias=False)
        self.out_proj = nn.Linear(inner, d_model, bias=False)
        widths = [self.head_dim, *[hidden] * (depth - 1), self.head_dim]
        self.memory = nn.ParameterList(
            nn.Parameter(torch.empty(n_heads, fan_in, fan_out)) for fan_in, fan_out in pairwise(widths)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Small steps (a tenth of the largest), long momentum, slow forgetting: what a memory is for."""
        for weight in self.memory:
            nn.init.uniform_(weight, -(weight.shape[1] ** -0.5), weight.shape[1] ** -0.5)
        for proj, bias in ((self.step_proj, -2.0), (self.momentum_proj, 1.0), (self.decay_proj, -5.0)):
            nn.init.constant_(proj.bias, bias)

    def init_state(self, batch_size: int) -> TitansState:
        """The learnt start weights, for ``batch_size`` rows."""
        weights = tuple(weight.expand(batch_size, -1, -1, -1) for weight in self.memory)
        return TitansState(weights, tuple(torch.zeros_like(weight) for weight in weights), weights, 0)

    def forward(self, x: Tensor, state: TitansState | None = None) -> tuple[Tensor, TitansState | None]:
        """Write each token of ``x`` (B, T, d_model) into the memory, then ask it.

        Args:
            state: where an earlier call ended; None starts from the learnt weights and returns no state.

        Returns:
            Output (B, T, d_model), and the state after the last token.
        """
        tokens = self.tokens(x)
        before = self.init_state(x.shape[0]) if state is None else state
        y, after = titans_chunked(tokens, before, self.chunk_size, self.scale)
        return self._out(x, y), None if state is None else after

    def read(self, x: Tensor, state: TitansState) -> Tensor:
        """Ask the memory with ``x`` (B, T, d_model) and write nothing."""
        return self._out(x, recall(state.weights, self.tokens(x).q))

    def surprise(self, x: Tensor, state: TitansState) -> Tensor:
        """Size of each token's momentary surprise, the gradient's norm at ``state`` (B, H, T); writes nothing."""
        tokens = self.tokens(x)
        inputs, errors = _backward(state.weights, tokens.k, tokens.v, self.scale)
        squares = [i.square().sum(-1) * e.square().sum(-1) for i, e in zip(inputs, errors, strict=True)]
        return torch.stack(squares).sum(0).sqrt()

    def tokens(self, x: Tensor) -> Tokens:
        """What each token of ``x`` asks, tells and allows."""
        projections = (self.q_proj, self.k_proj, self.v_proj)
        q, k, v = (proj(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for proj in projections)
        if self.normalise:
            q, k, v = F.silu(q), F.silu(k), F.silu(v)
            q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        step = self.max_step * torch.sigmoid(self.step_proj(x)).mT
        log_momentum, log_keep = F.logsigmoid(self.momentum_proj(x)).mT, F.logsigmoid(-self.decay_proj(x)).mT
        return Tokens(q, k, v, step, log_momentum, log_keep)

    def _out(self, x: Tensor, y: Tensor) -> Tensor:
        gated = y * torch.sigmoid(self.gate_proj(x)).mT.unsqueeze(-1)
        return self.out_proj(gated.transpose(1, 2).flatten(-2))

"""xLSTM: the LSTM with exponential gates, as a matrix memory (mLSTM) and as a scalar one with mixing (sLSTM).

The one idea: an exponential input gate can still overrule what was stored long ago, if what is stored is divided by the
sum of its gates; a running maximum keeps the exponents small and cancels. mLSTM lets go of the recurrence between
hidden states and trains in parallel; sLSTM keeps it and can track states. Paper: Beck et al. 2024 (arXiv:2405.04517),
eqs. 8 to 27; layout of the block as in xLSTM-7B (arXiv:2503.13427).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.layers.components.rms_norm import RMSNorm

NOTHING = -1e30  # logarithm of a gate that is shut, finite so that differences stay numbers


class MatrixState(NamedTuple):
    """State of the mLSTM cell."""

    memory: Tensor  # C (B, H, K, V)
    norm: Tensor  # n (B, H, K)
    top: Tensor  # m (B, H), the logarithm that both are divided by


class ScalarState(NamedTuple):
    """State of the sLSTM cell, each (B, D)."""

    hidden: Tensor
    cell: Tensor
    norm: Tensor
    top: Tensor


def mlstm_step(
    q: Tensor, k: Tensor, v: Tensor, log_i: Tensor, log_f: Tensor, state: MatrixState, eps: float = 1e-6
) -> tuple[Tensor, MatrixState]:
    """One token (eqs. 19 to 27): ``q``, ``k`` (B, H, K), ``v`` (B, H, V), ``log_i``, ``log_f`` (B, H)."""
    top = torch.maximum(log_f + state.top, log_i)
    f, i = (log_f + state.top - top).exp().unsqueeze(-1), (log_i - top).exp().unsqueeze(-1)
    memory = f.unsqueeze(-1) * state.memory + (i * k).unsqueeze(-1) * v.unsqueeze(-2)
    norm = f * state.norm + i * k
    read = q.unsqueeze(-2) @ torch.cat((memory, norm.unsqueeze(-1)), dim=-1) * q.shape[-1] ** -0.5
    value, weight = read.squeeze(-2).split([v.shape[-1], 1], dim=-1)
    return value / (torch.maximum(weight.abs(), (-top).exp().unsqueeze(-1)) + eps), MatrixState(memory, norm, top)


def mlstm_recurrent(
    q: Tensor, k: Tensor, v: Tensor, log_i: Tensor, log_f: Tensor, state: MatrixState, eps: float = 1e-6
) -> tuple[Tensor, MatrixState]:
    """Token after token: the truth. ``q``, ``k``, ``v`` (B, T, H, ...), ``log_i``, ``log_f`` (B, T, H)."""
    outputs = []
    for qt, kt, vt, it, ft in zip(*(t.unbind(1) for t in (q, k, v, log_i, log_f)), strict=True):
        y, state = mlstm_step(qt, kt, vt, it, ft, state, eps)
        outputs.append(y)
    return torch.stack(outputs, dim=1), state


def mlstm_chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_i: Tensor,
    log_f: Tensor,
    state: MatrixState,
    eps: float = 1e-6,
    chunk: int = 64,
) -> tuple[Tensor, MatrixState]:
    """The same by matrix products inside chunks; with chunk = T the paper's parallel form (appendix A.3)."""
    outputs = []
    by_head = (t.transpose(1, 2) for t in (q, k, v, log_i, log_f))
    for qs, ks, vs, i, f in zip(*(t.split(chunk, dim=2) for t in by_head), strict=True):
        y, state = _mlstm_chunk(qs, ks, vs, i, f, state, eps)
        outputs.append(y.transpose(1, 2))
    return torch.cat(outputs, dim=1), state


def _mlstm_chunk(
    q: Tensor, k: Tensor, v: Tensor, log_i: Tensor, log_f: Tensor, state: MatrixState, eps: float
) -> tuple[Tensor, MatrixState]:
    """``q``, ``k``, ``v`` (B, H, Q, ...), ``log_i``, ``log_f`` (B, H, Q)."""
    total = log_f.cumsum(-1)
    future = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool, device=q.device).triu(1)
    weight = (total.unsqueeze(-1) - total.unsqueeze(-2) + log_i.unsqueeze(-2)).masked_fill(future, float("-inf"))
    before = total + state.top.unsqueeze(-1)
    top = torch.maximum(before, weight.amax(-1))  # (B, H, Q)
    scores = (q @ k.mT) * (weight - top.unsqueeze(-1)).exp() * q.shape[-1] ** -0.5
    asked = q * (before - top).exp().unsqueeze(-1) * q.shape[-1] ** -0.5
    value = scores @ v + asked @ state.memory
    norm = scores.sum(-1) + (asked @ state.norm.unsqueeze(-1)).squeeze(-1)
    y = value / (torch.maximum(norm.abs(), (-top).exp()) + eps).unsqueeze(-1)
    left = k * (weight[..., -1, :] - top[..., -1:]).exp().unsqueeze(-1)
    fade = (before[..., -1] - top[..., -1]).exp().unsqueeze(-1)
    memory = fade.unsqueeze(-1) * state.memory + left.mT @ v
    return y, MatrixState(memory, fade * state.norm + left.sum(2), top[..., -1])


class MLSTM(nn.Module):
    """Matrix LSTM, (B, T, d_model) to (B, T, d_model).

    Args:
        d_model: width in and out. n_heads: heads. key_dim, value_dim: widths of all heads together; None is d_model / 2
            and d_model. soft_cap: bound of the gates' logits, ``cap tanh(x / cap)``. chunk_size: of the fast form.
        eps: of the norm and of the division.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        key_dim: int | None = None,
        value_dim: int | None = None,
        soft_cap: float = 15.0,
        chunk_size: int = 64,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.n_heads, self.soft_cap, self.chunk_size, self.eps = n_heads, soft_cap, chunk_size, eps
        self.key_dim, self.value_dim = key_dim or d_model // 2, value_dim or d_model
        self.q_proj, self.k_proj = (nn.Linear(d_model, self.key_dim, bias=False) for _ in range(2))
        self.v_proj, self.o_gate = (nn.Linear(d_model, self.value_dim, bias=False) for _ in range(2))
        self.i_gate, self.f_gate = (nn.Linear(d_model, n_heads) for _ in range(2))
        self.norm_weight = nn.Parameter(torch.ones(self.value_dim))
        self.out_proj = nn.Linear(self.value_dim, d_model, bias=False)
        nn.init.constant_(self.i_gate.bias, -10.0)
        with torch.no_grad():
            self.f_gate.bias.copy_(torch.linspace(3.0, 6.0, n_heads))

    def init_state(self, batch_size: int) -> MatrixState:
        """The state before the first token."""
        zero = self.q_proj.weight.new_zeros(
            batch_size, self.n_heads, self.key_dim // self.n_heads, self.value_dim // self.n_heads
        )
        return MatrixState(zero, zero[..., 0], zero[..., 0, 0])

    def forward(self, x: Tensor, state: MatrixState | None = None) -> tuple[Tensor, MatrixState | None]:
        """Without a state it starts from zero and returns none."""
        q, k, v = (p(x).unflatten(-1, (self.n_heads, -1)) for p in (self.q_proj, self.k_proj, self.v_proj))
        log_i, log_f = (self.soft_cap * torch.tanh(gate(x) / self.soft_cap) for gate in (self.i_gate, self.f_gate))
        before = self.init_state(x.shape[0]) if state is None else state
        y, after = mlstm_chunked(q, k, v, log_i, F.logsigmoid(log_f), before, self.eps, self.chunk_size)
        y = F.layer_norm(y, y.shape[-1:], eps=self.eps).flatten(-2) * self.norm_weight
        return self.out_proj(torch.sigmoid(self.o_gate(x)) * y), None if state is None else after


class SLSTMCell(nn.Module):
    """Scalar LSTM with recurrent weights inside each head (eqs. 8 to 18): sequential by nature.

    Args:
        d_model: width. n_heads: heads; hidden states mix inside a head only.
    """

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        size = d_model // n_heads
        self.d_model, self.n_heads = d_model, n_heads
        self.recurrent = nn.Parameter(torch.randn(n_heads, 4 * size, size) * size**-0.5)  # gates i, f, z, o
        self.bias = nn.Parameter(torch.zeros(4 * d_model))

    def init_state(self, batch_size: int) -> ScalarState:
        """The state before the first token."""
        zero = self.bias.new_zeros(batch_size, self.d_model)
        return ScalarState(zero, zero, zero, torch.full_like(zero, NOTHING))

    def forward(self, gates: Tensor, state: ScalarState) -> tuple[Tensor, ScalarState]:
        """``gates`` (B, T, 4 d_model), what the input adds to i, f, z and o; hidden states (B, T, d_model)."""
        outputs = []
        for given in gates.unbind(1):
            state = self._step(given, state)
            outputs.append(state.hidden)
        return torch.stack(outputs, dim=1), state

    def _step(self, given: Tensor, state: ScalarState) -> ScalarState:
        hidden = state.hidden.unflatten(-1, (self.n_heads, -1))
        mixed = torch.einsum("bhi,hoi->bho", hidden, self.recurrent)
        mixed = mixed.unflatten(-1, (4, -1)).transpose(1, 2).flatten(1)
        i, f, z, o = (given + mixed + self.bias).chunk(4, dim=-1)
        past = F.logsigmoid(f) + state.top
        top = torch.maximum(i, past)  # eq. 15
        write, keep = (i - top).exp(), (past - top).exp()
        cell, norm = keep * state.cell + write * torch.tanh(z), keep * state.norm + write
        return ScalarState(torch.sigmoid(o) * cell / norm, cell, norm, top)


class SLSTM(nn.Module):
    """sLSTM layer, (B, T, d_model) to (B, T, d_model): gates from the input, the cell, a norm of each head."""

    def __init__(self, d_model: int, n_heads: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.n_heads, self.eps = n_heads, eps
        self.gates = nn.Linear(d_model, 4 * d_model, bias=False)
        self.cell = SLSTMCell(d_model, n_heads)
        self.norm_weight = nn.Parameter(torch.ones(d_model))
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def init_state(self, batch_size: int) -> ScalarState:
        """The state before the first token."""
        return self.cell.init_state(batch_size)

    def forward(self, x: Tensor, state: ScalarState | None = None) -> tuple[Tensor, ScalarState | None]:
        """Without a state it starts from nothing and returns none."""
        hidden, after = self.cell(self.gates(x), self.init_state(x.shape[0]) if state is None else state)
        y = hidden.unflatten(-1, (self.n_heads, -1))
        y = F.layer_norm(y, y.shape[-1:], eps=self.eps).flatten(-2) * self.norm_weight
        return self.out_proj(y), None if state is None else after


class FeedForward(nn.Module):
    """SwiGLU with separate projections, as xLSTM-7B stores them."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = (nn.Linear(d_model, d_ff, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_model) in and out."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class XLSTM(nn.Module):
    """Blocks after a plan, (B, T, d_model) to (B, T, d_model): ``x + lstm(norm(x))``, then ``x + ffn(norm(x))``.

    Args:
        d_model: width. n_heads: heads of every layer. plan: one letter a block, 'm' mLSTM or 's' sLSTM.
        d_ff: inner width of the feed-forward part; None is 8/3 d_model, rounded up to a multiple of 64.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        plan: str = "ms",
        d_ff: int | None = None,
        chunk_size: int = 64,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        if not plan or set(plan) - set("ms"):
            raise ValueError(f"plan={plan!r}: has letters that are no layer; give 'm' (mLSTM) and 's' (sLSTM)")
        d_ff = d_ff or 64 * math.ceil(8 * d_model / 3 / 64)
        self.mixers = nn.ModuleList(
            MLSTM(d_model, n_heads, chunk_size=chunk_size, eps=eps) if kind == "m" else SLSTM(d_model, n_heads, eps)
            for kind in plan
        )
        self.ffns = nn.ModuleList(FeedForward(d_model, d_ff) for _ in plan)
        self.mixer_norms, self.ffn_norms = (nn.ModuleList(RMSNorm(d_model, eps) for _ in plan) for _ in range(2))

    def init_state(self, batch_size: int) -> tuple[MatrixState | ScalarState, ...]:
        """The states before the first token, one a block."""
        return tuple(mixer.init_state(batch_size) for mixer in self.mixers)  # type: ignore[operator]

    def forward(
        self, x: Tensor, state: tuple[MatrixState | ScalarState, ...] | None = None
    ) -> tuple[Tensor, tuple[MatrixState | ScalarState, ...] | None]:
        """Without a state it starts afresh and returns none."""
        before = [None] * len(self.mixers) if state is None else state
        after = []
        for mixer, ffn, norm, ffn_norm, own in zip(
            self.mixers, self.ffns, self.mixer_norms, self.ffn_norms, before, strict=True
        ):
            y, new = mixer(norm(x), own)
            x = x + y
            x = x + ffn(ffn_norm(x))
            after.append(new)
        return x, None if state is None else tuple(after)

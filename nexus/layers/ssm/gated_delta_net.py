"""DeltaNet and gated DeltaNet: a memory that overwrites instead of adding up.

The one idea: before a value is written under a key, what the memory now answers to that key is taken off, a step of
gradient descent on the error; a gate lets everything fade. Papers: Yang et al. 2024 (arXiv:2406.06484) for the chunked
form, eqs. 8 to 11; Yang, Kautz and Hatamizadeh 2024 (arXiv:2412.06464), eq. 10. Layout of the weights as in Qwen3-Next.

    S_t = a_t S_{t-1} + k_t (b_t (v_t - (a_t S_{t-1})^T k_t))^T,      y_t = S_t^T q_t
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.layers.ssm.causal_conv import causal_conv_silu
from nexus.layers.ssm.ssd import decay_matrix


class DeltaState(NamedTuple):
    """What one layer carries over: constant in the length of the text."""

    memory: Tensor  # (B, H, key channels, value channels)
    conv: Tensor  # (B, d_conv - 1, channels), the last inputs of the convolution


def delta_step(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, memory: Tensor
) -> tuple[Tensor, Tensor]:
    """One token: ``q``, ``k`` (B, H, K), ``v`` (B, H, V), ``log_decay`` and ``beta`` (B, H)."""
    memory = memory * log_decay.exp()[..., None, None]
    known = (k.unsqueeze(-2) @ memory).squeeze(-2)
    memory = memory + k.unsqueeze(-1) * (beta.unsqueeze(-1) * (v - known)).unsqueeze(-2)
    return (q.unsqueeze(-2) @ memory).squeeze(-2), memory


def delta_recurrent(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, memory: Tensor
) -> tuple[Tensor, Tensor]:
    """Token after token: the truth. ``q``, ``k`` (B, T, H, K), ``v`` (B, T, H, V), the others (B, T, H)."""
    outputs = []
    for qt, kt, vt, a, b in zip(*(t.unbind(1) for t in (q, k, v, log_decay, beta)), strict=True):
        y, memory = delta_step(qt, kt, vt, a, b, memory)
        outputs.append(y)
    return torch.stack(outputs, dim=1), memory


def delta_chunked(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, memory: Tensor, chunk: int = 64
) -> tuple[Tensor, Tensor]:
    """The same by matrix products: inside a chunk the corrections solve a triangular system (WY form).

    The value that token i really writes, ``u_i``, is ``b_i (v_i - what was there)``, and what was there holds the
    ``u_j`` before it: ``(I + tril(b_i k_i.k_j a_ij, -1)) u = b (v - a_i k_i^T S)``.
    """
    length = q.shape[1]
    chunk = min(chunk, length)
    pad = -length % chunk  # filled up with tokens that write nothing and forget nothing
    q, k, v = (_split(F.pad(t, (0, 0, 0, 0, 0, pad)), chunk) for t in (q, k, v))  # (B, H, C, Q, channels)
    log_decay, beta = (_split(F.pad(t, (0, 0, 0, pad)).unsqueeze(-1), chunk).squeeze(-1) for t in (log_decay, beta))
    total = log_decay.cumsum(-1)
    fade = decay_matrix(total)  # (B, H, C, Q, Q)
    system = torch.tril((k * beta.unsqueeze(-1)) @ k.mT * fade, -1)  # its diagonal counts as one below
    right = beta.unsqueeze(-1) * torch.cat((v, k * total.exp().unsqueeze(-1)), dim=-1)
    solved = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)
    fresh, taken = solved.split([v.shape[-1], k.shape[-1]], dim=-1)
    scores = (q @ k.mT) * fade
    asked = q * total.exp().unsqueeze(-1)
    left = k * (total[..., -1:] - total).exp().unsqueeze(-1)
    carry = total[..., -1].exp()[..., None, None]
    outputs = []
    for u, w, s, a, b, c in zip(*(t.unbind(2) for t in (fresh, taken, scores, asked, left, carry)), strict=True):
        written = u - w @ memory
        outputs.append(a @ memory + s @ written)
        memory = c * memory + b.mT @ written
    y = torch.stack(outputs, dim=2).flatten(2, 3).transpose(1, 2)  # (B, T, H, V)
    return y[:, :length], memory


def _split(x: Tensor, chunk: int) -> Tensor:
    """(B, T, H, D) to (B, H, C, Q, D)."""
    return x.unflatten(1, (-1, chunk)).permute(0, 3, 1, 2, 4)


class GatedDeltaNet(nn.Module):
    """Gated delta rule, (B, T, d_model) to (B, T, d_model).

    Args:
        d_model: width in and out. n_heads: value heads. n_kv_heads: key heads, which divide them; None is n_heads.
        key_dim, value_dim: channels of a key head and of a value head.
        gated: forget (gated DeltaNet); False never forgets (DeltaNet).
        d_conv: length of the causal convolution on queries, keys and values. chunk_size: of the fast form.
        eps: of the norms.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        key_dim: int,
        value_dim: int,
        n_kv_heads: int | None = None,
        gated: bool = True,
        d_conv: int = 4,
        chunk_size: int = 64,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.n_heads, self.key_heads = n_heads, n_kv_heads or n_heads
        if n_heads % self.key_heads:
            raise ValueError(f"n_kv_heads={n_kv_heads}: must divide n_heads={n_heads}; use a divisor, for example 1")
        self.key_dim, self.value_dim, self.gated = key_dim, value_dim, gated
        self.d_conv, self.chunk_size, self.eps = d_conv, chunk_size, eps
        keys, values = self.key_heads * key_dim, n_heads * value_dim
        self.widths = [keys, keys, values]
        # By key head: its query, its key, the values and the gates of the value heads that share it.
        self.qkvz_proj = nn.Linear(d_model, 2 * keys + 2 * values, bias=False)
        self.ba_proj = nn.Linear(d_model, (2 if gated else 1) * n_heads, bias=False)  # beta, and the forget gate
        self.conv_weight = nn.Parameter(torch.empty(2 * keys + values, d_conv).uniform_(-0.5, 0.5))
        if gated:
            self.A_log = nn.Parameter(torch.empty(n_heads).uniform_(0.01, 16).log())
            self.dt_bias = nn.Parameter(torch.ones(n_heads))
        self.norm_weight = nn.Parameter(torch.ones(value_dim))
        self.out_proj = nn.Linear(values, d_model, bias=False)

    def init_state(self, batch_size: int) -> DeltaState:
        """The zero state for ``batch_size`` rows."""
        like = self.conv_weight
        memory = like.new_zeros(batch_size, self.n_heads, self.key_dim, self.value_dim)
        return DeltaState(memory, like.new_zeros(batch_size, self.d_conv - 1, like.shape[0]))

    def forward(self, x: Tensor, state: DeltaState | None = None) -> tuple[Tensor, DeltaState | None]:
        """Without a state it starts from zero and returns none."""
        before = self.init_state(x.shape[0]) if state is None else state
        qkv, z, beta, log_decay = self._project(x)
        padded = torch.cat((before.conv, qkv), dim=1)
        mixed = causal_conv_silu(padded, self.conv_weight, self.conv_weight.new_zeros(padded.shape[-1]))
        q, k, v = mixed.split(self.widths, dim=-1)
        q, k = (self._unit(t.unflatten(-1, (self.key_heads, -1))) for t in (q, k))
        v = v.unflatten(-1, (self.n_heads, -1))
        q = q * self.key_dim**-0.5
        if x.shape[1] == 1 and state is not None:
            y, memory = delta_step(q[:, 0], k[:, 0], v[:, 0], log_decay[:, 0], beta[:, 0], before.memory)
            y = y.unsqueeze(1)
        else:
            y, memory = delta_chunked(q, k, v, log_decay, beta, before.memory, self.chunk_size)
        y = F.rms_norm(y, y.shape[-1:], self.norm_weight, self.eps) * F.silu(z)  # the norm before the gate
        return self.out_proj(y.flatten(-2)), None if state is None else DeltaState(memory, padded[:, x.shape[1] :])

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries, keys and values side by side (B, T, channels), gates (B, T, H, V), beta and log decay (B, T, H)."""
        shared = self.n_heads // self.key_heads
        heads = self.qkvz_proj(x).unflatten(-1, (self.key_heads, -1))
        q, k, v, z = heads.split([self.key_dim, self.key_dim, *[shared * self.value_dim] * 2], dim=-1)
        b, *a = self.ba_proj(x).unflatten(-1, (self.key_heads, -1)).split(shared, dim=-1)
        beta = torch.sigmoid(b.flatten(-2))
        if self.gated:
            log_decay = -self.A_log.exp() * F.softplus(a[0].flatten(-2) + self.dt_bias)
        else:
            log_decay = torch.zeros_like(beta)
        qkv = torch.cat([t.flatten(-2) for t in (q, k, v)], dim=-1)
        return qkv, z.reshape(*x.shape[:2], self.n_heads, self.value_dim), beta, log_decay

    def _unit(self, x: Tensor) -> Tensor:
        """Keys and queries of length one, one for each value head."""
        x = x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)
        return x.repeat_interleave(self.n_heads // self.key_heads, dim=2)

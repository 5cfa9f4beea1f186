"""RWKV-4: attention without queries, as a running weighted mean.

The one idea: every channel's keys are weights that fade at a rate of its own, so the weighted mean of all values so far
is a mean and a total weight, updated in constant time. Paper: Peng et al. 2023 (arXiv:2305.13048), eqs. 11 to 19.

    wkv_t = (sum_{j<t} e^{k_j - (t-1-j) w} v_j + e^{u + k_t} v_t) / (the same without v)
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NOTHING = -1e30  # logarithm of a weight of nothing, finite so that differences stay numbers


class WKVState(NamedTuple):
    """The running mean of the values and the logarithm of its weight, each (B, C)."""

    mean: Tensor
    log_weight: Tensor


class RWKVState(NamedTuple):
    """What one block carries over: constant in the length of the text."""

    wkv: WKVState
    time_last: Tensor  # (B, d_model), the last input of time mixing
    channel_last: Tensor  # (B, d_model), the last input of channel mixing


def wkv_step(k: Tensor, v: Tensor, decay: Tensor, bonus: Tensor, state: WKVState) -> tuple[Tensor, WKVState]:
    """One token: ``k``, ``v`` (B, C); ``decay`` w > 0 and ``bonus`` u (C,)."""
    now = torch.sigmoid(bonus + k - state.log_weight)  # the share of this token in the output
    y = state.mean + now * (v - state.mean)
    share = torch.sigmoid(k - (state.log_weight - decay))
    mean = state.mean + share * (v - state.mean)
    return y, WKVState(mean, torch.logaddexp(state.log_weight - decay, k))


def wkv_recurrent(
    k: Tensor, v: Tensor, decay: Tensor, bonus: Tensor, state: WKVState | None = None
) -> tuple[Tensor, WKVState]:
    """Token after token: the truth. ``k``, ``v`` (B, T, C)."""
    state = empty(k) if state is None else state
    outputs = []
    for key, value in zip(k.unbind(1), v.unbind(1), strict=True):
        y, state = wkv_step(key, value, decay, bonus, state)
        outputs.append(y)
    return torch.stack(outputs, dim=1), state


def wkv_chunked(
    k: Tensor, v: Tensor, decay: Tensor, bonus: Tensor, state: WKVState | None = None, chunk: int = 16
) -> tuple[Tensor, WKVState]:
    """A softmax over each chunk and what came before it, as if that were a token; chunk = T is the paper's sum."""
    state = empty(k) if state is None else state
    outputs = []
    for key, value in zip(k.split(chunk, dim=1), v.split(chunk, dim=1), strict=True):
        y, state = _chunk(key, value, decay, bonus, state)
        outputs.append(y)
    return torch.cat(outputs, dim=1), state


def _chunk(k: Tensor, v: Tensor, decay: Tensor, bonus: Tensor, state: WKVState) -> tuple[Tensor, WKVState]:
    length = k.shape[1]
    step = torch.arange(length + 1, device=k.device)
    age = (step[:, None] - 1 - step[:length]).unsqueeze(-1)  # (T + 1, T, 1): of token j at the time of t, less one
    logits = k.unsqueeze(1) - age * decay  # (B, T + 1, T, C); the last row is what the next chunk will see
    now = age[:length] == -1
    logits = torch.cat((torch.where(now, (bonus + k).unsqueeze(1), logits[:, :length]), logits[:, length:]), dim=1)
    logits = logits.masked_fill(age < -1, float("-inf"))
    before = state.log_weight.unsqueeze(1) - step.unsqueeze(-1) * decay
    logits = torch.cat((before.unsqueeze(2), logits), dim=2)
    values = torch.cat((state.mean.unsqueeze(1), v), dim=1).unsqueeze(1)
    mean = (logits.softmax(2) * values).sum(2)
    return mean[:, :length], WKVState(mean[:, length], logits[:, length].logsumexp(1))


def empty(k: Tensor) -> WKVState:
    """The state before the first token, for ``k`` (B, T, C)."""
    zero = torch.zeros_like(k[:, 0])
    return WKVState(zero, torch.full_like(zero, NOTHING))


class TimeMixing(nn.Module):
    """``W_o (sigmoid(r) * wkv(k, v))``, where r, k and v see a mix of this token and the last (eqs. 11 to 17)."""

    def __init__(self, d_model: int, chunk_size: int = 16) -> None:
        super().__init__()
        self.chunk_size = chunk_size
        self.decay_log = nn.Parameter(torch.linspace(-5, 3, d_model))
        self.bonus = nn.Parameter(torch.full((d_model,), -1.2))  # log 0.3
        self.mix_k, self.mix_v, self.mix_r = (nn.Parameter(torch.linspace(0, 1, d_model)) for _ in range(3))
        self.k_proj, self.v_proj, self.r_proj, self.out_proj = (
            nn.Linear(d_model, d_model, bias=False) for _ in range(4)
        )

    def forward(self, x: Tensor, last: Tensor, state: WKVState) -> tuple[Tensor, WKVState]:
        """``x`` (B, T, d_model), the input before it (B, d_model) and the running mean."""
        shifted = shift(x, last)
        k, v, r = (
            proj(shifted + mix * (x - shifted))
            for proj, mix in ((self.k_proj, self.mix_k), (self.v_proj, self.mix_v), (self.r_proj, self.mix_r))
        )
        y, state = wkv_chunked(k, v, self.decay_log.exp(), self.bonus, state, self.chunk_size)
        return self.out_proj(torch.sigmoid(r) * y), state


class ChannelMixing(nn.Module):
    """``sigmoid(r) * W_v relu(k)^2`` (eqs. 18 and 19)."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.mix_k, self.mix_r = (nn.Parameter(torch.linspace(0, 1, d_model)) for _ in range(2))
        self.k_proj = nn.Linear(d_model, d_ff, bias=False)
        self.v_proj = nn.Linear(d_ff, d_model, bias=False)
        self.r_proj = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor, last: Tensor) -> Tensor:
        """``x`` (B, T, d_model) and the input before it (B, d_model)."""
        shifted = shift(x, last)
        k, r = self.k_proj(shifted + self.mix_k * (x - shifted)), self.r_proj(shifted + self.mix_r * (x - shifted))
        return torch.sigmoid(r) * self.v_proj(F.relu(k).square())


def shift(x: Tensor, last: Tensor) -> Tensor:
    """Each token's predecessor: ``x`` (B, T, D) moved on by one behind ``last`` (B, D)."""
    return torch.cat((last.unsqueeze(1), x[:, :-1]), dim=1)


class RWKV(nn.Module):
    """One block, (B, T, d_model) to (B, T, d_model): time mixing, then channel mixing, each after a LayerNorm.

    Args:
        d_model: width. d_ff: width of channel mixing; None is 4 d_model. chunk_size: of the softmax form.
    """

    def __init__(self, d_model: int, d_ff: int | None = None, chunk_size: int = 16, eps: float = 1e-5) -> None:
        super().__init__()
        self.d_model = d_model
        self.time_norm, self.channel_norm = nn.LayerNorm(d_model, eps), nn.LayerNorm(d_model, eps)
        self.time_mixing = TimeMixing(d_model, chunk_size)
        self.channel_mixing = ChannelMixing(d_model, d_ff or 4 * d_model)

    def init_state(self, batch_size: int) -> RWKVState:
        """The state before the first token."""
        zero = self.time_norm.weight.new_zeros(batch_size, self.d_model)
        return RWKVState(WKVState(zero, torch.full_like(zero, NOTHING)), zero, zero)

    def forward(self, x: Tensor, state: RWKVState | None = None) -> tuple[Tensor, RWKVState | None]:
        """Without a state it starts from nothing and returns none."""
        before = self.init_state(x.shape[0]) if state is None else state
        normed = self.time_norm(x)
        y, wkv = self.time_mixing(normed, before.time_last, before.wkv)
        x = x + y
        inner = self.channel_norm(x)
        x = x + self.channel_mixing(inner, before.channel_last)
        return x, None if state is None else RWKVState(wkv, normed[:, -1], inner[:, -1])

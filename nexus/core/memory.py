"""Memory that learns while it reads, after Titans: short-term, long-term and persistent.

The one idea: the last tokens are attended to exactly (short-term), everything before them is learnt by gradient steps
into the weights of a small MLP, the more the more surprising it is (long-term), and what the task needs at any time is
learnt in training (persistent). Three ways to put them together: as context, as gate, as layer.
Paper: Behrouz et al. 2024 (arXiv:2501.00663), sections 3 and 4. Every token sees earlier ones only: where the paper's
"as context" shows a whole segment of recollections to every token of it, here a token sees those up to its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.core.base import BaseConfig, NexusModule, divides, fault, in_range, positive
from nexus.core.memory_rule import Gates, Layout, apply_mlp, bound, update_chunk
from nexus.layers.components import RMSNorm
from nexus.layers.positional import RotaryEmbedding, apply_rotary

__all__ = ["LongTermMemory", "MemoryConfig", "MemoryState", "ShortTermMemory", "TitansMemory"]

MAX_KEEP, MAX_FORGET = 0.99, 0.99  # below 1, so that momentum and weights are bounded whatever the gates say
STRETCH = 0.1  # how far beyond 0 and 1 the gates of forgetting and learning are stretched before they are cut


@dataclass(frozen=True, kw_only=True)
class MemoryConfig(BaseConfig):
    """Sizes and rule of a :class:`TitansMemory`.

    ``mode`` is how it is put together: "context" (MAC: recollections are attended to), "gate" (MAG: a gate weighs
    memory against attention), "layer" (MAL: memory first, then attention). ``depth`` and ``expansion`` shape the MLP
    whose weights are the long-term memory. Gradients are taken at the weights each chunk of ``chunk_size`` tokens began
    with. ``half_life`` is after how many tokens half of what was learnt has faded, before training finds its own.
    ``max_learn`` bounds the step size, ``clip`` one token's gradient, ``max_norm`` the weights of a head.
    """

    d_model: int = 256
    n_heads: int = 4
    mode: Literal["context", "gate", "layer"] = "gate"
    window: int = 64
    chunk_size: int = 16
    depth: int = 2
    expansion: int = 2
    n_persistent: int = 4
    half_life: int = 16_384
    max_learn: float = 0.5
    clip: float = 4.0
    max_norm: float = 32.0
    norm_eps: float = 1e-5
    rope_theta: float = 10_000.0

    def faults(self) -> list[str]:
        """Everything that is wrong with the sizes, one line each."""
        names = "d_model n_heads window chunk_size depth expansion half_life max_learn clip max_norm"
        found = [*positive(self, *names.split(), "norm_eps", "rope_theta"), *in_range(self, "n_persistent", 0)]
        found += divides(self, "n_heads", "d_model")
        if self.d_model // max(self.n_heads, 1) % 2:
            cure = "choose it so that d_model / n_heads is even: rotary embedding turns pairs of channels"
            found.append(
                fault("n_heads", self.n_heads, f"with d_model = {self.d_model} makes heads of odd width", cure)
            )
        return found

    @property
    def reach(self) -> int:
        """Tokens that attention sees, itself included: a segment is a chunk where memory is context."""
        return self.chunk_size if self.mode == "context" else self.window

    @property
    def layout(self) -> Layout:
        """The MLP of one head."""
        dim = self.d_model // self.n_heads
        return Layout(dim, dim * self.expansion, self.depth)

    @classmethod
    def tiny(cls, **changes: object) -> Self:
        """A memory that builds and learns on a CPU in under a second."""
        sizes: dict[str, object] = {"d_model": 32, "n_heads": 2, "window": 8, "chunk_size": 4, "n_persistent": 2}
        return cls(**{**sizes, **changes})  # type: ignore[arg-type]


class MemoryState(NamedTuple):
    """What a memory carries from call to call: constant in the length of the text, first dimension B everywhere."""

    anchor: Tensor  # (B, H, P) weights that the present chunk began with
    weights: Tensor  # (B, H, P)
    momentum: Tensor  # (B, H, P)
    key: Tensor  # (B, H, reach, S, head_dim) of the last tokens, S of them a token
    value: Tensor  # (B, H, reach, S, head_dim)
    seen: Tensor  # (B,) tokens read so far


class ShortTermMemory(nn.Module):
    """Attention to the last ``config.reach`` tokens and to the persistent ones, exact and of constant cost."""

    def __init__(self, config: MemoryConfig) -> None:
        super().__init__()
        self.n_heads, self.head_dim = config.n_heads, config.d_model // config.n_heads
        self.reach, self.segments = config.reach, config.mode == "context"
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model, bias=False)
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)
        self.rotary = RotaryEmbedding(self.head_dim, config.rope_theta)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, H, T, head_dim) of ``x`` (B, T, d_model)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.n_heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        return q, k, v

    def forward(
        self, x: Tensor, extra: Tensor | None, persistent: Tensor, cache: tuple[Tensor, Tensor], seen: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Attend from ``x`` (B, T, d_model), at positions ``seen`` (B or 1,) onwards.

        Args:
            extra: (B, T, d_model) one more key and value at each position; None for none.
            persistent: (N, d_model) what is always seen.
            cache: keys and values of the last tokens, see :class:`MemoryState`.

        Returns:
            Output (B, T, d_model) and the new cache.
        """
        query, key, value = self.heads(x)
        streams = [(key, value)] if extra is None else [(key, value), self.heads(extra)[1:]]
        positions = seen[:, None] + torch.arange(x.shape[1], device=x.device)
        cos, sin = self.rotary(positions, x.dtype)
        query = apply_rotary(query, cos, sin)
        key = torch.stack([apply_rotary(k, cos, sin) for k, _ in streams], dim=3)
        keys = torch.cat((cache[0], key), dim=2)
        values = torch.cat((cache[1], torch.stack([v for _, v in streams], dim=3)), dim=2)
        y = self._attend(query, keys, values, persistent, self._sees(positions))
        return self.out(y.transpose(1, 2).flatten(-2)), (keys[:, :, -self.reach :], values[:, :, -self.reach :])

    def _sees(self, positions: Tensor) -> Tensor:
        """(B or 1, T, reach + T): which of [cached | new] tokens each new one sees."""
        first = positions[:, :1]
        known = torch.cat((first + torch.arange(-self.reach, 0, device=first.device), positions), dim=1)[:, None]
        own = positions[:, :, None]
        near = known // self.reach == own // self.reach if self.segments else own - known < self.reach
        return (known >= 0) & (known <= own) & near

    def _attend(self, query: Tensor, keys: Tensor, values: Tensor, persistent: Tensor, sees: Tensor) -> Tensor:
        rows, streams = query.shape[0], keys.shape[3]
        _, k, v = self.heads(persistent[None])
        keys = torch.cat((k.expand(rows, -1, -1, -1), keys.flatten(2, 3)), dim=2)
        values = torch.cat((v.expand(rows, -1, -1, -1), values.flatten(2, 3)), dim=2)
        mask = F.pad(sees.repeat_interleave(streams, dim=2), (persistent.shape[0], 0), value=True)
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=mask[:, None])


class LongTermMemory(nn.Module):
    """The weights that learn: keys, values, queries and the three gates of each token."""

    def __init__(self, config: MemoryConfig) -> None:
        super().__init__()
        self.config, self.layout = config, config.layout
        self.n_heads, self.head_dim = config.n_heads, config.d_model // config.n_heads
        self.kvq = nn.Linear(config.d_model, 3 * config.d_model, bias=False)
        self.gates = nn.Linear(config.d_model, 3 * config.n_heads)
        self.start = nn.Parameter(torch.empty(config.n_heads, self.layout.size))  # what it knows before the first token
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """A small last layer; half is forgotten in ``half_life``, half of momentum and of the largest step is kept."""
        for i, matrix in enumerate(self.layout.cut(self.start.data)):
            nn.init.normal_(matrix, std=(0.1 if i == self.layout.depth - 1 else 1.0) * matrix.shape[-1] ** -0.5)
        nn.init.normal_(self.gates.weight, std=0.02)
        with torch.no_grad():
            forget = -math.expm1(-math.log(2) / self.config.half_life) / MAX_FORGET
            forget = (forget + STRETCH) / (1 + 2 * STRETCH)
            bias = torch.tensor([math.log(forget / (1 - forget)), 0.0, 0.0])
            self.gates.bias.copy_(bias.repeat_interleave(self.n_heads))

    def tokens(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Key, value and query (B, H, T, head_dim); keys and queries of length 1 (section 4.4 of the paper)."""
        key, value, query = F.silu(self.kvq(x)).unflatten(-1, (3, self.n_heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        return F.normalize(key, dim=-1), value, F.normalize(query, dim=-1)

    def gating(self, x: Tensor) -> Gates:
        """The gates of each token (B, H, T).

        Forgetting and learning can be shut altogether (stretched and cut, Louizos et al. 2018, arXiv:1712.01312): a
        sigmoid never is, and what is left of it adds up over a long text.
        """
        forget, keep, learn = self.gates(x).to(self.start.dtype).sigmoid().mT.chunk(3, dim=1)
        forget, learn = (((1 + 2 * STRETCH) * gate - STRETCH).clamp(0, 1) for gate in (forget, learn))
        return Gates(MAX_FORGET * forget, (MAX_KEEP * keep).clamp(min=1e-6), self.config.max_learn * learn)

    def recall(self, weights: Tensor, x: Tensor) -> Tensor:
        """What ``weights`` (B, H, P) hold about ``x`` (B, T, d_model), in the same shape; nothing is learnt."""
        return self._merge(apply_mlp(self.layout, weights, self.tokens(x)[2]))

    def forward(
        self, x: Tensor, anchor: Tensor, weights: Tensor, momentum: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Learn ``x`` (B, T, d_model), at most up to the end of the present chunk, and read after each token.

        Returns:
            What was read (B, T, d_model), the new weights and momentum, and the surprise of each token (B, T).
        """
        key, value, query = (each.to(self.start.dtype) for each in self.tokens(x))
        gates = self.gating(x)
        with torch.autocast(
            x.device.type, enabled=False
        ):  # what is learnt adds up over a text: half precision would tell
            done = update_chunk(self.layout, anchor, weights, momentum, (key, value, query), gates, self.config.clip)
        return self._merge(done.read), done.weights, done.momentum, done.surprise.mean(1)

    def _merge(self, heads: Tensor) -> Tensor:
        return self.out(heads.transpose(1, 2).flatten(-2))


class TitansMemory(NexusModule):
    """Short-term, long-term and persistent memory, (B, T, d_model) to the same shape.

    ::

        memory = TitansMemory(MemoryConfig(d_model=64, mode="gate"))
        y, state = memory(x, memory.init_state(batch_size=1))
        y, state = memory(more, state)                       # goes on; state may be forked and saved
        surprise = memory.surprise(x)                        # (B, T)
    """

    config_class = MemoryConfig
    config: MemoryConfig

    def __init__(self, config: MemoryConfig) -> None:
        super().__init__(config)
        c = self.config
        self.short_term = ShortTermMemory(c)
        self.long_term = LongTermMemory(c)
        self.persistent = nn.Parameter(torch.randn(c.n_persistent, c.d_model) * 0.02)
        self.read_norm = RMSNorm(c.d_model, c.norm_eps)
        self.near_norm = RMSNorm(c.d_model, c.norm_eps)
        self.gate = nn.Linear(c.d_model, c.d_model) if c.mode != "layer" else None

    @classmethod
    def tiny(cls, **changes: object) -> Self:
        """The memory of :meth:`MemoryConfig.tiny`."""
        return cls(MemoryConfig.tiny(**changes))

    def init_state(self, batch_size: int) -> MemoryState:
        """The state before the first token: the weights that training found, no momentum, nothing attended to."""
        c, start = self.config, self.long_term.start
        weights = bound(start, c.max_norm).expand(batch_size, -1, -1)
        streams = 2 if c.mode == "context" else 1
        cache = start.new_zeros(batch_size, c.n_heads, c.reach, streams, c.d_model // c.n_heads)
        seen = torch.zeros(batch_size, dtype=torch.long, device=start.device)
        return MemoryState(weights, weights.clone(), torch.zeros_like(weights), cache, cache.clone(), seen)

    def forward(
        self, x: Tensor, state: MemoryState | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, MemoryState | None]:
        """Read ``x`` (B, T, d_model).

        Args:
            state: where an earlier call ended; None starts fresh and returns no state.
            mask: (B, T) True at real tokens, padding on the left; None if all are real.

        Returns:
            Output (B, T, d_model), zero at padding, and the new state. The state passed in is left as it was.

        Raises:
            ValueError: ``x`` is of the wrong rank, width or type, or there is nothing to read.
        """
        y, _, after = self._read(x, self.init_state(len(x)) if state is None else state, mask, state is None)
        return y, None if state is None else after

    def surprise(self, x: Tensor, state: MemoryState | None = None) -> Tensor:
        """How surprising each token of ``x`` (B, T, d_model) is: norm of its gradient, averaged over heads; (B, T)."""
        return self._read(x, self.init_state(len(x)) if state is None else state, None, state is None)[1]

    def _read(
        self, x: Tensor, state: MemoryState, mask: Tensor | None, fresh: bool
    ) -> tuple[Tensor, Tensor, MemoryState]:
        width = self.config.d_model
        if x.dim() != 3 or x.shape[-1] != width or not x.shape[1] or not x.is_floating_point():
            raise ValueError(
                f"x: Expected floats (batch, length, {width}) with something to read, got {tuple(x.shape)} of "
                f"{x.dtype}; for one row pass x[None]"
            )
        if mask is not None and not bool(mask.all()):
            return self._read_rows(x, state, mask)
        phase = 0 if fresh else self._phase(state, x.shape[1])
        if phase is None:  # rows stand at different places of their chunks: one token ends at most one chunk
            pieces = list(x.split(1, dim=1))
        else:
            head = [x[:, : self.config.chunk_size - phase]] if phase else []
            rest = x[:, self.config.chunk_size - phase :] if phase else x
            pieces = [*head, *(rest.split(self.config.chunk_size, dim=1) if rest.shape[1] else ())]
        outputs, surprises = [], []
        for piece in pieces:
            y, surprise, state = self._piece(piece, state, phase)
            phase = None if phase is None else (phase + piece.shape[1]) % self.config.chunk_size
            outputs.append(y)
            surprises.append(surprise)
        return torch.cat(outputs, dim=1), torch.cat(surprises, dim=1), state

    def _phase(self, state: MemoryState, length: int) -> int | None:
        """How far into its chunk every row is; None where rows differ, or where it does not matter."""
        if length == 1 or bool((state.seen != state.seen[0]).any()):
            return None
        return int(state.seen[0]) % self.config.chunk_size

    def _read_rows(self, x: Tensor, state: MemoryState, mask: Tensor) -> tuple[Tensor, Tensor, MemoryState]:
        """Rows with padding before them, each on its own: chunks begin at a row's first real token."""
        outputs, surprises, states = [], [], []
        for i, gap in enumerate((~mask).sum(1).tolist()):
            own = MemoryState(*(part[i : i + 1] for part in state))
            if gap < x.shape[1]:
                y, surprise, own = self._read(x[i : i + 1, gap:], own, None, False)
            else:
                y, surprise = x[i : i + 1, :0], x[i : i + 1, :0, 0]
            outputs.append(F.pad(y, (0, 0, gap, 0)))
            surprises.append(F.pad(surprise, (gap, 0)))
            states.append(own)
        after = MemoryState(*(torch.cat(parts) for parts in zip(*states, strict=True)))
        return torch.cat(outputs), torch.cat(surprises), after

    def _piece(self, x: Tensor, state: MemoryState, phase: int | None) -> tuple[Tensor, Tensor, MemoryState]:
        """Tokens that lie in one chunk; ``phase`` None: one token, rows anywhere in their chunks."""
        learn, cache = self.long_term, (state.key, state.value)
        learnt = (state.anchor, state.weights, state.momentum)
        if self.config.mode == "context":  # recollections from before this chunk are attended to, the result is learnt
            recalled = self.read_norm(learn.recall(state.anchor, x))
            near, cache = self.short_term(x, recalled, self.persistent, cache, state.seen)
            read, weights, momentum, surprise = learn(near, *learnt)
            y = self._weigh(near, read)
        elif self.config.mode == "gate":
            near, cache = self.short_term(x, None, self.persistent, cache, state.seen)
            read, weights, momentum, surprise = learn(x, *learnt)
            y = self._weigh(near, read)
        else:
            read, weights, momentum, surprise = learn(x, *learnt)
            y, cache = self.short_term(self.read_norm(read) + x, None, self.persistent, cache, state.seen)
            y = self.near_norm(y)
        seen = state.seen + x.shape[1]
        anchor, weights = self._close(state.anchor, weights, seen, None if phase is None else phase + x.shape[1])
        return y, surprise, MemoryState(anchor, weights, momentum, cache[0], cache[1], seen)

    def _weigh(self, near: Tensor, read: Tensor) -> Tensor:
        """Attention and memory in shares that the memory decides on; the paper leaves its non-linear gate open."""
        assert self.gate is not None
        near, read = self.near_norm(near), self.read_norm(read)
        share = self.gate(read).sigmoid()
        return share * near + (1 - share) * read

    def _close(self, anchor: Tensor, weights: Tensor, seen: Tensor, end: int | None) -> tuple[Tensor, Tensor]:
        """At the end of a chunk, weights are bounded and become those that gradients are taken at."""
        if end is not None and end < self.config.chunk_size:
            return anchor, weights
        bounded = bound(weights, self.config.max_norm)
        if end is not None:
            return bounded, bounded
        full = (seen % self.config.chunk_size == 0)[:, None, None]
        return torch.where(full, bounded, anchor), torch.where(full, bounded, weights)

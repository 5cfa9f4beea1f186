"""Message passing, and a network that learns how many rounds of it to run and which messages to let through.

The one idea: message, aggregate, update are three choices (MPNN); how often they run and what passes are choices too,
so the network learns a distribution over its own depth, reads an answer off after every round, and filters each node's
messages by its features (AMP).
Papers: Gilmer et al. 2017, "Neural Message Passing for Quantum Chemistry" (arXiv:1704.01212), eq. 1 and 2; Errica et
al. 2025, "Adaptive Message Passing" (arXiv:2312.16560); gated messages: Bresson and Laurent 2017 (arXiv:1711.07553).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nexus.core.base import NexusModule, in_range, positive
from nexus.data.graph import Graph
from nexus.models.gnn._config import GraphModelConfig
from nexus.models.gnn._kernels import (
    Aggregation,
    aggregate,
    chunks,
    neighbour_softmax,
    pool,
    sum_of_edges,
    sum_of_out_edges,
)

Message = Literal["linear", "gated"]
Update = Literal["residual", "gru"]


# ---- one round -------------------------------------------------------------------------------------------------------


def gated_sum(gate_in: Tensor, gate_out: Tensor, value: Tensor, graph: Graph) -> Tensor:
    """``sum over j of sigmoid(gate_in[i] + gate_out[j]) * value[j]``, channel by channel (arXiv:1711.07553, eq. 11).

    Args:
        gate_in: (n_nodes, D) of the targets. gate_out, value: (n_sources, D) of the sources.

    Returns:
        (n_nodes, D). Messages live for a chunk of edges only; backward makes them again.
    """
    return _GatedSum.apply(gate_in, gate_out, value, graph)


def _gate(gate_in: Tensor, gate_out: Tensor, graph: Graph, part: slice) -> Tensor:
    z = gate_out.index_select(0, graph.src[part]).add_(gate_in.index_select(0, graph.dst[part]))
    return z.sigmoid_()


class _GatedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_in: Tensor, gate_out: Tensor, value: Tensor, graph: Graph) -> Tensor:
        ctx.graph = graph
        ctx.save_for_backward(gate_in, gate_out, value)
        messages = value.new_empty(graph.n_edges, value.shape[1])
        for part in chunks(graph.n_edges, value.shape[1]):
            gate = _gate(gate_in, gate_out, graph, part)
            torch.mul(gate, value.index_select(0, graph.src[part]), out=messages[part])
        return sum_of_edges(messages, graph)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (gate_in, gate_out, value), graph = ctx.saved_tensors, ctx.graph
        grad = grads[0]
        dgate, dvalue = (value.new_empty(graph.n_edges, value.shape[1]) for _ in range(2))
        for part in chunks(graph.n_edges, value.shape[1]):
            gate = _gate(gate_in, gate_out, graph, part)
            arrived = grad.index_select(0, graph.dst[part])
            torch.mul(gate, arrived, out=dvalue[part])
            arrived.mul_(value.index_select(0, graph.src[part]))
            torch.ops.aten.sigmoid_backward.grad_input(arrived, gate, grad_input=dgate[part])
        return sum_of_edges(dgate, graph), sum_of_out_edges(dgate, graph), sum_of_out_edges(dvalue, graph), None


class MessagePassing(nn.Module):
    """One round (MPNN eq. 1 and 2): ``m_i = aggregate over j of M(h_i, h_j)``, ``h_i' = U(h_i, m_i)``.

    Args:
        d_model: width in and out.
        message: "linear" is ``W h_j``; "gated" is ``sigmoid(A h_i + B h_j) * V h_j``.
        aggregation: how messages are brought together; a gated message is added up.
        update: "residual" is ``S h_i + m_i + b``; "gru" lets a GRU cell read the message (as in gated graph networks).
    """

    def __init__(
        self,
        d_model: int,
        message: Message = "gated",
        aggregation: Aggregation = "sum",
        update: Update = "residual",
    ) -> None:
        super().__init__()
        if message == "gated" and aggregation != "sum":
            raise ValueError(f"aggregation={aggregation!r}: gated messages are added up; use 'sum' or message='linear'")
        self.message, self.aggregation, self.update = message, aggregation, update
        self.value_proj = nn.Linear(d_model, d_model, bias=message == "gated")
        self.gate_proj = nn.Linear(d_model, 2 * d_model) if message == "gated" else None  # of target, of source
        self.temperature = nn.Parameter(torch.ones(1)) if aggregation == "softmax" else None
        self.self_proj = nn.Linear(d_model, d_model) if update == "residual" else None
        self.cell = nn.GRUCell(d_model, d_model) if update == "gru" else None

    def forward(self, x: Tensor, graph: Graph, let_through: Tensor | None = None) -> Tensor:
        """Map ``x`` (N, d_model) to the same shape.

        Args:
            let_through: (N, d_model) in [0, 1], what of each source's message passes; None lets all pass.
        """
        value = self.value_proj(x)
        if let_through is not None:
            value = value * let_through
        got = self._aggregated(x, value, graph)
        if self.cell is not None:
            y: Tensor = self.cell(got, x)
            return y
        assert self.self_proj is not None
        return got + self.self_proj(x)

    def _aggregated(self, x: Tensor, value: Tensor, graph: Graph) -> Tensor:
        if self.gate_proj is not None:
            gate_in, gate_out = self.gate_proj(x).chunk(2, dim=-1)
            return gated_sum(gate_in, gate_out, value, graph)
        if self.temperature is not None:
            return neighbour_softmax(value, graph, self.temperature)  # arXiv:2006.07739, eq. 3
        return aggregate(value, graph, self.aggregation)


# ---- how many rounds -------------------------------------------------------------------------------------------------


class DepthDistribution(nn.Module):
    """A learnt distribution over the number of rounds: a folded normal, cut into unit steps, truncated, normalised.

    ``q(l) = (F(l + 1) - F(l)) / F(max_depth)`` for l = 0 ... max_depth - 1, where F is the distribution function of
    ``|X|``, ``X ~ Normal(mean, scale)`` (section 3 of AMP). Class l means l + 1 rounds.

    Args:
        max_depth: number of classes. mean, scale: where it starts.
    """

    def __init__(self, max_depth: int, mean: float, scale: float) -> None:
        super().__init__()
        self.max_depth = max_depth
        self.mean = nn.Parameter(torch.tensor(float(mean)))
        self.raw_scale = nn.Parameter(torch.tensor(math.log(math.expm1(max(scale - 0.5, 1e-3)))))

    @property
    def scale(self) -> Tensor:
        """Standard deviation before folding; at least 0.5, so that the distribution never stops on one depth."""
        return F.softplus(self.raw_scale) + 0.5

    def cumulative(self, value: Tensor) -> Tensor:
        """``F(value)`` for values that are not negative."""
        width = self.scale * math.sqrt(2)
        return 0.5 * (torch.erf((value - self.mean) / width) + torch.erf((value + self.mean) / width))

    def forward(self) -> Tensor:
        """The probabilities (max_depth,)."""
        steps = torch.arange(self.max_depth + 1, dtype=self.mean.dtype, device=self.mean.device)
        total = self.cumulative(steps)
        mass = total.diff().clamp(min=torch.finfo(total.dtype).tiny)
        return mass / mass.sum()

    def expected(self) -> Tensor:
        """Expected number of rounds."""
        q: Tensor = self()
        return (q * torch.arange(1, self.max_depth + 1, dtype=q.dtype, device=q.device)).sum()

    def rounds(self, quantile: float) -> int:
        """Fewest rounds that carry this share of the probability."""
        total = self().detach().cumsum(0)
        return min(int((total < quantile).sum()) + 1, self.max_depth)


# ---- the network -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class AdaptiveMessagePassingConfig(GraphModelConfig):
    """Sizes of an :class:`AdaptiveMessagePassing`; ``n_layers`` is the largest number of rounds.

    Attributes:
        message, aggregation, update: those of :class:`MessagePassing`.
        filtered: learn which messages pass.
        depth_mean, depth_scale: where the distribution of the depth starts.
        quantile: share of that distribution whose rounds are run; the rest is cut off.
        prior_mean, prior_scale: folded normal that the loss pulls the depth towards, with strength ``prior_weight``.
    """

    message: Message = "gated"
    aggregation: Aggregation = "sum"
    update: Update = "residual"
    filtered: bool = True
    depth_mean: float = 2.0
    depth_scale: float = 2.0
    quantile: float = 0.99
    prior_mean: float = 2.0
    prior_scale: float = 10.0
    prior_weight: float = 1e-3

    def faults(self) -> list[str]:
        """Everything that is wrong with the sizes, one line each."""
        found = [*super().faults(), *positive(self, "depth_scale", "prior_scale", "quantile")]
        found += [*in_range(self, "quantile", 0, 1), *in_range(self, "prior_weight", 0)]
        return [*found, *in_range(self, "depth_mean", 0), *in_range(self, "prior_mean", 0)]

    @classmethod
    def tiny(cls, **changes: object) -> Self:
        """A model that builds and trains on a CPU in under a second."""
        sizes: dict[str, object] = {"d_in": 6, "d_model": 8, "d_out": 3, "n_layers": 3}
        return cls(**{**sizes, **changes})  # type: ignore[arg-type]


class AdaptiveMessagePassing(NexusModule):
    """Rounds of message passing; the answer is the mean of the answers after each, weighed by the depth learnt."""

    config_class = AdaptiveMessagePassingConfig
    config: AdaptiveMessagePassingConfig

    def __init__(self, config: AdaptiveMessagePassingConfig | Mapping[str, Any]) -> None:
        super().__init__(config)
        c = self.config
        self.encoder = nn.Linear(c.d_in, c.d_model)
        self.rounds = nn.ModuleList(
            MessagePassing(c.d_model, c.message, c.aggregation, c.update) for _ in range(c.n_layers)
        )
        self.filters = nn.ModuleList(nn.Linear(c.d_in, c.d_model) for _ in range(c.n_layers if c.filtered else 0))
        for gate in self.filters:  # they start open: six half-open ones in a row would let 2 % through
            nn.init.constant_(gate.get_parameter("bias"), 2.0)
        self.readouts = nn.ModuleList(nn.Linear(c.d_model, c.d_out) for _ in range(c.n_layers))
        self.depth = DepthDistribution(c.n_layers, c.depth_mean, c.depth_scale)

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        """Answer (N or G, d_out) for nodes ``x`` (N, d_in); see `answers` for that of each round."""
        answers = self.answers(x, graph)
        q = self.depth()[: len(answers)]
        return torch.einsum("l,lno->no", q / q.sum(), answers)

    def answers(self, x: Tensor, graph: Graph) -> Tensor:
        """The answer after each round that is run, (rounds, N or G, d_out)."""
        c, h, found = self.config, self.encoder(x), []
        for i in range(self.depth.rounds(c.quantile)):
            let_through = torch.sigmoid(self.filters[i](x)) if c.filtered else None
            h = F.dropout(F.relu(self.rounds[i](h, graph, let_through)), c.dropout, self.training)
            found.append(pool(self.readouts[i](h), graph, c.pooling))
        return torch.stack(found)

    def depth_penalty(self) -> Tensor:
        """``prior_weight * KL(q || prior)``, to be added to the loss: the bound's term for the depth."""
        c = self.config
        prior = DepthDistribution(c.n_layers, c.prior_mean, c.prior_scale).to(self.depth.mean)
        q, p = self.depth(), prior().detach()
        return c.prior_weight * (q * (q / p).log()).sum()

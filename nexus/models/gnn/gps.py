"""GPS: every layer is local message passing beside attention over all nodes, on top of where-am-I features.

The one idea: a recipe of three independent parts: positional and structural encodings, a local message-passing layer,
and global attention that needs no edges; their sum goes through an MLP.
Paper: Rampasek et al. 2022, "Recipe for a General, Powerful, Scalable Graph Transformer" (arXiv:2205.12454), eq. 1 to
4; local layer: GINE, Hu et al. 2020 (arXiv:1905.12265), or gated messages; sign-invariant encoder of eigenvectors: Lim
et al. 2022 (arXiv:2202.13013), eq. 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nexus.core.base import NexusModule, divides, fault, in_range, positive
from nexus.data.graph import Graph
from nexus.models.gnn._config import GraphModelConfig
from nexus.models.gnn._kernels import chunks, neighbour_sum, pool, sum_of_edges, sum_of_out_edges
from nexus.models.gnn.message_passing import MessagePassing

Local = Literal["gine", "gated", "none"]
Norm = Literal["batch", "layer"]


# ---- local: GINE -----------------------------------------------------------------------------------------------------


def gine_sum(x: Tensor, attr: Tensor, weight: Tensor, bias: Tensor, graph: Graph) -> Tensor:
    """``sum over j of ReLU(x[j] + W attr[e] + b)`` (arXiv:1905.12265, appendix), a few edges at a time.

    Args:
        x: (n_sources, D). attr: (E, A). weight: (D, A). bias: (D,).

    Returns:
        (n_nodes, D).
    """
    return _GINESum.apply(x, attr, weight, bias, graph)


def _message(x: Tensor, attr: Tensor, weight: Tensor, bias: Tensor, graph: Graph, part: slice) -> Tensor:
    return torch.addmm(bias, attr[part], weight.t()).add_(x.index_select(0, graph.src[part])).relu_()


class _GINESum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, attr: Tensor, weight: Tensor, bias: Tensor, graph: Graph) -> Tensor:
        ctx.graph = graph
        ctx.save_for_backward(x, attr, weight, bias)
        messages = x.new_empty(graph.n_edges, x.shape[1])
        for part in chunks(graph.n_edges, x.shape[1]):
            messages[part] = _message(x, attr, weight, bias, graph, part)
        return sum_of_edges(messages, graph)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, attr, weight, bias), graph = ctx.saved_tensors, ctx.graph
        dz = x.new_empty(graph.n_edges, x.shape[1])
        for part in chunks(graph.n_edges, x.shape[1]):
            message = _message(x, attr, weight, bias, graph, part)
            arrived = grads[0].index_select(0, graph.dst[part])
            torch.ops.aten.threshold_backward.grad_input(arrived, message, 0, grad_input=dz[part])
        dattr = dz @ weight if ctx.needs_input_grad[1] else None
        return sum_of_out_edges(dz, graph), dattr, dz.t() @ attr, dz.sum(0), None


class GINELayer(nn.Module):
    """``MLP((1 + eps) x_i + sum over j of ReLU(x_j + W e_ij + b))``, with two linear maps in the MLP.

    Args:
        d_model: width in and out. edge_dim: features of an edge; 0 for none.
    """

    def __init__(self, d_model: int, edge_dim: int = 0) -> None:
        super().__init__()
        self.eps = nn.Parameter(torch.zeros(1))
        self.edge_proj = nn.Linear(edge_dim, d_model) if edge_dim else None
        self.mlp = nn.Sequential(nn.Linear(d_model, d_model), nn.ReLU(), nn.Linear(d_model, d_model))

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        """Map ``x`` (N, d_model) to the same shape."""
        if self.edge_proj is None:
            got = neighbour_sum(F.relu(x), graph)
        elif graph.edge_attr is None:
            raise ValueError("the layer was made for edges with features; make the graph with edge_attr")
        else:
            got = gine_sum(x, graph.edge_attr, self.edge_proj.weight, self.edge_proj.bias, graph)
        y: Tensor = self.mlp(got + (1 + self.eps) * x)
        return y


# ---- global: attention within each graph of the batch ----------------------------------------------------------------


class GlobalAttention(nn.Module):
    """Every node attends to every node of its own graph.

    Args:
        d_model: width in and out. n_heads: number of heads; divides ``d_model``.
        dropout: share of attention weights set to zero in training.
    """

    def __init__(self, d_model: int, n_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"n_heads={n_heads}: must divide d_model={d_model}; use a divisor, for example 1")
        self.n_heads, self.dropout = n_heads, dropout
        self.qkv_proj = nn.Linear(d_model, 3 * d_model)
        self.o_proj = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        """Map ``x`` (N, d_model) to the same shape. Only real nodes are projected; the padding is none of the work."""
        slots, mask, longest = graph.padded
        qkv = self.qkv_proj(x)
        if mask is not None:
            qkv = qkv.new_zeros(graph.n_graphs * longest, qkv.shape[1]).index_copy(0, slots, qkv)
        q, k, v = qkv.view(graph.n_graphs, longest, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)  # each (G, H, T, C)
        seen = None if mask is None else mask[:, None, None]
        y = F.scaled_dot_product_attention(q, k, v, seen, self.dropout if self.training else 0.0)
        flat = y.transpose(1, 2).reshape(graph.n_graphs * longest, -1)
        out: Tensor = self.o_proj(flat if mask is None else flat.index_select(0, slots))
        return out


# ---- the layer -------------------------------------------------------------------------------------------------------


def make_norm(kind: Norm, width: int) -> nn.Module:
    """Batch norm over all nodes of a batch (the paper's), or layer norm (indifferent to the rest of the batch)."""
    return nn.BatchNorm1d(width) if kind == "batch" else nn.LayerNorm(width)


class GPSLayer(nn.Module):
    """One layer (eq. 1 to 4): ``X' = norm(Y + MLP(Y))`` with ``Y = norm(X + local(X)) + norm(X + global(X))``.

    Args:
        d_model: width in and out. n_heads: of the global attention; 0 leaves it out.
        local: the message passing: "gine", "gated", or "none" for a plain transformer.
        edge_dim: features of an edge for "gine"; 0 for none.
        norm: "batch" (paper) or "layer". dropout: after each part. attn_dropout: of attention weights.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int = 4,
        *,
        local: Local = "gine",
        edge_dim: int = 0,
        norm: Norm = "batch",
        dropout: float = 0.0,
        attn_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if local == "none" and not n_heads:
            raise ValueError("local='none' and n_heads=0 leave nothing of the layer; keep one of the two")
        self.dropout = dropout
        self.local: nn.Module | None = None
        if local != "none":
            self.local = GINELayer(d_model, edge_dim) if local == "gine" else MessagePassing(d_model)
        self.attention = GlobalAttention(d_model, n_heads, attn_dropout) if n_heads else None
        self.local_norm = make_norm(norm, d_model) if self.local is not None else None
        self.attention_norm = make_norm(norm, d_model) if n_heads else None
        self.mlp = nn.Sequential(
            nn.Linear(d_model, 2 * d_model),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(2 * d_model, d_model),
            nn.Dropout(dropout),
        )
        self.norm = make_norm(norm, d_model)

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        """Map ``x`` (N, d_model) to the same shape."""
        parts = []
        for branch, norm in ((self.local, self.local_norm), (self.attention, self.attention_norm)):
            if branch is not None and norm is not None:
                parts.append(norm(x + F.dropout(branch(x, graph), self.dropout, self.training)))
        y = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        out: Tensor = self.norm(y + self.mlp(y))
        return out


class SignInvariantEncoder(nn.Module):
    """Eigenvectors to features indifferent to their signs: ``rho(sum over k of phi(v_k) + phi(-v_k))``.

    Args:
        d_out: width out.
    """

    def __init__(self, d_out: int) -> None:
        super().__init__()
        self.phi = nn.Sequential(nn.Linear(2, 2 * d_out), nn.ReLU(), nn.Linear(2 * d_out, d_out), nn.ReLU())
        self.rho = nn.Linear(d_out, d_out)

    def forward(self, pairs: Tensor) -> Tensor:
        """Map (N, k, 2), from :func:`laplacian_encoding`, to (N, d_out)."""
        flip = pairs.new_tensor([-1.0, 1.0])  # the entry changes its sign, the eigenvalue does not
        out: Tensor = self.rho((self.phi(pairs) + self.phi(pairs * flip)).sum(1))
        return out


# ---- the model -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class GPSConfig(GraphModelConfig):
    """Sizes of a :class:`GPS`.

    Attributes:
        walk_steps: length of the random-walk encoding; 0 for none. laplacian_k: eigenvectors; 0 for none.
        d_encoding: features that each encoding becomes; the rest of ``d_model`` is for the node's own.
        n_heads, local, edge_dim, norm, attn_dropout: those of :class:`GPSLayer`.
    """

    n_heads: int = 4
    local: Local = "gine"
    edge_dim: int = 0
    norm: Norm = "batch"
    attn_dropout: float = 0.0
    walk_steps: int = 0
    laplacian_k: int = 0
    d_encoding: int = 8

    def faults(self) -> list[str]:
        """Everything that is wrong with the sizes, one line each."""
        found = [*super().faults(), *positive(self, "d_encoding"), *divides(self, "n_heads", "d_model")]
        for name in ("n_heads", "edge_dim", "walk_steps", "laplacian_k"):
            found += in_range(self, name, 0)
        found += in_range(self, "attn_dropout", 0, 1, open_high=True)
        if self.own_width <= 0:
            found.append(
                fault("d_encoding", self.d_encoding, f"leaves nothing of d_model = {self.d_model}", "make it smaller")
            )
        if self.local == "none" and not self.n_heads:
            found.append(fault("n_heads", 0, "with local = 'none' leaves nothing of a layer", "keep one of the two"))
        return found

    @property
    def own_width(self) -> int:
        """Width that the node's own features get."""
        return self.d_model - self.d_encoding * (bool(self.walk_steps) + bool(self.laplacian_k))

    @classmethod
    def tiny(cls, **changes: object) -> Self:
        """A model that builds and trains on a CPU in under a second."""
        sizes: dict[str, object] = {
            "d_in": 6, "d_model": 16, "d_out": 3, "n_layers": 2, "n_heads": 2, "edge_dim": 4, "walk_steps": 5,
            "laplacian_k": 3, "d_encoding": 4, "pooling": "mean",
        }  # fmt: skip
        return cls(**{**sizes, **changes})  # type: ignore[arg-type]


class GPS(NexusModule):
    """Encodings beside the node's features, GPS layers, pooling, and an MLP that answers."""

    config_class = GPSConfig
    config: GPSConfig

    def __init__(self, config: GPSConfig | Mapping[str, Any]) -> None:
        super().__init__(config)
        c = self.config
        self.encoder = nn.Linear(c.d_in, c.own_width)
        self.walk_encoder = (
            nn.Sequential(nn.BatchNorm1d(c.walk_steps), nn.Linear(c.walk_steps, c.d_encoding)) if c.walk_steps else None
        )
        self.laplacian_encoder = SignInvariantEncoder(c.d_encoding) if c.laplacian_k else None
        self.layers = nn.ModuleList(
            GPSLayer(
                c.d_model,
                c.n_heads,
                local=c.local,
                edge_dim=c.edge_dim,
                norm=c.norm,
                dropout=c.dropout,
                attn_dropout=c.attn_dropout,
            )
            for _ in range(c.n_layers)
        )
        self.head = nn.Sequential(nn.Linear(c.d_model, c.d_model), nn.ReLU(), nn.Linear(c.d_model, c.d_out))

    def forward(self, x: Tensor, graph: Graph, walk: Tensor | None = None, laplacian: Tensor | None = None) -> Tensor:
        """Answer for nodes or graphs.

        Args:
            x: (N, d_in). walk: (N, walk_steps), from :func:`random_walk_encoding`.
            laplacian: (N, laplacian_k, 2), from :func:`laplacian_encoding`.

        Returns:
            (N or G, d_out).

        Raises:
            ValueError: an encoding that the configuration names is missing, or one is given that it does not name.
        """
        parts = [self.encoder(x)]
        for name, encoder, given in (
            ("walk", self.walk_encoder, walk),
            ("laplacian", self.laplacian_encoder, laplacian),
        ):
            if (encoder is None) != (given is None):
                what = "is missing" if given is None else "is given, but the configuration has no such encoding"
                raise ValueError(f"{name} {what}; pass exactly the encodings that the configuration names")
            if encoder is not None:
                parts.append(encoder(given))
        h = torch.cat(parts, dim=-1)
        for layer in self.layers:
            h = layer(h, graph)
        out: Tensor = self.head(pool(h, graph, self.config.pooling))
        return out

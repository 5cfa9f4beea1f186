"""Sums over neighbours without a message for each edge in memory: what all graph models are built from.

The one idea: with edges sorted by target, "sum of weight times source" is a bag of table rows, which torch gathers
and adds in one pass. Its gradients are the same two operations again: a bag over the reversed edges for the table, and
a dot product along each edge for the weights. Each is an autograd function of its own, differentiable once.

Shapes: node features (N, D) with D = heads * channels, edge weights and scores (E, H), edges in the order of the graph.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nexus.data.graph import Graph

Aggregation = Literal["sum", "mean", "max", "softmax"]
CHUNK = 1 << 17  # numbers of one chunk of edges: it stays in the cache


def chunks(n_edges: int, width: int) -> Iterator[slice]:
    """Slices of the edges, so that a slice times ``width`` numbers stays in the cache."""
    step = max(CHUNK // max(width, 1), 256)
    return (slice(i, min(i + step, n_edges)) for i in range(0, n_edges, step))


# ---- sum over neighbours ---------------------------------------------------------------------------------------------


def neighbour_sum(x: Tensor, graph: Graph, weight: Tensor | None = None) -> Tensor:
    """``out[i] = sum over edges j -> i of weight * x[j]``; 0 for a node without edges.

    Args:
        x: (n_sources, D). weight: (E, H) with H dividing D, one weight for each head's channels; None is 1.

    Returns:
        (n_nodes, D).
    """
    return _NeighbourSum.apply(x, weight, graph)


def _weighted_bags(x: Tensor, graph: Graph, weight: Tensor | None) -> Tensor:
    """`neighbour_sum` without gradients. A head is a block of the table, so that a row is one head's channels."""
    if not graph.n_edges:
        return x.new_zeros(graph.n_nodes, x.shape[1])
    heads = 1 if weight is None else weight.shape[1]
    rows, offsets = graph.bags(heads)
    table = x if heads == 1 else x.view(len(x), heads, -1).transpose(0, 1).reshape(heads * len(x), -1)
    flat = None if weight is None else weight.t().reshape(-1)
    out = bag(rows, table, offsets, flat)
    return out if heads == 1 else out.view(heads, graph.n_nodes, -1).transpose(0, 1).reshape(graph.n_nodes, -1)


def bag(rows: Tensor, table: Tensor, offsets: Tensor, weight: Tensor | None = None) -> Tensor:
    """Sums of table rows, bag after bag; weighted if weights are given."""
    return F.embedding_bag(
        rows, table.contiguous(), offsets, mode="sum", per_sample_weights=weight, include_last_offset=True
    )


class _NeighbourSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, graph: Graph) -> Tensor:
        ctx.graph = graph
        ctx.save_for_backward(x if weight is not None else None, weight)
        return _weighted_bags(x, graph, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), graph = ctx.saved_tensors, ctx.graph
        grad = grads[0].contiguous()
        dx = dweight = None
        if ctx.needs_input_grad[0]:
            back = graph.transposed
            dx = _weighted_bags(grad, back, None if weight is None else weight.index_select(0, back.order))
        if weight is not None and ctx.needs_input_grad[1]:
            dweight = _edge_dot(grad, x, graph, weight.shape[1])
        return dx, dweight, None


# ---- dot product along edges -----------------------------------------------------------------------------------------


def edge_dot(q: Tensor, k: Tensor, graph: Graph, n_heads: int) -> Tensor:
    """``score[e, h] = q[dst of e] . k[src of e]`` over the channels of head h.

    Args:
        q: (n_nodes, D) at the targets. k: (n_sources, D) at the sources.

    Returns:
        (E, n_heads).
    """
    return _EdgeDot.apply(q, k, graph, n_heads)


def _edge_dot(q: Tensor, k: Tensor, graph: Graph, n_heads: int) -> Tensor:
    out, width = q.new_empty(graph.n_edges, n_heads), q.shape[1]
    for part in chunks(graph.n_edges, width):
        product = k.index_select(0, graph.src[part]).mul_(q.index_select(0, graph.dst[part]))
        torch.sum(product.view(len(product), n_heads, -1), -1, out=out[part])
    return out


class _EdgeDot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, graph: Graph, n_heads: int) -> Tensor:
        ctx.graph = graph
        ctx.save_for_backward(q, k)
        return _edge_dot(q, k, graph, n_heads)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (q, k), graph, grad = ctx.saved_tensors, ctx.graph, grads[0]
        back = graph.transposed
        dq = _weighted_bags(k, graph, grad) if ctx.needs_input_grad[0] else None
        dk = _weighted_bags(q, back, grad.index_select(0, back.order)) if ctx.needs_input_grad[1] else None
        return dq, dk, None, None


# ---- sums and softmax over the edges of each node --------------------------------------------------------------------


def edge_sum(values: Tensor, graph: Graph) -> Tensor:
    """Sum (N, D) of the values (E, D) of the edges that end in each node."""
    return _EdgeSum.apply(values, graph)


def sum_of_edges(values: Tensor, graph: Graph) -> Tensor:
    """:func:`edge_sum` without gradients."""
    if not graph.n_edges:
        return values.new_zeros(graph.n_nodes, values.shape[1])
    return bag(graph.edge_rows, values, graph.bags()[1])


def sum_of_out_edges(values: Tensor, graph: Graph) -> Tensor:
    """Sum (n_sources, D) of the values (E, D) of the edges that start in each source; without gradients."""
    if not graph.n_edges:
        return values.new_zeros(graph.n_sources, values.shape[1])
    back = graph.transposed
    return bag(back.order_rows, values, back.bags()[1])


class _EdgeSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, graph: Graph) -> Tensor:
        ctx.graph = graph
        return sum_of_edges(values, graph)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0].index_select(0, ctx.graph.dst), None


def edge_softmax(scores: Tensor, graph: Graph) -> Tensor:
    """Softmax of the scores (E, H) over the edges that end in one node, each head for itself."""
    return _EdgeSoftmax.apply(scores, graph)


def edge_max(values: Tensor, graph: Graph) -> Tensor:
    """Largest value (N, H) of the edges (E, H) that end in each node; -inf for a node without edges. No gradient."""
    return torch.segment_reduce(values, "max", offsets=graph.ptr, axis=0, unsafe=True)


class _EdgeSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, graph: Graph) -> Tensor:
        if not graph.n_edges:
            weight = scores.clone()
        else:  # the largest score is taken off, so that no exponential overflows
            weight = edge_max(scores, graph).index_select(0, graph.dst).neg_().add_(scores).exp_()
            weight.div_(sum_of_edges(weight, graph).index_select(0, graph.dst))
        ctx.graph = graph
        ctx.save_for_backward(weight)
        return weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (weight,), graph = ctx.saved_tensors, ctx.graph
        product = weight * grads[0]
        mean = sum_of_edges(product, graph).index_select(0, graph.dst)
        return product.sub_(mean.mul_(weight)), None


def sum_edges_by_head(weight: Tensor, attr: Tensor, graph: Graph) -> Tensor:
    """``out[i, h] = sum over edges into i of weight[e, h] * attr[e]`` for ``attr`` (E, A): (n_nodes, H, A)."""
    product = weight[:, :, None] * attr[:, None]
    return edge_sum(product.flatten(1), graph).view(graph.n_nodes, weight.shape[1], -1)


# ---- the other ways to bring neighbours together ---------------------------------------------------------------------


def neighbour_mean(x: Tensor, graph: Graph) -> Tensor:
    """Mean (N, D) of the sources' rows (n_sources, D); 0 for a node without edges.

    A sum whose weights divide, forward and backward: dividing the sums would be one more pass over them each time.
    """
    return _NeighbourMean.apply(x, graph)


class _NeighbourMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, graph: Graph) -> Tensor:
        ctx.graph = graph
        return _weighted_bags(x, graph, graph.shares(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        graph, grad = ctx.graph, grads[0].contiguous()
        return _weighted_bags(grad, graph.transposed, graph.shares(grad.dtype, back=True)), None


def neighbour_max(x: Tensor, graph: Graph) -> Tensor:
    """Largest entry of the sources' rows, channel by channel; 0 for a node without edges.

    Edges that share the largest entry share its gradient equally.
    """
    return _NeighbourMax.apply(x, graph)


class _NeighbourMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, graph: Graph) -> Tensor:
        out = _largest(x, graph)
        ctx.graph = graph
        ctx.save_for_backward(x, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, out), graph = ctx.saved_tensors, ctx.graph
        # finding the largest entries again by comparing costs less than keeping where they were
        largest = x.new_empty(graph.n_edges, x.shape[1])
        for part in chunks(graph.n_edges, x.shape[1]):
            largest[part] = x.index_select(0, graph.src[part]) == out.index_select(0, graph.dst[part])
        share = grads[0] / sum_of_edges(largest, graph).clamp_(min=1)
        for part in chunks(graph.n_edges, x.shape[1]):
            largest[part].mul_(share.index_select(0, graph.dst[part]))
        return sum_of_out_edges(largest, graph), None


def _largest(x: Tensor, graph: Graph) -> Tensor:
    """:func:`neighbour_max` without gradients."""
    if not graph.n_edges:
        return x.new_zeros(graph.n_nodes, x.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its compressed rows beta, once a process
        ones = torch.ones(graph.n_edges, dtype=x.dtype, device=x.device)
        size = (graph.n_nodes, graph.n_sources)
        rows = torch.sparse_csr_tensor(graph.ptr, graph.src, ones, size, check_invariants=False)
        out: Tensor = torch.ops.aten._sparse_mm_reduce_impl(rows, x, "amax")[0]
    return out.masked_fill((graph.degree == 0)[:, None], 0)


def neighbour_softmax(x: Tensor, graph: Graph, temperature: Tensor | float = 1.0) -> Tensor:
    """``sum of softmax(temperature * x_j) * x_j``, channel by channel: between the mean (0) and the maximum (inf)."""
    messages = x.index_select(0, graph.src)
    return edge_sum(edge_softmax(messages * temperature, graph) * messages, graph)


def aggregate(x: Tensor, graph: Graph, how: Aggregation) -> Tensor:
    """The sources' rows brought together in each node by one of the ways of :data:`Aggregation`."""
    ways = {"sum": neighbour_sum, "mean": neighbour_mean, "max": neighbour_max, "softmax": neighbour_softmax}
    if how not in ways:
        raise ValueError(f"how={how!r} is not known; use one of {', '.join(ways)}")
    return ways[how](x, graph)


# ---- from nodes to graphs --------------------------------------------------------------------------------------------


def pool(x: Tensor, graph: Graph, how: Literal["none", "sum", "mean"]) -> Tensor:
    """Nodes (N, D) brought together to graphs (G, D), or left alone."""
    if how == "none":
        return x
    out = x.new_zeros(graph.n_graphs, x.shape[1]).index_add(0, graph.graph_of_node, x)
    return out if how == "sum" else out / graph.node_ptr.diff().clamp(min=1).to(x)[:, None]

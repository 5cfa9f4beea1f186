"""Costs of graph networks: linear maps of the nodes, and what of an edge is a product; sums over edges are none.

Graphs are rings in which every node has edges from its ``degree`` next ones, so n_edges = n_nodes * degree.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from nexus.core.base import NexusModule
from nexus.data.graph import Graph
from nexus.models.gnn.base_gnn import BaseGNN
from nexus.models.gnn.exphormer import Exphormer, with_expander
from nexus.models.gnn.gatv2 import GATv2
from nexus.models.gnn.gps import GPS
from nexus.models.gnn.graph_sage import GraphSAGE
from nexus.models.gnn.message_passing import AdaptiveMessagePassing
from nexus.zoo.formulas._entry import Entry
from nexus.zoo.proof import Example

SIZES = (
    {"n_nodes": 9, "degree": 2, "d_in": 5, "d_model": 8, "d_out": 3, "n_layers": 3},
    {"n_nodes": 14, "degree": 3, "d_in": 7, "d_model": 12, "d_out": 4, "n_layers": 2},
)
EDGES = {"n_edges": "n_nodes * degree"}
HEAD = "d_model ** 2 + d_model * d_out"  # weights of the MLP that answers


def ring(n_nodes: int, degree: int, edge_dim: int = 0) -> Graph:
    """Edges into each node from the next ``degree`` ones."""
    target = torch.arange(n_nodes).repeat_interleave(degree)
    source = (target + 1 + torch.arange(degree).repeat(n_nodes)) % n_nodes
    attr = torch.randn(n_nodes * degree, edge_dim) if edge_dim else None
    return Graph.from_edges(torch.stack((source, target)), n_nodes, attr)


def _over(kind: Callable[..., NexusModule], **more: object) -> Callable[..., Example]:
    """A model over a ring, configured by the other sizes."""

    def build(n_nodes: int, degree: int, **sizes: int) -> Example:
        graph = ring(n_nodes, degree, sizes.get("edge_dim", 0))
        return Example(kind({**sizes, **more}), (torch.randn(n_nodes, sizes["d_in"]), graph))

    return build


def _gps(n_nodes: int, degree: int, **sizes: int) -> Example:
    graph, x = ring(n_nodes, degree, sizes["edge_dim"]), torch.randn(n_nodes, sizes["d_in"])
    walk, laplacian = torch.randn(n_nodes, sizes["walk_steps"]), torch.randn(n_nodes, sizes["laplacian_k"], 2)
    return Example(GPS(sizes), (x, graph, walk, laplacian))


def _exphormer(n_nodes: int, degree: int, **sizes: int) -> Example:
    graph = with_expander(ring(n_nodes, degree), n_virtual=sizes["n_virtual"])
    return Example(Exphormer(sizes), (torch.randn(n_nodes, sizes["d_in"]), graph))


def _with(*more: dict[str, int]) -> tuple[dict[str, int], ...]:
    return tuple(one | other for one, other in zip(SIZES, more, strict=True))


INNER = "(n_layers - 2) * d_model ** 2"
ENTRIES = {
    "graph_sage": Entry(
        _over(GraphSAGE), SIZES,
        where={"weights": f"2 * (d_in * d_model + {INNER} + d_model * d_out)"},
        parameters="weights + (n_layers - 1) * d_model + d_out",
        flops="2 * n_nodes * weights",
        activations="E * n_nodes * (2 * d_in + (2 * n_layers - 3) * d_model)",
        note="aggregator 'mean', two layers or more",
    ),
    "base_gnn": Entry(
        _over(BaseGNN), _with({"n_heads": 2, "edge_dim": 4}, {"n_heads": 3, "edge_dim": 5}),
        where={
            **EDGES,
            "inner": "(n_layers - 1) * d_model + n_heads * d_out",
            "weights": f"4 * d_in * d_model + 4 * {INNER} + d_model * d_out * (3 * n_heads + 1)",
            "gates": "3 * ((n_layers - 1) * d_model + d_out)",
        },
        parameters="weights + gates + (3 + edge_dim) * inner + (n_layers - 1) * 3 * d_model + d_out",
        flops="2 * n_nodes * (weights + gates + 2 * inner * edge_dim) + 2 * n_edges * n_layers * n_heads * edge_dim",
        activations="E * n_nodes * (d_in + (n_layers - 1) * (10 * d_model + 2) + d_out * (3 * n_heads + 5) "
                    "+ 2 * n_layers) + E * n_layers * n_heads * (n_nodes * edge_dim + n_edges) "
                    "+ n_edges * (E * edge_dim + 8)",
        note="with features of edges, two layers or more",
    ),
    "gatv2": Entry(
        _over(GATv2), _with({"n_heads": 2}, {"n_heads": 3}),
        where={
            **EDGES,
            "inner": "(n_layers - 1) * d_model + n_heads * d_out",
            "weights": f"2 * (d_in * d_model + {INNER} + n_heads * d_model * d_out)",
        },
        parameters="weights + 3 * inner + (n_layers - 1) * d_model + d_out",
        flops="2 * n_nodes * weights + 2 * (n_edges + n_nodes) * inner * n_heads",
        activations="E * n_nodes * (d_in + 4 * (n_layers - 1) * d_model + 2 * n_heads * d_out) "
                    "+ E * n_layers * (n_edges + n_nodes) * n_heads",
        note="every node also attends to itself; two layers or more",
    ),
    "gps": Entry(
        _gps, _with({"n_heads": 2, "edge_dim": 4, "walk_steps": 5, "laplacian_k": 3, "d_encoding": 2},
                    {"n_heads": 3, "edge_dim": 5, "walk_steps": 6, "laplacian_k": 4, "d_encoding": 3}),
        where={
            **EDGES,
            "own": "d_model - 2 * d_encoding",
            "layer": "10 * d_model ** 2",
            "signs": "2 * d_encoding * (2 + d_encoding)",
        },
        parameters="n_layers * (layer + (16 + edge_dim) * d_model + 1) + own * (d_in + 1) "
                   "+ walk_steps * (2 + d_encoding) + signs + d_encoding ** 2 + 5 * d_encoding "
                   f"+ {HEAD} + d_model + d_out",
        flops="n_layers * (2 * n_nodes * layer + 2 * n_edges * edge_dim * d_model + 4 * n_nodes ** 2 * d_model) "
              "+ 2 * n_nodes * (own * d_in + walk_steps * d_encoding + 2 * laplacian_k * signs + d_encoding ** 2) "
              f"+ 2 * n_nodes * ({HEAD})",
        activations="E * n_layers * (n_nodes * (13 * d_model + n_heads) + 6 * d_model + 1) "
                    "+ E * n_nodes * (2 * d_model + d_in + 2 * walk_steps + 2 * laplacian_k * (3 * d_encoding + 2) "
                    "+ d_encoding) + 2 * E * walk_steps + E * n_edges * edge_dim",
        note="GINE beside attention over one graph, both encodings, an answer for each node",
    ),
    "exphormer": Entry(
        _exphormer, _with({"n_heads": 2, "n_virtual": 1}, {"n_heads": 3, "n_virtual": 2}),
        where={
            "all_nodes": "n_nodes + n_virtual", "layer": "7 * d_model ** 2",
            "all_edges": "n_nodes * (degree + 4 + 2 * n_virtual)",
        },
        parameters="n_layers * (layer + d_model ** 2 + 11 * d_model) + d_model * (d_in + 1 + n_virtual) "
                   f"+ {HEAD} + d_model + d_out",
        flops="n_layers * (2 * all_nodes * layer + 8 * d_model ** 2) + 2 * n_nodes * d_in * d_model "
              f"+ 2 * n_nodes * ({HEAD})",
        activations="E * n_layers * (13 * all_nodes * d_model + 8 * d_model + all_edges * n_heads) "
                    "+ E * (n_nodes * (d_in + d_model) + all_nodes * d_model)",
        note="an expander of degree 4, so four kinds of edges; one graph, an answer for each node",
    ),
    "message_passing": Entry(
        _over(AdaptiveMessagePassing, quantile=1.0), SIZES,
        where={"round": "4 * d_model ** 2 + d_in * d_model + d_model * d_out"},
        parameters="n_layers * (round + 5 * d_model + d_out) + d_model * (d_in + 1) + 2",
        flops="2 * n_nodes * (n_layers * (round + d_out) + d_in * d_model)",
        activations="E * n_nodes * ((6 * n_layers + 1) * d_model + d_in + n_layers * d_out) + E * (14 * n_layers + 13)",
        note="gated messages, filters, and all rounds run (quantile 1)",
    ),
}  # fmt: skip

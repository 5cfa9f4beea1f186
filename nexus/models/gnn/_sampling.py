"""Neighbour sampling: a few neighbours of a few neighbours of some seeds, as one small graph for each layer.

The one idea: draw at most k neighbours of each node, uniformly and without replacement, hop after hop, and number the
nodes in the order they are found. Then the nodes that a layer needs are the first ones, and its graph is the first rows
of the last one. Paper: Hamilton et al. 2017 (arXiv:1706.02216), appendix A, algorithm 2; drawing: Floyd's algorithm
(Bentley and Floyd 1987), k steps whatever the degree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nexus.data.graph import Graph


class Sample(NamedTuple):
    """What was drawn for some seeds.

    Attributes:
        nodes: (n,) the nodes found, seeds first; take their features by it.
        blocks: one graph a layer, first layer first; the last one ends in the seeds.
    """

    nodes: Tensor
    blocks: list[Graph]


def floyd(sizes: Tensor, k: int, generator: torch.Generator | None = None) -> Tensor:
    """For each size n a uniformly random set of k different numbers below n; n >= k everywhere. (len, k)."""
    chosen = sizes.new_full((len(sizes), k), -1)
    for step in range(k):
        top = sizes - k + step  # draw from 0 ... top; if taken already, top itself is still free
        draw = torch.rand(len(sizes), generator=generator, dtype=torch.float64, device=sizes.device)
        pick = (draw * (top + 1)).long().minimum(top)
        taken = (chosen[:, :step] == pick[:, None]).any(1)
        chosen[:, step] = torch.where(taken, top, pick)
    return chosen


class NeighborSampler:
    """Draws the neighbourhoods of batches of seeds.

    Args:
        graph: the whole graph.
        fan_outs: most neighbours drawn for a node, one number for each layer, of the last layer first (as the paper's
            S_1, S_2: neighbours of the seeds, neighbours of those); -1 takes all.
        seed: of the draws; two samplers with one seed draw the same.
    """

    def __init__(self, graph: Graph, fan_outs: Sequence[int], seed: int = 0) -> None:
        if not fan_outs or any(k == 0 or k < -1 for k in fan_outs):
            raise ValueError(f"fan_outs={list(fan_outs)}: give a positive number for each layer, or -1 for all")
        self.graph, self.fan_outs = graph, list(fan_outs)
        self.generator = torch.Generator(graph.src.device).manual_seed(seed)

    def sample(self, seeds: Tensor) -> Sample:
        """Draw for the seeds (n,), which must be different nodes.

        Raises:
            ValueError: a seed occurs twice.
        """
        place = self.graph.src.new_full((self.graph.n_nodes,), -1)  # where a node stands among those found
        place[seeds] = torch.arange(len(seeds), device=seeds.device)
        if len(torch.unique(seeds)) != len(seeds):
            raise ValueError("a seed occurs twice; give each node once")
        nodes, front, edges, reached = seeds, seeds, [], [len(seeds)]
        for k in self.fan_outs:
            drawn = self._draw(front, k)
            edges.append(drawn)
            fresh = torch.unique(self.graph.src[drawn])
            front = fresh[place[fresh] < 0]
            place[front] = torch.arange(len(front), device=seeds.device) + len(nodes)
            nodes = torch.cat((nodes, front))
            reached.append(len(nodes))
        return Sample(nodes, self._blocks(torch.cat(edges), [len(e) for e in edges], reached, place))

    def _draw(self, nodes: Tensor, k: int) -> Tensor:
        """Edges of the nodes, all of them or k of each."""
        degree, start = self.graph.degree[nodes], self.graph.ptr[nodes]
        few = degree <= k if k > 0 else torch.ones_like(degree, dtype=torch.bool)
        count = degree[few]
        first = torch.repeat_interleave(start[few] - (count.cumsum(0) - count), count)
        every = first + torch.arange(len(first), device=first.device)
        if bool(few.all()):
            return every
        some = start[~few, None] + floyd(degree[~few], k, self.generator)
        return torch.cat((every, some.flatten()))

    def _blocks(self, edges: Tensor, counts: list[int], reached: list[int], place: Tensor) -> list[Graph]:
        """The graph of each layer: layer l of L goes from what L - l + 1 hops reach to what L - l hops reach."""
        whole = torch.stack((place[self.graph.src[edges]], place[self.graph.dst[edges]]))
        blocks = []
        for hops in range(len(counts), 0, -1):
            used = sum(counts[:hops])
            attr, kind = self.graph.edge_attr, self.graph.edge_type
            blocks.append(
                Graph.from_edges(
                    whole[:, :used],
                    reached[hops - 1],
                    None if attr is None else attr[edges[:used]],
                    None if kind is None else kind[edges[:used]],
                    n_sources=reached[hops],
                )
            )
        return blocks

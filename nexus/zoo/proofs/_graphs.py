"""What the proofs of graph models share: graphs with every awkward thing in them, and weights copied across."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from nexus.data.graph import Graph
from nexus.zoo.proof import Comparison

M = TypeVar("M", bound=nn.Module)


def load_oracle() -> None:
    """Import torch_geometric; while it does, it scripts functions in a way that torch warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        importlib.import_module("torch_geometric.nn")
        importlib.import_module("torch_geometric.transforms")


def awkward_graph(seed: int, nodes: int = 14, edges: int = 40, edge_dim: int = 0) -> tuple[Tensor, Graph]:
    """Edges as a list and as a graph, in float64: doubled edges, loops, and a last node without any edge into it.

    Returns:
        (2, E) edges in the graph's order, so that features of edges line up, and the graph.
    """
    draw = torch.Generator().manual_seed(1000 + seed)
    sources = torch.randint(nodes, (edges,), generator=draw)
    targets = torch.randint(nodes - 1, (edges,), generator=draw)
    sources[1], targets[1] = sources[0], targets[0]  # one edge twice
    targets[2] = sources[2] % (nodes - 1)
    attr = torch.randn(edges, edge_dim, generator=draw, dtype=torch.float64) if edge_dim else None
    graph = Graph.from_edges(torch.stack((sources, targets)), nodes, attr)
    return graph.edge_index, graph


def randomised(module: M, seed: int) -> M:
    """The module in float64 with every parameter random: nothing may hide behind a zero or a one."""
    draw = torch.Generator().manual_seed(2000 + seed)
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=draw, dtype=torch.float64))
    return module


def features(rows: int, width: int, seed: int) -> Tensor:
    """Random float64 features that want a gradient."""
    draw = torch.Generator().manual_seed(3000 + seed)
    return torch.randn(rows, width, generator=draw, dtype=torch.float64).requires_grad_()


class Pair(NamedTuple):
    """A parameter or input of ours and its counterpart; ``rows`` where theirs is a part of ours."""

    name: str
    ours: Tensor
    theirs: Tensor
    rows: slice | None = None

    def mine(self, tensor: Tensor) -> Tensor:
        """What of a tensor of ours belongs to theirs, in its shape."""
        return (tensor if self.rows is None else tensor[self.rows]).view_as(self.theirs)


def thirds(name: str, ours: nn.Linear, theirs: list[nn.Module]) -> list[Pair]:
    """Pairs for one linear map of ours that holds several of theirs, one below the other."""
    found, width = [], ours.out_features // len(theirs)
    for i, other in enumerate(theirs):
        rows = slice(i * width, (i + 1) * width)
        found.append(Pair(f"{name}.weight[{i}]", ours.weight, other.get_parameter("weight"), rows))
        if ours.bias is not None:
            found.append(Pair(f"{name}.bias[{i}]", ours.bias, other.get_parameter("bias"), rows))
    return found


def linear(name: str, ours: nn.Module, theirs: nn.Module) -> list[Pair]:
    """Pairs for two modules with the same parameters under the same names."""
    return [Pair(f"{name}.{n}", p, theirs.get_parameter(n)) for n, p in ours.named_parameters()]


def compare(
    label: str, pairs: Sequence[Pair], ours: Callable[[], Tensor], theirs: Callable[[], Tensor]
) -> Iterator[Comparison]:
    """Copy our weights across, then compare outputs, and all gradients under one random weighting of the outputs.

    Raises:
        AssertionError: a parameter of ours is in no pair, or gets no gradient.
    """
    with torch.no_grad():
        for pair in pairs:
            if pair.ours is not pair.theirs:
                pair.theirs.copy_(pair.mine(pair.ours))
    one, other = ours(), theirs()
    yield Comparison(f"{label}: output", one, other)
    if one.shape != other.shape:
        return
    draw = torch.Generator().manual_seed(7)
    weighting = torch.randn(other.shape, generator=draw, dtype=torch.float64)
    wanted = list({id(pair.ours): pair.ours for pair in pairs}.values())
    mine = dict(zip(map(id, wanted), torch.autograd.grad((one * weighting).sum(), wanted), strict=True))
    yours = torch.autograd.grad((other * weighting).sum(), [pair.theirs for pair in pairs])
    for pair, gradient in zip(pairs, yours, strict=True):
        yield Comparison(f"{label}: gradient of {pair.name}", pair.mine(mine[id(pair.ours)]), gradient)


def covers(module: nn.Module, pairs: Sequence[Pair]) -> None:
    """Assert that every parameter of the module is compared."""
    seen = {id(pair.ours) for pair in pairs}
    left = [name for name, parameter in module.named_parameters() if id(parameter) not in seen]
    assert not left, f"not compared: {left}"

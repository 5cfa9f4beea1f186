"""Where a node stands in its graph, as features: Laplacian eigenvectors and random-walk return probabilities.

The one idea: message passing from equal features cannot tell apart nodes of a regular graph; the spectrum can (LapPE,
Dwivedi and Bresson 2021, arXiv:2012.09699, section 2.1), and so can the chance to be back after k random steps (RWSE,
Dwivedi et al. 2022, arXiv:2110.07875, eq. 8). Both are computed once for each graph, before training.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nexus.data.graph import Graph
from nexus.models.gnn._kernels import neighbour_sum

DENSE_LIMIT = 1024  # nodes up to which the whole spectrum is computed
BLOCK = 512  # start nodes whose walks are followed at a time


def random_walk_encoding(graph: Graph, steps: int, dtype: torch.dtype | None = None) -> Tensor:
    """Chance that a random walk from a node is back there after 1, 2 ... ``steps`` steps, (N, steps).

    The walks of all graphs of a batch go at once: column c starts at the c-th node of every graph.
    """
    dtype = dtype or torch.get_default_dtype()
    place = torch.arange(graph.n_nodes, device=graph.src.device) - graph.node_ptr[graph.graph_of_node]
    leave = graph.transposed.degree.clamp(min=1).to(dtype)[:, None]
    out = torch.zeros(graph.n_nodes, steps, dtype=dtype, device=graph.src.device)
    most = int(graph.node_ptr.diff().max())
    for first in range(0, most, BLOCK):
        here = ((place >= first) & (place < first + BLOCK)).nonzero()[:, 0]
        column = place[here] - first
        walk = out.new_zeros(graph.n_nodes, min(BLOCK, most - first))
        walk[here, column] = 1
        for k in range(steps):
            walk = neighbour_sum(walk / leave, graph)  # (P^T)^k, whose diagonal is that of P^k
            out[here, k] = walk[here, column]
    return out


def laplacian_encoding(graph: Graph, k: int, dtype: torch.dtype | None = None) -> Tensor:
    """The k lowest non-trivial eigenpairs of each graph's ``I - D^-1/2 A D^-1/2``: (N, k, 2), entry and eigenvalue.

    Eigenvectors have length 1 and a sign (and, for repeated eigenvalues, a basis) that means nothing: a model has to
    be indifferent to the sign, or be trained on random ones. Graphs with fewer than k + 1 nodes are filled up with 0.

    Raises:
        ValueError: an edge has no edge back.
        ImportError: a graph is larger than `DENSE_LIMIT` and scipy is missing.
    """
    out = torch.zeros(graph.n_nodes, k, 2, dtype=torch.float64)
    _check_symmetric(graph)
    for first, last in zip(graph.node_ptr[:-1].tolist(), graph.node_ptr[1:].tolist(), strict=True):
        edges = slice(int(graph.ptr[first]), int(graph.ptr[last]))
        src, dst, size = graph.src[edges].cpu() - first, graph.dst[edges].cpu() - first, last - first
        values, vectors = _lowest(src, dst, size, min(k + 1, size))
        found = len(values) - 1
        out[first:last, :found, 0] = vectors[:, 1:]
        out[first:last, :found, 1] = values[1:]
    return out.to(graph.src.device, dtype or torch.get_default_dtype())


def _lowest(src: Tensor, dst: Tensor, size: int, count: int) -> tuple[Tensor, Tensor]:
    """The lowest eigenvalues, ascending, and their vectors, of one graph's normalised Laplacian."""
    degree = torch.bincount(dst, minlength=size).double()
    scale = degree.clamp(min=1).rsqrt()
    entries = -scale[src] * scale[dst]
    if size <= DENSE_LIMIT:
        dense = torch.diag((degree > 0).double()).index_put((dst, src), entries, accumulate=True)
        values, vectors = torch.linalg.eigh(dense)
        return values[:count], vectors[:, :count]
    try:
        import scipy.sparse as sp
        from scipy.sparse.linalg import eigsh
    except ImportError:
        raise ImportError(f"eigenvectors of {size} nodes need scipy: pip install 'nexus-ai[graphs]'") from None
    diagonal = sp.diags((degree > 0).double().numpy())
    laplacian = sp.coo_matrix((entries.numpy(), (dst.numpy(), src.numpy())), (size, size)) + diagonal
    # below 0 there is nothing, so the eigenvalues nearest to a point just below are the lowest ones
    values, vectors = eigsh(laplacian.tocsc(), k=count, sigma=-1e-3, v0=scale.numpy())
    order = values.argsort()
    return torch.from_numpy(values[order]), torch.from_numpy(vectors[:, order])


def _check_symmetric(graph: Graph) -> None:
    def keys(one: Tensor, other: Tensor) -> Tensor:
        return (one * graph.n_nodes + other).sort().values

    if not torch.equal(keys(graph.src, graph.dst), keys(graph.dst, graph.src)):
        raise ValueError("an edge has no edge back, so the Laplacian is not symmetric; use graph.undirected()")

"""Graphs to learn on: seeded toy worlds with a known answer, and readers of real ones that packages carry.

Nothing is fetched here; `read_qm9` and `read_wordnet` read folders that were unpacked before.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from nexus.data.errors import DataError
from nexus.data.graph import Graph


class NodeSet(NamedTuple):
    """A graph whose nodes have classes: features (N, D), the graph, classes (N,)."""

    x: Tensor
    graph: Graph
    y: Tensor


class Labelled(NamedTuple):
    """One graph with one answer: features (N, D), the graph, a number or class."""

    x: Tensor
    graph: Graph
    y: float


# ---- toy worlds ------------------------------------------------------------------------------------------------------


def block_model(
    sizes: Sequence[int], inside: float, across: float, d_in: int = 8, noise: float = 2.0, seed: int = 0
) -> NodeSet:
    """Stochastic block model: nodes of one block are joined with chance ``inside``, others with ``across``.

    Features are a random centre of the block plus noise so large that they alone do not tell the block.
    """
    draw = torch.Generator().manual_seed(seed)
    y = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(list(sizes)))
    chance = torch.where(y[:, None] == y, inside, across)
    joined = (torch.rand(len(y), len(y), generator=draw) < chance).triu(1)
    pairs = joined.nonzero().t()
    graph = Graph.from_edges(torch.cat((pairs, pairs.flip(0)), dim=1), len(y))
    centres = torch.randn(len(sizes), d_in, generator=draw)
    return NodeSet(centres[y] + noise * torch.randn(len(y), d_in, generator=draw), graph, y)


SKIPS = (2, 3, 4, 5, 6, 9, 11, 12, 13, 16)


def skip_links(copies: int = 15, size: int = 41, seed: int = 0) -> list[Labelled]:
    """Circular skip links (Murphy et al. 2019, arXiv:1903.02541): rings of 41 nodes with chords of one of ten lengths.

    The class is the length of the chord. All graphs are 4-regular with equal features, so rounds of message passing
    cannot tell any two apart; the copies of a class are renumbered at random.
    """
    draw, found = torch.Generator().manual_seed(seed), []
    ring = torch.arange(size)
    for label, skip in enumerate(SKIPS):
        ends = torch.cat([(ring + step) % size for step in (1, -1, skip, -skip)])
        for _ in range(copies):
            names = torch.randperm(size, generator=draw)
            pairs = torch.stack((names[ring.repeat(4)], names[ends]))
            found.append(Labelled(torch.ones(size, 1), Graph.from_edges(pairs, size), label))
    return found


def dictionary_lookup(size: int, seed: int = 0) -> NodeSet:
    """The lookup task of GATv2 (arXiv:2105.14491, section 4.1): queries find the value of their key among all.

    Nodes 0 ... size - 1 hold a key and a value (in random order), nodes size ... 2 size - 1 a key only; every holder
    sends to every asker. Features are key and value plus one each (0: none), the class is the value; -1 at holders.
    """
    draw = torch.Generator().manual_seed(seed)
    values = torch.randperm(size, generator=draw)
    keys = torch.arange(size)
    x = torch.zeros(2 * size, 2, dtype=torch.long)
    x[:size] = torch.stack((keys + 1, values + 1), dim=1)
    x[size:, 0] = keys + 1
    pairs = torch.cartesian_prod(keys, keys + size).t()
    y = torch.cat((torch.full((size,), -1), values))
    return NodeSet(x, Graph.from_edges(pairs, 2 * size), y)


def relay(length: int, count: int, seed: int = 0) -> NodeSet:
    """``count`` chains of ``length + 1`` nodes: the last must tell the bit that the first was given.

    The answer is ``length`` steps away from its cause, so fewer rounds of message passing cannot find it. Features:
    the bit as -1 or 1, and whether it is the first, and the last node. Classes are -1 except at the last nodes.
    """
    draw = torch.Generator().manual_seed(seed)
    nodes = torch.arange(count * (length + 1)).view(count, -1)
    bits = torch.randint(2, (count,), generator=draw)
    x, y = torch.zeros(nodes.numel(), 3), torch.full((nodes.numel(),), -1)
    x[nodes[:, 0], 0], x[nodes[:, 0], 1], x[nodes[:, -1], 2] = bits * 2.0 - 1, 1.0, 1.0
    y[nodes[:, -1]] = bits
    pairs = torch.stack((nodes[:, :-1].flatten(), nodes[:, 1:].flatten()))
    ends = torch.arange(count + 1) * (length + 1)
    graph = Graph.from_edges(torch.cat((pairs, pairs.flip(0)), dim=1), nodes.numel(), node_ptr=ends)
    return NodeSet(x, graph, y)


# ---- real graphs -----------------------------------------------------------------------------------------------------


def karate_club() -> NodeSet:
    """Zachary's karate club (34 members, 78 ties) from networkx: which of the two clubs each went to.

    Features are the members themselves, one place each.

    Raises:
        ImportError: networkx is missing.
    """
    try:
        import networkx
    except ImportError:
        raise ImportError("the karate club comes from networkx: pip install 'nexus-ai[graphs]'") from None

    club = networkx.karate_club_graph()
    pairs = torch.tensor(list(club.edges)).t()
    y = torch.tensor([int(club.nodes[i]["club"] == "Officer") for i in range(len(club))])
    return NodeSet(torch.eye(len(club)), Graph.from_edges(torch.cat((pairs, pairs.flip(0)), dim=1), len(club)), y)


ELEMENTS = ("H", "C", "N", "O", "F")
BOND = {"H": 0.31, "C": 0.76, "N": 0.71, "O": 0.66, "F": 0.57}  # covalent radii in angstrom (Cordero et al. 2008)
BOND_SLACK = 1.25
QM9_MEMBERS = ("qm9pack/data/qm9_part?.csv",)
HARTREE_EV = 27.211386


def read_qm9(folder: str | Path, count: int, target: str = "HOMO_LUMO_gap_au", every: int = 1) -> list[Labelled]:
    """Molecules of QM9 as the package qm9pack holds them: atoms, bonds by distance, one energy in eV.

    Args:
        folder: with ``qm9pack/data/qm9_part1.csv`` and its siblings. count: how many molecules.
        target: column of the answer, an energy in hartree. every: take each ``every``-th row.

    Returns:
        Features: which element (5) and number of bonds; edges: the bond's length, spread over 8 Gaussians.
    """
    files = sorted(Path(folder).joinpath("qm9pack", "data").glob("qm9_part?.csv"))
    if not files:
        raise DataError("folder", f"{folder} holds no qm9pack/data/qm9_part?.csv", "unpack the package qm9pack there")
    rows = itertools.chain.from_iterable(_rows(path) for path in files)
    chosen = itertools.islice(rows, 0, count * every, every)
    return [molecule(_elements(r["Elements"]), json.loads(r["XYZ_Ang"]), float(r[target]) * HARTREE_EV) for r in chosen]


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _elements(text: str) -> list[str]:
    return re.findall(r"[A-Z][a-z]?", text)


def molecule(elements: Sequence[str], places: Sequence[Sequence[float]], y: float) -> Labelled:
    """Atoms and places in angstrom as a graph: two atoms are bonded if not much further apart than their radii."""
    where = torch.tensor(places, dtype=torch.float64)
    distance = torch.cdist(where, where)
    radius = torch.tensor([BOND[e] for e in elements], dtype=torch.float64)
    bonded = (distance < BOND_SLACK * (radius[:, None] + radius)) & ~torch.eye(len(elements), dtype=torch.bool)
    pairs = bonded.nonzero().t()
    length = distance[pairs[0], pairs[1]].float()
    spread = torch.exp(-(((length[:, None] - torch.linspace(0.9, 1.6, 8)) / 0.1) ** 2))
    kind = torch.nn.functional.one_hot(torch.tensor([ELEMENTS.index(e) for e in elements]), len(ELEMENTS))
    x = torch.cat((kind.float(), bonded.sum(1, keepdim=True) / 4), dim=1)
    return Labelled(x, Graph.from_edges(pairs, len(elements), spread), y)


def read_wordnet(file: str | Path, d_in: int = 128) -> NodeSet:
    """The nouns of WordNet 3.0 from its file ``data.noun``: 82,115 meanings, each under a more general one.

    The class is the lexicographer's file, one of 26 fields such as animal, food or feeling. Features are the words of
    the meaning's explanation, each hashed to one of ``d_in`` places. Edges go both ways.
    """
    path = Path(file)
    if not path.is_file():
        raise DataError("file", f"{path} does not exist", "install Debian's wordnet-base, it is in /usr/share/wordnet")
    offsets, fields, glosses, ups = [], [], [], []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.startswith(" "):  # the licence, above the data
                continue
            data, gloss = line.split(" | ", 1)
            part = data.split(" ")
            offsets.append(part[0])
            fields.append(int(part[1]) - 3)  # noun files are 03 to 28
            glosses.append(gloss)
            ups += [(part[0], part[i + 1]) for i, mark in enumerate(part) if mark in ("@", "@i")]
    place = {offset: i for i, offset in enumerate(offsets)}
    pairs = torch.tensor([(place[a], place[b]) for a, b in ups]).t()
    graph = Graph.from_edges(torch.cat((pairs, pairs.flip(0)), dim=1), len(offsets))
    return NodeSet(_hashed(glosses, d_in), graph, torch.tensor(fields))


def _hashed(texts: Sequence[str], width: int) -> Tensor:
    """Bags of hashed words, (texts, width), each divided by its length; the hash is the same on every machine."""
    x = torch.zeros(len(texts), width)
    for i, text in enumerate(texts):
        for word in re.findall(r"[a-z]+", text.lower()):
            x[i, zlib.crc32(word.encode()) % width] += 1
    return torch.nn.functional.normalize(x, dim=1)

"""The graphs to learn on are what they say they are."""

from __future__ import annotations

import pytest
import torch

from nexus.data import graph_sets as sets
from nexus.data.errors import DataError


def test_the_block_model_joins_blocks_as_often_as_it_says():
    world = sets.block_model([150, 150], 0.2, 0.02, seed=3)
    same = world.y[world.graph.src] == world.y[world.graph.dst]
    assert int(same.sum()) == pytest.approx(2 * 150 * 149 * 0.2, rel=0.05)
    assert int((~same).sum()) == pytest.approx(2 * 150 * 150 * 0.02, rel=0.15)
    again = sets.block_model([150, 150], 0.2, 0.02, seed=3)
    assert torch.equal(world.x, again.x)
    assert torch.equal(world.graph.src, again.graph.src)


def test_skip_links_are_regular_and_of_ten_kinds():
    graphs = sets.skip_links(copies=2)
    assert len(graphs) == 20
    assert {g.y for g in graphs} == set(range(10))
    assert all((g.graph.degree == 4).all() and (g.graph.transposed.degree == 4).all() for g in graphs)
    assert not torch.equal(graphs[0].graph.src, graphs[1].graph.src)  # renumbered


def test_every_asker_hears_every_holder():
    world = sets.dictionary_lookup(5, seed=1)
    assert world.graph.degree.tolist() == [0] * 5 + [5] * 5
    holders = {int(k): int(v) - 1 for k, v in world.x[:5]}
    assert [holders[int(k)] for k in world.x[5:, 0]] == world.y[5:].tolist()
    assert (world.y[:5] == -1).all()


def test_the_relay_holds_the_bit_at_the_other_end():
    world = sets.relay(3, 10, seed=2)
    first, last = torch.arange(10) * 4, torch.arange(10) * 4 + 3
    assert (world.x[first, 0] > 0).long().tolist() == world.y[last].tolist()
    assert int((world.y >= 0).sum()) == 10
    assert world.graph.n_graphs == 10
    assert len(set(world.y[last].tolist())) == 2


def test_the_karate_club_is_zacharys():
    club = sets.karate_club()
    assert (club.graph.n_nodes, club.graph.n_edges) == (34, 156)
    assert int(club.y.sum()) == 17
    assert club.y[[0, 33]].tolist() == [0, 1]


def test_a_molecule_is_bonded_where_its_atoms_touch():
    methane = sets.molecule(["C", "H", "H"], [[0, 0, 0], [1.09, 0, 0], [0, 1.09, 0]], 1.5)
    assert methane.graph.edge_index.tolist() == [[1, 2, 0, 0], [0, 0, 1, 2]]
    assert methane.x[:, :2].tolist() == [[0, 1], [1, 0], [1, 0]]
    assert methane.x[:, 5].tolist() == [0.5, 0.25, 0.25]
    assert methane.graph.edge_attr.shape == (4, 8)


def test_qm9_is_read_from_its_package(tmp_path):
    folder = tmp_path / "qm9pack" / "data"
    folder.mkdir(parents=True)
    row = "C,\"['C','H']\",\"[[0.0,0.0,0.0],[1.09,0.0,0.0]]\",0.5\n"
    (folder / "qm9_part1.csv").write_text("SMILES,Elements,XYZ_Ang,HOMO_LUMO_gap_au\n" + row * 3)
    found = sets.read_qm9(tmp_path, 2)
    assert len(found) == 2
    assert found[0].y == pytest.approx(13.605693)
    assert found[0].graph.n_edges == 2
    with pytest.raises(DataError, match="unpack the package qm9pack"):
        sets.read_qm9(tmp_path / "nowhere", 1)


def test_wordnet_is_read_from_its_file(tmp_path):
    file = tmp_path / "data.noun"
    file.write_text(
        "  1 licence\n"
        "00001740 03 n 01 entity 0 001 ~ 00001930 n 0000 | that which is perceived  \n"
        "00001930 05 n 01 dog 0 001 @ 00001740 n 0000 | a dog that barks  \n"
    )
    world = sets.read_wordnet(file, d_in=16)
    assert world.y.tolist() == [0, 2]
    assert world.graph.edge_index.tolist() == [[1, 0], [0, 1]]
    assert world.x.norm(dim=1).tolist() == pytest.approx([1.0, 1.0])
    with pytest.raises(DataError, match="wordnet-base"):
        sets.read_wordnet(tmp_path / "none")

"""The contents of the zoo: every system that was promised has one row, and a row leads to its files."""

import json
import subprocess
import sys
from collections import Counter

import pytest

from nexus.catalog import PROOFS, ROWS, SECTIONS, find, rows

# The systems that the documentation index names, by section.
NAMED = {
    1: "DQN, Double DQN, Dueling DQN, Rainbow, C51, QR-DQN, IQN, A2C, PPO, TRPO, SAC, TD3, DDPG, CQL, IQL, "
    "Decision Transformer, RLHF, DPO, KTO, RRHF, RAFT, QMIX, MADDPG, CommNet, World Models, MuZero, Dreamer, ICM, RND, "
    "NGU, Trajectory Transformer, Preference learning, Reward shaping, MCTS, Model predictive control",
    2: "Multi-head attention, Flash Attention, Linear attention, SparseAttention",
    3: "Mamba, S4",
    5: "Sinusoidal, RoPE, ALiBi, Shaw, Learned absolute",
    6: "MoE, LayerNorm, RMSNorm, GroupNorm, GELU, SwiGLU",
    7: "KVCache, Speculative decoding, quantization",
    8: "ViT, DeiT, Swin, DETR, Deformable DETR, SAM, Mask2Former, NeRF, 3D Gaussian Splatting",
    9: "DDPM, DDIM, Stable Diffusion, Consistency models, AudioLDM, Video Diffusion, SpaceTimeDiT",
    10: "Chain of thought, Tree of thought, Self-consistency, RAG, LoRA, QLoRA, Adapters, GPTQ, AWQ, GGUF, "
    "Structured pruning, UnstructuredPruning, Knowledge distillation, ConstrainedDecoding, Grammar-based decoding, "
    "Contrastive embeddings, Instruction embeddings, BPE, SentencePiece, Unigram",
    11: "DataParallel, Mixed precision, Gradient accumulation, Optimizers, Schedules, Checkpoints",
    12: "SimCLR, MAE, DINO",
    13: "LLaVA-RLHF, Qwen2-VL, PaLM-E, HiViLT, LLaVA-NeXT, Molmo, Phi-3-Vision, BiomedCLIP, NVLM",
    14: "GPS, Base GNN, message_passing, GraphSAGE, GATv2, Exphormer",
}


@pytest.mark.parametrize("section", NAMED)
def test_every_system_that_was_named_has_a_row(section):
    for name in NAMED[section].split(", "):
        assert find(name).section.number == section


def test_rows_are_told_apart():
    for field in ("name", "stem", "module"):
        twice = [value for value, count in Counter(getattr(row, field) for row in ROWS).items() if count > 1]
        assert twice == [], field


def test_every_row_says_how_it_is_proved():
    for row in ROWS:
        assert row.oracle, row.name
        assert row.paper, row.name
        assert row.proof, row.name
        assert set(row.proof) <= set(PROOFS), row.name


def test_all_sections_are_there_in_order():
    assert [section.number for section in SECTIONS] == list(range(1, 15))
    assert all(rows(section=section.number) for section in SECTIONS)
    assert sum(len(rows(section=section.number)) for section in SECTIONS) == len(ROWS)


def test_a_row_leads_to_its_files():
    row = find("graphsage")
    assert row.module == "nexus.models.gnn.graph_sage"
    assert row.file.as_posix().endswith("nexus/models/gnn/graph_sage.py")
    assert row.page == "docs/14_graph_neural_networks/graph_sage.md"
    assert find("RMSNorm").file.is_file()


@pytest.fixture
def layer(tmp_path, monkeypatch):
    """A row with code, proof and a certificate that fits them, all in a folder of its own."""
    monkeypatch.setattr("nexus.catalog.PACKAGE", tmp_path / "nexus")
    monkeypatch.setattr("nexus.catalog.CERTIFICATES", tmp_path / "nexus" / "certificates")
    row = find("RMSNorm")
    for file in (row.file, row.proof_file, row.certificate):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x = 1\n", encoding="utf-8")
    row.certificate.write_text(json.dumps({"sources": row.sources()}), encoding="utf-8")
    return row


def test_a_system_is_proved_by_a_certificate_for_its_present_text(layer):
    assert layer.status == "proved"
    assert rows(status="proved") == [layer]
    assert list(layer.sources()) == ["nexus/layers/components/rms_norm.py", "nexus/zoo/proofs/rms_norm.py"]


@pytest.mark.parametrize("file", ["file", "proof_file"])
def test_a_certificate_for_other_text_does_not_count(layer, file):
    getattr(layer, file).write_text("x = 2\n", encoding="utf-8")
    assert layer.status == "planned"
    getattr(layer, file).write_bytes(b"x = 1\r\n")  # how lines end is no other text
    assert layer.status == "proved"


@pytest.mark.parametrize("file", ["file", "proof_file", "certificate"])
def test_nothing_is_proved_with_a_part_missing(layer, file):
    getattr(layer, file).unlink()
    assert layer.status == "planned"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sources": null}', '{"sources": {}}'])
def test_a_spoilt_certificate_does_not_count(layer, text):
    layer.certificate.write_text(text, encoding="utf-8")
    assert layer.status == "planned"


def test_an_unknown_system_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="'GraphSEGA': is no system of the zoo; near it: GraphSAGE"):
        find("GraphSEGA")


def test_the_contents_need_no_torch():
    code = "import sys, nexus.catalog; print(len(nexus.catalog.rows()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, torch = done.stdout.split()
    assert int(count) > 120
    assert torch == "False"

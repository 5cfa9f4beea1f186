"""M-RoPE beside transformers' Qwen2-VL: angles, turned queries, and positions of random layouts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from types import SimpleNamespace

import torch

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, noise

ORACLE = ("transformers",)
TOLERANCE = 1e-5  # the oracle takes angles in float32
MUTATIONS = (
    Mutation("sections in the wrong order", "torch.arange(3).repeat", "torch.arange(2, -1, -1).repeat"),
    Mutation("every pair turns by time", "positions[part]", "positions[0 * part]"),
    Mutation("text goes on behind all patches", "at + max(sides if count_time else sides[1:])", "at + math.prod(sides)"),
    Mutation("patches not merged", "sides = time, height // merge, width // merge", "sides = time, height, width"),
    Mutation("pictures start at zero", 'indexing="ij")).flatten(1) + at)', 'indexing="ij")).flatten(1))'),
    Mutation("columns before rows", "torch.stack(torch.meshgrid(*map(torch.arange, sides), indexing=\"ij\"))", "torch.stack(torch.meshgrid(*map(torch.arange, sides), indexing=\"ij\"))[[0, 2, 1]]"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Sixteen channels; four words, a picture of 2 x 3 tokens, a word."""
    from nexus.layers.positional.mrope import MRoPE, multimodal_positions

    at = multimodal_positions([0] * 4 + [1] * 6 + [0], [(1, 4, 6)]) + seed
    return Example(MRoPE(16, (2, 3, 3)), (at[:, None],))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Angles on random positions; positions of 200 random texts with pictures and films."""
    from transformers.models.qwen2_vl import modeling_qwen2_vl as qwen

    from nexus.layers.positional.mrope import MRoPE, multimodal_positions
    from nexus.layers.positional.rope import apply_rotary

    config = qwen.Qwen2VLTextConfig(
        hidden_size=32, num_attention_heads=2,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
    )  # fmt: skip
    at = torch.randint(0, 90, (3, 2, 11), generator=torch.Generator().manual_seed(seed))
    x = noise(seed, 2, 3, 11, 16, dtype=torch.float32)
    cos, sin = qwen.Qwen2VLRotaryEmbedding(config)(x, at)
    theirs = qwen.apply_rotary_pos_emb(x, x, cos, sin)[0]
    yield from compare(apply_rotary(x, *MRoPE(16, (2, 3, 3))(at)), theirs, {"x": x}, "turned")

    model = SimpleNamespace(config=SimpleNamespace(vision_config=SimpleNamespace(spatial_merge_size=2)))
    model.get_vision_position_ids = lambda *a, **k: qwen.Qwen2VLModel.get_vision_position_ids(model, *a, **k)
    off = torch.zeros(200)
    for number in range(200):
        kinds, grids = layout(random.Random(1_000 * seed + number))
        pictures, films = (torch.tensor([g for k, g in grids if k == kind]).view(-1, 3) for kind in (1, 2))
        theirs = qwen.Qwen2VLModel.get_rope_index(
            model, torch.zeros(1, len(kinds), dtype=torch.long), torch.tensor([kinds]), pictures, films
        )[0][:, 0]  # fmt: skip
        ours = multimodal_positions(kinds, [grid for _, grid in grids])
        off[number] = (ours != theirs).sum() if ours.shape == theirs.shape else float("inf")
    yield Comparison("positions that differ, of 200 texts", off, torch.zeros(200))


def layout(draw: random.Random) -> tuple[list[int], list[tuple[int, tuple[int, int, int]]]]:
    """Kinds of tokens, and (kind, grid) of each picture or film, of a random text."""
    kinds: list[int] = []
    grids: list[tuple[int, tuple[int, int, int]]] = []
    for _ in range(draw.randint(1, 4)):
        kinds += [0] * draw.randint(1, 6)
        kind = draw.randint(0, 2)
        if kind:
            grid = (1 if kind == 1 else draw.randint(1, 4), 2 * draw.randint(1, 5), 2 * draw.randint(1, 5))
            grids.append((kind, grid))
            kinds += [kind] * (grid[0] * grid[1] * grid[2] // 4)
    return [*kinds, 0], grids

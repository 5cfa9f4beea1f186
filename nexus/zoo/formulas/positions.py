"""Costs of positions: what is looked up, added or turned costs no matrix product; what meets queries does."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from nexus.layers import positional
from nexus.zoo.formulas._entry import Entry
from nexus.zoo.proof import Example

HEADS = ({"B": 2, "T": 7, "n_heads": 4, "head_dim": 6}, {"B": 3, "T": 10, "n_heads": 2, "head_dim": 8})
SCORES = "2 * B * n_heads * T ** 2 * head_dim"


def _with(*more: dict[str, int]) -> tuple[dict[str, int], ...]:
    return tuple(one | other for one, other in zip(HEADS, more, strict=True))


def _at(make: Callable[..., nn.Module]) -> Callable[..., Example]:
    """An encoding of the positions of (B, T)."""
    return lambda B, T, **sizes: Example(make(**sizes), (torch.arange(T).expand(B, T),))


def _bias(make: Callable[..., nn.Module]) -> Callable[..., Example]:
    """A bias for T queries and keys."""
    return lambda T, **sizes: Example(make(**sizes), (T, T))


def _between(make: Callable[..., nn.Module], tensors: int = 2) -> Callable[..., Example]:
    """Scores of queries and keys (and values)."""

    def build(B: int, T: int, n_heads: int, head_dim: int, **sizes: int) -> Example:
        module = make(n_heads=n_heads, head_dim=head_dim, **sizes)
        return Example(module, tuple(torch.randn(B, n_heads, T, head_dim) for _ in range(tensors)))

    return build


def _cope(B: int, T: int, n_heads: int, head_dim: int, max_position: int) -> Example:
    scores = torch.randn(B, n_heads, T, T)
    return Example(positional.CoPE(head_dim, max_position), (torch.randn(B, n_heads, T, head_dim), scores))


def _free(build: Callable[..., Example], *sizes: dict[str, int], note: str = "") -> Entry:
    """An encoding without parameters and without matrix products, so that nothing is kept either."""
    return Entry(build, sizes, "0", "0", activations="0", note=note)


TURN = "turning costs three passes over queries and keys, and no matrix product"
ENTRIES = {
    "sinusoidal": _free(
        _at(positional.SinusoidalEncoding), {"B": 2, "T": 7, "d_model": 8}, {"B": 3, "T": 10, "d_model": 12}
    ),
    "learned": Entry(
        _at(positional.LearnedEncoding),
        ({"B": 2, "T": 7, "max_length": 9, "d_model": 8}, {"B": 3, "T": 10, "max_length": 11, "d_model": 12}),
        "max_length * d_model", "0", activations="8 * B * T",
    ),
    "shaw": Entry(
        _between(lambda n_heads, head_dim, max_distance: positional.ShawEncoding(head_dim, max_distance), 3),
        _with({"max_distance": 3}, {"max_distance": 5}),
        "2 * (2 * max_distance + 1) * head_dim",
        "4 * B * n_heads * T * head_dim * (T + 2 * max_distance + 1)",
        activations="E * B * n_heads * T * (2 * head_dim + T + 2 * (2 * max_distance + 1)) + 16 * T ** 2",
        note="the whole attention, keys and values",
    ),
    "transformer_xl": Entry(
        _between(positional.TransformerXLEncoding), _with({"d_model": 10}, {"d_model": 14}),
        "n_heads * head_dim * (d_model + 2)",
        f"{SCORES} + 2 * (2 * T - 1) * n_heads * head_dim * (d_model + B * T)",
        activations="E * (2 * T - 1) * (d_model + B * n_heads * (head_dim + T)) + 2 * E * B * n_heads * T * head_dim "
                    "+ 8 * T ** 2",
        note="the scores",
    ),
    "t5_bias": Entry(
        _bias(positional.T5Bias), ({"T": 7, "n_heads": 4, "n_buckets": 8}, {"T": 10, "n_heads": 2, "n_buckets": 12}),
        "n_buckets * n_heads", "0", activations="8 * T ** 2",
    ),
    "deberta": Entry(
        _between(positional.DebertaEncoding),
        _with({"d_model": 10, "max_distance": 3}, {"d_model": 14, "max_distance": 5}),
        "2 * max_distance * d_model + 2 * n_heads * head_dim * (d_model + 1)",
        f"{SCORES} + 8 * max_distance * n_heads * head_dim * (d_model + B * T)",
        activations="E * B * n_heads * T * (2 * head_dim + 4 * max_distance) + 16 * T ** 2",
        note="the scores",
    ),
    "rope": _free(_at(positional.RotaryEmbedding), {"B": 2, "T": 7, "head_dim": 6}, {"B": 3, "T": 10, "head_dim": 8},
                  note=TURN),
    "xpos": _free(_at(positional.XPos), {"B": 2, "T": 7, "head_dim": 6}, {"B": 3, "T": 10, "head_dim": 8}, note=TURN),
    "mrope": _free(
        lambda B, T, third: Example(positional.MRoPE(6 * third, (third,) * 3), (torch.arange(T).expand(3, B, T),)),
        {"B": 2, "T": 7, "third": 2}, {"B": 3, "T": 10, "third": 3}, note=TURN,
    ),
    "axial_rope": _free(
        lambda head_dim, height, width: Example(positional.AxialRoPE(head_dim), (height, width)),
        {"head_dim": 8, "height": 3, "width": 4}, {"head_dim": 12, "height": 2, "width": 5}, note=TURN,
    ),
    "alibi": _free(_bias(positional.ALiBi), {"T": 7, "n_heads": 4}, {"T": 10, "n_heads": 2}),
    "nope": _free(_bias(positional.NoPE), {"T": 7}, {"T": 10}),
    "fire": Entry(
        _bias(positional.FIRE), ({"T": 7, "n_heads": 4, "hidden": 5}, {"T": 10, "n_heads": 2, "hidden": 9}),
        "hidden * (n_heads + 2) + n_heads + 2", "2 * T ** 2 * hidden * (n_heads + 1)",
        activations="E * (T ** 2 * (hidden + 4) + 4 * T + 3)", note="once a text, whatever the batch",
    ),
    "cope": Entry(
        _cope, _with({"max_position": 5}, {"max_position": 9}),
        "max_position * head_dim", "2 * B * n_heads * T * head_dim * max_position",
        activations="E * B * n_heads * T * (head_dim + max_position + 2 * T) + 16 * B * n_heads * T ** 2",
        note="beside the scores, which it reads",
    ),
}  # fmt: skip

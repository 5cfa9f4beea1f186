"""Costs of hybrids: a frame, and so many of each part as the plan has letters; the parts are those of the layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from nexus.core.base import NexusModule
from nexus.models.hybrid.bamba import Bamba
from nexus.models.hybrid.falcon_h1 import FalconH1
from nexus.models.hybrid.griffin import Griffin
from nexus.models.hybrid.hymba import Hymba
from nexus.models.hybrid.jamba import Jamba
from nexus.models.hybrid.nemotron_h import NemotronH
from nexus.models.hybrid.qwen3_next import Qwen3Next
from nexus.models.hybrid.samba import Samba
from nexus.models.hybrid.zamba2 import Zamba2
from nexus.zoo.formulas._entry import Entry, Part, stack
from nexus.zoo.formulas.components import gated_mlp, top_k
from nexus.zoo.formulas.ssm import MAMBA, delta, mamba2
from nexus.zoo.proof import Example

SIZES = ({"B": 2, "T": 8, "vocab_size": 31, "d_model": 32, "n_heads": 4, "n_kv_heads": 2, "d_ff": 20},
         {"B": 3, "T": 12, "vocab_size": 41, "d_model": 48, "n_heads": 6, "n_kv_heads": 3, "d_ff": 30})  # fmt: skip
STATES = ({"d_state": 4, "d_conv": 4}, {"d_state": 6, "d_conv": 3})
SSM = ({"ssm_heads": 4, "ssm_groups": 2, "chunk_size": 4}, {"ssm_heads": 6, "ssm_groups": 3, "chunk_size": 6})
HEAD = "2 * B * T * d_model * vocab_size"
KEPT = "E * B * T * (2 * d_model + 1) + 8 * B * T"  # of the frame: ids, and what the last norm and the head read
NORM = Part("d_model", activations="E * B * T * (d_model + 1)")
NORMS = Part("2 * d_model", activations="2 * E * B * T * (d_model + 1)")
WINDOW = "T at least the window, whose keys are all that is kept"


def _with(*more: tuple[dict[str, int], ...]) -> tuple[dict[str, int], ...]:
    merged: tuple[dict[str, int], ...] = SIZES
    for sizes in more:
        merged = tuple(one | other for one, other in zip(merged, sizes, strict=True))
    return merged


def frame(tied: bool) -> str:
    """Embedding, last norm and head; the head's weights are the embedding's if tied."""
    return f"{'' if tied else '2 * '}vocab_size * d_model + d_model"


def attention(head_dim: str, keys: str = "T", turning: str = "") -> Part:
    """Grouped queries without bias; ``keys`` is how many are kept in the cache, ``turning`` how many channels turn."""
    weights = f"2 * d_model * (n_heads + n_kv_heads) * {head_dim}"
    flops = f"2 * B * T * {weights} + 4 * B * T ** 2 * n_heads * {head_dim}"
    kept = f"d_model + (2 * n_heads + 2 * n_kv_heads) * {head_dim} + n_heads"
    tables = "E * T ** 2"  # the mask
    if turning:  # then what comes back from the heads is copied into rows
        kept, tables = kept.replace("(2 *", "(3 *"), f"E * T * (T + 4 * {turning})"
    return Part(weights, flops, f"2 * E * B * {keys} * n_kv_heads * {head_dim}", f"E * B * T * ({kept}) + {tables}")


def of(*parts: Part) -> Part:
    """Several parts as one."""
    kinds = ("parameters", "flops", "cache", "activations")
    terms = [[t for part in parts if (t := getattr(part, kind)) != "0"] for kind in kinds]
    return Part(*(" + ".join(found) or "0" for found in terms))


def _ids(make: Callable[..., NexusModule]) -> Callable[..., Example]:
    """A language model over ids (B, T), made from the other sizes."""

    def build(B: int, T: int, **sizes: int) -> Example:
        return Example(make(**sizes), (torch.randint(sizes["vocab_size"], (B, T)),))

    return build


def _entry(make: Callable[..., NexusModule], sizes: tuple[dict[str, int], ...], formulas: dict[str, Any],
           where: dict[str, str] | None = None, note: str = "") -> Entry:  # fmt: skip
    return Entry(_ids(make), sizes, **formulas | {"where": {**(where or {}), **formulas["where"]}}, note=note)


def made(kind: Callable[..., NexusModule], fields: Mapping[str, object]) -> NexusModule:
    """A model of these fields of its configuration."""
    return kind(fields)


def _jamba(n_attention: int, n_mamba: int, **sizes: int) -> NexusModule:
    layers = n_attention + n_mamba
    return made(Jamba, {**sizes, "n_layers": layers, "attn_period": layers // n_attention, "attn_offset": 0})


def _zamba(n_mamba: int, n_uses: int, **sizes: int) -> NexusModule:
    return made(Zamba2, {**sizes, "plan": "M" * (n_mamba - n_uses) + "S" * n_uses})


def _bamba(n_attention: int, n_mamba: int, **sizes: int) -> NexusModule:
    plan = "A" * n_attention + "M" * n_mamba
    return made(Bamba, {**sizes, "n_layers": len(plan), "plan": plan, "head_dim": sizes["d_model"] // sizes["n_heads"]})


def _griffin(n_attention: int, n_recurrent: int, **sizes: int) -> NexusModule:
    plan = "R" * n_recurrent + "A" * n_attention
    return made(Griffin, {**sizes, "n_layers": len(plan), "plan": plan})


def _nemotron(n_mamba: int, n_attention: int, n_mlp: int, n_moe: int, **sizes: int) -> NexusModule:
    return made(NemotronH, {**sizes, "plan": "M" * n_mamba + "*" * n_attention + "-" * n_mlp + "E" * n_moe})


def _qwen(n_delta: int, n_attention: int, chunk_size: int, d_ff: int, **sizes: int) -> NexusModule:
    assert n_delta % n_attention == 0
    period = n_delta // n_attention + 1
    return made(Qwen3Next, {**sizes, "d_expert": d_ff, "n_layers": n_delta + n_attention, "attn_period": period})


def _samba(n_attention: int, n_mamba: int, **sizes: int) -> NexusModule:
    plan = "M" * n_mamba + "A" * n_attention
    return made(Samba, {**sizes, "n_layers": len(plan), "plan": plan})


def _hymba(n_global: int, n_local: int, n_borrowing: int, **sizes: int) -> NexusModule:
    return made(Hymba, {**sizes, "plan": "G" * n_global + "L" * n_local + "l" * n_borrowing})


MIXER = mamba2("ssm_groups", "ssm_heads", "ssm_head_dim")
MIXER_WIDTHS = {"d_inner": "ssm_heads * ssm_head_dim", "conv_dim": "d_inner + 2 * ssm_groups * d_state"}
S6 = {"d_inner": "expand * d_model", "dt_rank": "(d_model + 15) // 16"}
HEAD_DIM = {"head_dim": "d_model // n_heads"}
CORE = replace(  # the attention of the core, which makes neither a mask nor the tables of each layer
    attention("head_dim"), activations="E * B * T * (d_model + 3 * (n_heads + n_kv_heads) * head_dim + n_heads)"
)
PLAIN_MLP = gated_mlp(kept=4)
CLAMPED = of(MIXER, Part("0", activations="E * B * T * ssm_heads"))  # step sizes have a least value
RECURRENT = Part(
    "3 * d_model * d_rnn + d_rnn * (d_conv + 6) + 2 * d_rnn ** 2 // n_heads + d_model",
    "2 * B * T * (3 * d_model * d_rnn + d_conv * d_rnn + 2 * d_rnn ** 2 // n_heads)",
    "E * B * d_conv * d_rnn",
    "E * B * T * (d_model + 16 * d_rnn) + E * d_rnn * (B * d_conv + 1)",
)
ENTRIES = {
    "jamba": _entry(
        _jamba, _with(STATES, ({"n_attention": 1, "n_mamba": 3, "n_experts": 4, "top_k": 2, "expand": 2},
                               {"n_attention": 2, "n_mamba": 4, "n_experts": 5, "top_k": 3, "expand": 3})),
        stack(
            frame(tied=False), HEAD, KEPT,
            attention=("n_attention", of(attention("head_dim"), NORMS)),
            mamba=("n_mamba", of(
                MAMBA, Part("dt_rank + 2 * d_state", activations="E * B * T * (dt_rank + 2 * d_state + 3)"), NORMS
            )),
            mlp=("n_mlp", PLAIN_MLP), experts=("n_moe", top_k(normalise=False)),
        ),
        {**HEAD_DIM, **S6, "n_moe": "(n_attention + n_mamba) // 2", "n_mlp": "n_attention + n_mamba - n_moe"},
        "experts in every second layer",
    ),
    "zamba2": _entry(
        _zamba, _with(STATES, SSM, ({"n_mamba": 3, "n_uses": 2, "adapter_rank": 4, "expand": 2, "n_kv_heads": 4},
                                    {"n_mamba": 4, "n_uses": 3, "adapter_rank": 5, "expand": 3, "n_kv_heads": 6})),
        stack(
            frame(tied=True), HEAD, KEPT,
            block=("1", Part("14 * d_model ** 2 + 3 * d_model * d_ff + 3 * d_model")),
            use=("n_uses", Part(
                "adapter_rank * (d_model + 2 * d_ff) + d_model ** 2",
                "2 * B * T * (15 * d_model ** 2 + 3 * d_model * d_ff + adapter_rank * (d_model + 2 * d_ff)) "
                "+ 8 * B * T ** 2 * d_model",
                "4 * E * B * T * d_model",
                "E * B * T * (15 * d_model + 4 * d_ff + adapter_rank + n_heads + 2) + E * T ** 2",
            )),
            mamba=("n_mamba", of(CLAMPED, NORM)),
        ),
        {"ssm_head_dim": "expand * d_model // ssm_heads", **MIXER_WIDTHS},
        "one shared block, as many key heads as heads, adapters on its feed-forward part",
    ),
    "bamba": _entry(
        _bamba, _with(STATES, SSM, ({"n_attention": 1, "n_mamba": 3, "ssm_head_dim": 5},
                                    {"n_attention": 2, "n_mamba": 5, "ssm_head_dim": 7})),
        stack(
            frame(tied=False), HEAD, KEPT,
            attention=("n_attention", of(CORE, NORMS, gated_mlp())),
            mamba=("n_mamba", of(MIXER, NORMS, gated_mlp())),
            positions=("1", Part("0", "0", "8 * (T + 1)", "2 * E * T * head_dim")),
        ),
        {**HEAD_DIM, **MIXER_WIDTHS},
        "the state also says where its keys stand",
    ),
    "griffin": _entry(
        _griffin, _with(({"n_attention": 1, "n_recurrent": 3, "d_rnn": 24, "d_conv": 4, "window": 5},
                         {"n_attention": 2, "n_recurrent": 5, "d_rnn": 36, "d_conv": 3, "window": 7})),
        stack(
            frame(tied=True), HEAD, f"{KEPT} + E * B * T * vocab_size + E * d_model",
            attention=("n_attention", of(attention("head_dim", "window", "head_dim // 2"), Part("d_model"))),
            recurrent=("n_recurrent", RECURRENT),
            mlp=("n_layers", Part(
                "3 * d_model * d_ff // 2 + d_ff + 3 * d_model", "3 * B * T * d_model * d_ff",
                activations="E * B * T * (3 * d_model + 2 * d_ff + 2) + 2 * E * d_model",
            )),
        ),
        {**HEAD_DIM, "n_layers": "n_attention + n_recurrent"}, WINDOW,
    ),
    "falcon_h1": _entry(
        lambda **sizes: made(FalconH1, sizes),
        _with(STATES, SSM, ({"n_layers": 2, "head_dim": 6, "ssm_head_dim": 5},
                            {"n_layers": 3, "head_dim": 8, "ssm_head_dim": 7})),
        stack(
            frame(tied=False), HEAD, KEPT,
            layer=("n_layers", of(attention("head_dim", turning="head_dim"), MIXER, PLAIN_MLP, NORMS, Part(
                "0 - d_inner", activations="E * B * T * (d_inner - ssm_groups)"
            ))),
        ),
        MIXER_WIDTHS, "the mixer's gate is plain, without a norm",
    ),
    "nemotron_h": _entry(
        _nemotron,
        _with(STATES, SSM, (
            {"n_mamba": 2, "n_attention": 1, "n_mlp": 3, "n_moe": 1, "head_dim": 6, "ssm_head_dim": 5, "n_experts": 4,
             "top_k": 2, "d_expert": 7, "d_shared": 9},
            {"n_mamba": 3, "n_attention": 2, "n_mlp": 1, "n_moe": 2, "head_dim": 8, "ssm_head_dim": 7, "n_experts": 5,
             "top_k": 3, "d_expert": 8, "d_shared": 11},
        )),
        stack(
            frame(tied=False), HEAD, KEPT,
            norms=("n_blocks", NORM),
            mamba=("n_mamba", CLAMPED), attention=("n_attention", attention("head_dim")),
            mlp=("n_mlp", Part(
                "2 * d_model * d_ff", "4 * B * T * d_model * d_ff", activations="E * B * T * (d_model + 2 * d_ff)"
            )),
            experts=("n_moe", Part(
                "d_model * (n_experts * (1 + 2 * d_expert) + 2 * d_shared)",
                "2 * B * T * d_model * (n_experts + 2 * top_k * d_expert + 2 * d_shared)",
                activations="E * B * T * (d_model + n_experts + 1 + top_k * (3 * d_model + 2 * d_expert + 2) "
                            "+ 2 * d_shared) + 24 * B * T * top_k",
            )),
        ),
        {**MIXER_WIDTHS, "n_blocks": "n_mamba + n_attention + n_mlp + n_moe"},
    ),
    "qwen3_next": _entry(
        _qwen,
        _with(({"n_delta": 3, "n_attention": 1, "head_dim": 8, "delta_heads": 4, "delta_kv_heads": 2,
                "delta_key_dim": 3, "delta_value_dim": 5, "d_conv": 4, "n_experts": 4, "top_k": 2, "d_shared": 9,
                "chunk_size": 8},
               {"n_delta": 4, "n_attention": 2, "head_dim": 16, "delta_heads": 6, "delta_kv_heads": 3,
                "delta_key_dim": 4, "delta_value_dim": 2, "d_conv": 3, "n_experts": 5, "top_k": 3, "d_shared": 11,
                "chunk_size": 12})),
        stack(
            frame(tied=False), HEAD, f"{KEPT} + E * d_model",
            delta=("n_delta", delta("delta_heads", "delta_kv_heads", "delta_key_dim", "delta_value_dim")),
            attention=("n_attention", of(attention("head_dim", turning="head_dim // 4"), Part(
                "d_model * n_heads * head_dim + 2 * head_dim", "2 * B * T * d_model * n_heads * head_dim",
                activations="E * B * T * (4 * n_heads * head_dim + n_kv_heads * head_dim + n_heads + n_kv_heads) "
                            "+ 2 * E * head_dim",
            ))),
            experts=("n_layers", of(top_k(), gated_mlp("d_shared", kept=4), NORMS, Part(
                "d_model", "2 * B * T * d_model", activations="E * (B * T + 2 * d_model)"
            ))),
        ),
        {"keys": "delta_kv_heads * delta_key_dim", "values": "delta_heads * delta_value_dim",
         "n_layers": "n_delta + n_attention"},
        "d_ff is that of an expert; chunk_size is 64, or T where that is less",
    ),
    "samba": _entry(
        _samba, _with(STATES, ({"n_attention": 1, "n_mamba": 2, "window": 5, "expand": 2},
                               {"n_attention": 2, "n_mamba": 3, "window": 7, "expand": 3})),
        stack(
            frame(tied=False), HEAD, KEPT,
            attention=("n_attention", of(attention("head_dim", "window", "head_dim"), NORMS, PLAIN_MLP)),
            mamba=("n_mamba", of(MAMBA, NORMS, PLAIN_MLP)),
        ),
        {**HEAD_DIM, **S6}, WINDOW,
    ),
    "hymba": _entry(
        _hymba,
        _with(STATES, ({"n_global": 1, "n_local": 2, "n_borrowing": 1, "head_dim": 16, "window": 5, "meta_tokens": 2},
                       {"n_global": 2, "n_local": 1, "n_borrowing": 3, "head_dim": 24, "window": 7, "meta_tokens": 3})),
        stack(
            f"{frame(tied=True)} + meta_tokens * d_model", HEAD, f"{KEPT} - E * B * meta_tokens * d_model",
            layer=("n_layers", Part(
                "d_inner * (4 * d_model + d_conv + 2 * dt_rank + 3 * d_state + 7) + 3 * d_model * d_ff + 2 * d_model",
                "2 * B * tokens * (d_inner * (4 * d_model + 2 * dt_rank + 3 * d_state) + 3 * d_model * d_ff) "
                "+ 4 * B * d_inner * (meta_tokens ** 2 + T * tokens)",
                "E * B * d_inner * (d_state + d_conv - 1)",
                "E * B * tokens * (16 * d_inner + 4 * d_ff + dt_rank + 2 * d_state + 4 * d_model + n_heads + 4) "
                "+ 2 * E * d_inner * (B * (d_conv - 1) + d_conv + 2 * d_state) + E * B * d_inner * d_state * "
                "((T + 15) // 16 + (meta_tokens + 15) // 16) + E * tokens * (T + 2 * head_dim) + E * meta_tokens ** 2",
            )),
            keys=("(n_global + n_local)", Part(
                "2 * d_model * n_kv_heads * head_dim", "4 * B * tokens * d_model * n_kv_heads * head_dim",
                activations="2 * E * head_dim * (B * (tokens + meta_tokens) * n_kv_heads + tokens)",
            )),
            whole=("n_global", Part("0", "0", "2 * E * B * tokens * n_kv_heads * head_dim")),
            near=("n_local", Part("0", "0", "2 * E * B * (window + meta_tokens) * n_kv_heads * head_dim")),
        ),
        {"d_inner": "n_heads * head_dim", "dt_rank": "(d_model + 15) // 16", "tokens": "T + meta_tokens",
         "n_layers": "n_global + n_local + n_borrowing"},
        f"the learnt tokens are read before every text; {WINDOW}",
    ),
}  # fmt: skip

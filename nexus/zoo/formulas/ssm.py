"""Costs of state-space layers: linear in the length, and a state whose bytes do not depend on it."""

from __future__ import annotations

from torch import nn

from nexus.layers.ssm.gated_delta_net import GatedDeltaNet
from nexus.layers.ssm.h3 import H3
from nexus.layers.ssm.hyena import Hyena
from nexus.layers.ssm.mamba import Mamba
from nexus.layers.ssm.mamba2 import Mamba2
from nexus.layers.ssm.min_gru import MinGRU
from nexus.layers.ssm.ret_net import RetNet
from nexus.layers.ssm.rg_lru import RGLRU
from nexus.layers.ssm.rwkv import RWKV
from nexus.layers.ssm.s4 import S4
from nexus.layers.ssm.s4d import S4D
from nexus.layers.ssm.s5 import S5
from nexus.layers.ssm.titans import TitansMemory
from nexus.layers.ssm.xlstm import XLSTM
from nexus.zoo.formulas._entry import Entry, Part, over_text

FFT = "FFTs and triangular systems are not among the FLOPs"
CHUNKS = "T a multiple of chunk_size"
SIZES = ({"B": 2, "T": 8, "d_model": 16, "d_state": 4}, {"B": 3, "T": 12, "d_model": 24, "d_state": 6})


def scan_flops(groups: str, heads: str, head_dim: str, d_state: str = "d_state") -> str:
    """Matrix products of the chunked scan: inside chunks by group and by head, to the state and from it."""
    inner = f"{heads} * {head_dim}"
    return f"2 * B * T * (chunk_size * ({groups} * {d_state} + {inner}) + 2 * {inner} * {d_state})"


# Parts that the hybrids use too; d_inner, conv_dim and dt_rank are named by whoever uses them.
MAMBA = Part(
    parameters="d_inner * (3 * d_model + d_conv + 2 * dt_rank + 3 * d_state + 3)",
    flops="2 * B * T * d_inner * (3 * d_model + 2 * dt_rank + 3 * d_state)",
    cache="E * B * d_inner * (d_state + d_conv - 1)",
    activations="E * B * T * (d_model + 10 * d_inner + dt_rank + 2 * d_state) + E * d_inner * (B * (d_conv - 1) "
    "+ d_conv + 2 * d_state + (T + 15) // 16 * B * d_state)",
)


def mamba2(groups: str, heads: str, head_dim: str) -> Part:
    """A mixer whose sizes are so called; d_inner and conv_dim, the widths of x and of x | B | C, are named outside."""
    return Part(
        parameters=f"d_model * (2 * d_inner + conv_dim + {heads}) + conv_dim * (d_conv + 1) + 3 * {heads} + d_inner",
        flops=f"2 * B * T * d_model * (2 * d_inner + conv_dim + {heads}) + {scan_flops(groups, heads, head_dim)}",
        cache="E * B * (d_inner * d_state + (d_conv - 1) * conv_dim)",
        activations=f"E * B * T * (d_model + 3 * d_inner + 4 * conv_dim + 4 * {heads} + {groups}) + E * conv_dim * "
        f"(B * (d_conv - 1) + d_conv) + 2 * E * {heads} + E * B * (T // chunk_size + 1) * d_inner * d_state",
    )


def delta(heads: str, kv_heads: str, key_dim: str, value_dim: str) -> Part:
    """A gated DeltaNet whose sizes are so called; keys and values, the widths of all heads, are named outside."""
    weights = f"d_model * (2 * keys + 3 * values + 2 * {heads})"
    chunked = (
        f"2 * B * T * {heads} * (2 * chunk_size * {key_dim} + chunk_size * {value_dim} + 3 * {key_dim} * {value_dim})"
    )
    return Part(
        parameters=f"{weights} + (2 * keys + values) * d_conv + 2 * {heads} + {value_dim}",
        flops=f"2 * B * T * {weights} + {chunked}",
        cache=f"E * B * ({heads} * {key_dim} * {value_dim} + (d_conv - 1) * (2 * keys + values))",
        activations=f"E * (2 * keys + values) * (B * (3 * T + d_conv - 1) + d_conv) + E * B * T * ({heads} * "
        f"(10 * {key_dim} + 9 * {value_dim} + 5 * chunk_size + 8) + 2 * {kv_heads} + d_model) + E * B * {heads} * "
        f"(T // chunk_size * ({key_dim} * {value_dim} + 1) - chunk_size * {key_dim}) + 2 * E * {heads} "
        "+ chunk_size ** 2",
    )


MAMBA2 = mamba2("n_groups", "n_heads", "head_dim")
DELTA = delta("n_heads", "n_kv_heads", "key_dim", "value_dim")


def _with(*more: dict[str, int]) -> tuple[dict[str, int], ...]:
    return tuple(one | other for one, other in zip(SIZES, more, strict=True))


def _sized(*more: dict[str, int]) -> tuple[dict[str, int], ...]:
    """Sizes for layers without ``d_state``."""
    return tuple({k: v for k, v in sizes.items() if k != "d_state"} for sizes in _with(*more))


def _s4(d_model: int, d_state: int, stored_length: int) -> nn.Module:
    return S4(d_model, d_state, stored_length)


def _titans(d_model: int, n_heads: int, hidden: int, chunk_size: int) -> nn.Module:
    head_dim = d_model // n_heads
    return TitansMemory(d_model, n_heads, expansion=hidden / head_dim, chunk_size=chunk_size)


ENTRIES = {
    "s4": Entry(
        over_text(_s4), ({"B": 2, "T": 8, "d_model": 16, "d_state": 4, "stored_length": 8},
                         {"B": 3, "T": 12, "d_model": 24, "d_state": 6, "stored_length": 12}),
        parameters="2 * d_model ** 2 + 4 * d_model * (d_state + 1)",
        flops="4 * B * T * d_model ** 2 + 8 * d_model * d_state * (T // 2 + 1)",
        where={"frequencies": "T // 2 + 1"},
        activations="E * d_model * (4 * d_state * frequencies + B * (7 * T + 2) + 2 * T + 17 * d_state "
                    "+ 16 * frequencies + 2) + 6 * E * frequencies",
        cache="2 * E * B * d_model * d_state",
        note=f"C is stored for the length T; {FFT}",
    ),
    "s4d": Entry(
        over_text(S4D), SIZES,
        parameters="2 * d_model ** 2 + 2 * d_model * (d_state + 2)",
        flops="4 * B * T * d_model ** 2 + T * d_model * d_state",
        activations="E * d_model * (1 + d_state * (T + 6) + 2 * T + B * (7 * T + 2)) + 8 * T",
        cache="E * B * d_model * d_state",
        note=FFT,
    ),
    "s5": Entry(
        over_text(S5), SIZES,
        parameters="2 * d_model * d_state + d_model + 3 * d_state // 2",
        flops="2 * B * T * d_model * d_state",
        activations="E * (4 * d_state + B * T * (3 * d_model + d_state) + B * d_state)",
        cache="E * B * d_state",
        note="one of each pair of conjugates is kept; a product of complex numbers counts as one of real ones",
    ),
    "mamba": Entry(
        over_text(Mamba), _with({"d_conv": 4, "expand": 2, "dt_rank": 1}, {"d_conv": 3, "expand": 3, "dt_rank": 5}),
        where={"d_inner": "expand * d_model"},
        parameters=MAMBA.parameters, flops=MAMBA.flops, activations=MAMBA.activations, cache=MAMBA.cache,
        note="for backward the scan keeps one state for every 16 tokens",
    ),
    "mamba2": Entry(
        over_text(Mamba2), _with({"n_heads": 4, "head_dim": 3, "n_groups": 2, "d_conv": 4, "chunk_size": 4},
                                 {"n_heads": 6, "head_dim": 5, "n_groups": 3, "d_conv": 3, "chunk_size": 6}),
        where={"d_inner": "n_heads * head_dim", "conv_dim": "d_inner + 2 * n_groups * d_state"},
        parameters=MAMBA2.parameters, flops=MAMBA2.flops, activations=MAMBA2.activations, cache=MAMBA2.cache,
        note=f"for backward the scan keeps one state a chunk; {CHUNKS}",
    ),
    "h3": Entry(
        over_text(H3), _with({"head_dim": 2}, {"head_dim": 4}),
        where={"n_heads": "d_model // head_dim"},
        parameters="4 * d_model ** 2 + d_model * (d_state + 5) + n_heads * (2 * d_state + 2)",
        flops="8 * B * T * d_model ** 2 + T * n_heads * d_state + 2 * B * T * d_model * head_dim",
        activations="E * B * d_model * (head_dim * (6 * T + 2) + 10 * T + 2) + 4 * E * d_model * (d_state + T + 1) "
                    "+ E * n_heads * (d_state * (T + 6) + 4 * T + 3) + 8 * T",
        cache="E * B * d_model * (d_state - 1 + head_dim * d_state)",
        note=FFT,
    ),
    "hyena": Entry(
        over_text(Hyena), _sized({"max_length": 9, "order": 2, "filter_width": 5, "filter_depth": 2, "bands": 1},
                                 {"max_length": 15, "order": 3, "filter_width": 7, "filter_depth": 1, "bands": 2}),
        where={"network": "(1 + 2 * bands) * filter_width + filter_depth * filter_width ** 2 "
                          "+ filter_width * (order - 1) * d_model"},
        parameters="(order + 2) * d_model ** 2 + 6 * order * d_model + 5 * d_model "
                   "+ network + (filter_depth + 2) * filter_width",
        flops="2 * B * T * d_model * ((order + 2) * d_model + 3 * (order + 1)) + 2 * T * network",
        activations="2 * E * B * d_model * ((order + 1) * (T + 1) + (order - 1) * (3 * T + 1) + T) "
                    "+ E * d_model * (order - 1) * (5 * T + 2) + 3 * E * T * (filter_depth + 1) * filter_width",
        cache="E * B * d_model * (2 * (order + 1) + (order - 1) * T)",
        note=f"the cache grows with the text; {FFT}",
    ),
    "rg_lru": Entry(
        over_text(RGLRU), _sized({"blocks": 2}, {"blocks": 3}),
        parameters="2 * d_model ** 2 // blocks + 3 * d_model",
        flops="4 * B * T * d_model ** 2 // blocks",
        activations="E * d_model * (10 * B * T + B + 1)",
        cache="E * B * d_model",
    ),
    "rwkv": Entry(
        over_text(RWKV), _sized({"d_ff": 20, "chunk_size": 4}, {"d_ff": 30, "chunk_size": 6}),
        where={"chunks": "T // chunk_size", "steps": "chunk_size + 1"},
        parameters="5 * d_model ** 2 + 2 * d_model * d_ff + 11 * d_model",
        flops="2 * B * T * d_model * (5 * d_model + 2 * d_ff)",
        activations="E * B * d_model * (17 * T + chunks * (2 * steps ** 2 + steps + 1)) + E * B * T * (2 * d_ff + 4) "
                    "+ E * d_model + chunks * (steps * (9 * chunk_size + 8) + chunk_size ** 2)",
        cache="4 * E * B * d_model",
        note=f"every token weighs its chunk channel by channel, and backward needs the weights; {CHUNKS}",
    ),
    "ret_net": Entry(
        over_text(RetNet), _sized({"n_heads": 4, "value_dim": 20, "chunk_size": 4},
                                  {"n_heads": 2, "value_dim": 30, "chunk_size": 6}),
        parameters="2 * d_model ** 2 + 3 * d_model * value_dim",
        flops="4 * B * T * d_model ** 2 + 6 * B * T * d_model * value_dim "
              "+ 2 * B * T * (chunk_size * (d_model + value_dim) + 2 * value_dim * d_model // n_heads)",
        activations="E * B * T * (3 * d_model + 6 * value_dim + 2 * n_heads) + 2 * E * T * d_model // n_heads "
                    "+ E * n_heads + E * (T // chunk_size + 1) * B * d_model * value_dim // n_heads",
        cache="E * B * value_dim * d_model // n_heads",
        note=CHUNKS,
    ),
    "xlstm": Entry(
        over_text(XLSTM), _sized({"n_heads": 4, "d_ff": 20, "chunk_size": 4},
                                 {"n_heads": 2, "d_ff": 30, "chunk_size": 6}),
        where={
            "mlstm": "4 * d_model ** 2 + 2 * d_model * n_heads",
            "slstm": "5 * d_model ** 2 + 4 * d_model ** 2 // n_heads",
            "chunks": "3 * chunk_size * d_model // 2 + d_model ** 2 // n_heads + d_model // 2",
        },
        parameters="mlstm + slstm + 6 * d_model * d_ff + 10 * d_model + 2 * n_heads",
        flops="2 * B * T * (mlstm + slstm + 6 * d_model * d_ff + chunks)",
        activations="E * B * T * (73 * d_model // 2 + 8 * d_ff + n_heads * (16 + 4 * chunk_size) + 4) + T * chunk_size "
                    "+ E * B * (T // chunk_size * (d_model ** 2 // (2 * n_heads) + d_model // 2 + n_heads) "
                    "- chunk_size * d_model - d_model // 2)",
        cache="E * B * (d_model ** 2 // (2 * n_heads) + d_model // 2 + n_heads + 4 * d_model)",
        note=f"one mLSTM and one sLSTM block; {CHUNKS}",
    ),
    "gated_delta_net": Entry(
        over_text(GatedDeltaNet),
        _sized({"n_heads": 4, "n_kv_heads": 2, "key_dim": 3, "value_dim": 5, "d_conv": 4, "chunk_size": 4},
               {"n_heads": 6, "n_kv_heads": 3, "key_dim": 4, "value_dim": 2, "d_conv": 3, "chunk_size": 6}),
        where={"keys": "n_kv_heads * key_dim", "values": "n_heads * value_dim"},
        parameters=DELTA.parameters, flops=DELTA.flops, activations=DELTA.activations, cache=DELTA.cache,
        note=f"gated; {CHUNKS}; {FFT}",
    ),
    "min_gru": Entry(
        over_text(MinGRU), _sized({"d_hidden": 20}, {"d_hidden": 30}),
        parameters="2 * d_hidden * (d_model + 1)",
        flops="4 * B * T * d_model * d_hidden",
        activations="E * B * T * (d_model + 5 * d_hidden) + E * B * d_hidden",
        cache="E * B * d_hidden",
    ),
    "titans": Entry(
        over_text(_titans), _sized({"n_heads": 4, "hidden": 6, "chunk_size": 4},
                                   {"n_heads": 2, "hidden": 9, "chunk_size": 6}),
        where={"head_dim": "d_model // n_heads"},
        parameters="4 * d_model ** 2 + 4 * d_model * n_heads + 3 * n_heads + 2 * d_model * hidden",
        flops="8 * B * T * d_model * (d_model + n_heads) + B * T * n_heads * (22 * head_dim * hidden "
              "+ 4 * chunk_size * (head_dim + hidden) + 2 * chunk_size ** 2 + 2 * chunk_size)",
        activations="E * B * d_model * (20 * T - chunk_size + (4 * T // chunk_size + 3) * hidden) "
                    "+ E * B * T * n_heads * (15 * hidden + 7 * chunk_size + 15) + 2 * T * chunk_size",
        cache="6 * E * B * d_model * hidden",
        note=f"a memory of two layers; the state is its weights, their momentum and their anchor; {CHUNKS}",
    ),
}  # fmt: skip

"""The zoo's layers beside peers that have a plain PyTorch path: forward and backward, one interleaved run.

    python benchmarks/attention.py                      all rows (a few minutes on one core)
    python benchmarks/attention.py --only moe,flash --rounds 9

Rounds go through the peers in turn, so that a machine whose speed drifts is fair to all. What counts is the median of
the processor's time on one thread: a machine that others use too then tells the same. A ratio above 1 means that ours
is faster. Weights are not shared: only the work is the same. Writes benchmarks/results/attention.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.layers import attention, components
from nexus.layers.attention.flash import flash_attention
from nexus.layers.attention.linear import linear_chunked
from nexus.layers.attention.multi_head import attention_weights
from nexus.layers.attention.sparse import Window, sparse_attention
from nexus.layers.attention.visibility import look
from nexus.layers.positional.rope import RotaryEmbedding, apply_rotary

RESULTS = Path(__file__).parent / "results" / "attention.json"
Step = Callable[[], object]
BATCH, LENGTH, WIDTH, HEADS = 2, 512, 256, 8


def work(call: Callable[..., Any], *inputs: Tensor) -> Step:
    """Forward and backward of a call; modules may answer with tuples."""
    inputs = tuple(t.clone().requires_grad_(t.is_floating_point()) for t in inputs)

    def step() -> None:
        out = call(*inputs)
        out = out if isinstance(out, Tensor) else out[0]
        out.backward(torch.ones_like(out))

    return step


def text(length: int = LENGTH) -> Tensor:
    return torch.randn(BATCH, length, WIDTH)


def heads(length: int = LENGTH, dim: int = 32) -> list[Tensor]:
    return [torch.randn(BATCH, HEADS, length, dim) for _ in range(3)]


def multi_head() -> dict[str, Step]:
    from x_transformers.x_transformers import Attention

    ours, torchs = attention.MultiHeadAttention(WIDTH, HEADS), nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    other, x = Attention(WIDTH, heads=HEADS, dim_head=32, causal=True, flash=True), text()
    mask = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)
    return {
        "ours": work(lambda x: ours(x, causal=True), x),
        "torch": work(lambda x: torchs(x, x, x, attn_mask=mask, is_causal=True, need_weights=False), x),
        "x-transformers": work(other, x),
    }


def grouped_query() -> dict[str, Step]:
    from transformers.models.llama import modeling_llama as llama

    config = llama.LlamaConfig(
        hidden_size=WIDTH, num_attention_heads=HEADS, num_key_value_heads=2, attn_implementation="sdpa"
    )
    ours, theirs = attention.GroupedQueryAttention(WIDTH, HEADS, 2), llama.LlamaAttention(config, 0)
    x, at = text(), torch.arange(LENGTH)[None]
    rotary, sight, turns = RotaryEmbedding(32)(at), look(at, None, None, 0), llama.LlamaRotaryEmbedding(config)(x, at)
    return {
        "ours": work(lambda x: ours(x, rotary, sight), x),
        "transformers": work(lambda x: theirs(x, turns, None), x),
    }


def multi_head_latent() -> dict[str, Step]:
    from transformers.models.deepseek_v3 import modeling_deepseek_v3 as deepseek

    config = deepseek.DeepseekV3Config(
        hidden_size=WIDTH, num_attention_heads=HEADS, num_key_value_heads=HEADS, kv_lora_rank=64, q_lora_rank=96,
        qk_nope_head_dim=32, qk_rope_head_dim=16, v_head_dim=32, attn_implementation="sdpa",
    )  # fmt: skip
    ours = attention.MultiHeadLatentAttention(WIDTH, HEADS, 64, 96, 32, 16)
    theirs, x, at = deepseek.DeepseekV3Attention(config, 0), text(), torch.arange(LENGTH)[None]
    rotary, turns = RotaryEmbedding(16)(at), deepseek.DeepseekV3RotaryEmbedding(config)(x, at)
    return {"ours": work(lambda x: ours(x, rotary), x), "transformers": work(lambda x: theirs(x, turns, None), x)}


def flash() -> dict[str, Step]:
    q, k, v = heads(2_048)
    return {
        "ours": work(lambda q, k, v: flash_attention(q, k, v, causal=True), q, k, v),
        "torch's C++ kernel": work(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), q, k, v),
        "plain softmax": work(lambda q, k, v: attention_weights(q, k, causal=True) @ v, q, k, v),
    }


def linear() -> dict[str, Step]:
    from linear_attention_transformer.linear_attention_transformer import causal_linear_attn

    q, k, v = heads(2_048)
    return {
        "ours": work(lambda q, k, v: linear_chunked(q.exp(), k.exp(), v)[0], q, k, v),
        "linear-attention-transformer": work(lambda q, k, v: causal_linear_attn(q, k, v, bucket_size=1), q, k, v),
        "the same in blocks of 64, own block unseen": work(lambda q, k, v: causal_linear_attn(q, k, v), q, k, v),
    }


def performer() -> dict[str, Step]:
    from torch_geometric.nn.attention import PerformerAttention

    theirs, x = PerformerAttention(WIDTH, HEADS, head_channels=32), text()
    features = theirs.fast_attn.projection_matrix.shape[0]
    ours = attention.PerformerAttention(WIDTH, HEADS, n_features=features, kernel="relu")
    return {"ours": work(ours, x), "torch_geometric": work(theirs, x)}


def sparse() -> dict[str, Step]:
    from local_attention import LocalAttention

    q, k, v = heads(2_048)
    local = LocalAttention(128, causal=True, look_backward=1, exact_windowsize=True, use_rotary_pos_emb=False)
    return {
        "ours": work(lambda q, k, v: sparse_attention(q, k, v, Window(128), True, block=128), q, k, v),
        "local-attention": work(local, q, k, v),
        "torch, dense with a mask": work(
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v, Window(128).dense(2_048, causal=True)), q, k, v
        ),
    }


def lsh() -> dict[str, Step]:
    from transformers.models.reformer import modeling_reformer as reformer

    config = reformer.ReformerConfig(
        hidden_size=WIDTH, num_attention_heads=HEADS, attention_head_size=32, num_buckets=16, num_hashes=2,
        lsh_attn_chunk_length=64, lsh_attention_probs_dropout_prob=0.0, is_decoder=False,
    )  # fmt: skip
    ours, theirs, x = attention.LSHAttention(WIDTH, HEADS, 16, 2, 64), reformer.LSHSelfAttention(config), text(1_024)
    out = nn.Linear(WIDTH, WIDTH, bias=False)
    return {"ours": work(ours, x), "transformers": work(lambda x: out(theirs(x).hidden_states), x)}


def differential() -> dict[str, Step]:
    from transformers.models.diffllama import modeling_diffllama as diff

    config = diff.DiffLlamaConfig(
        hidden_size=WIDTH, num_attention_heads=HEADS, num_key_value_heads=HEADS, attn_implementation="sdpa"
    )
    ours, theirs, x = attention.DifferentialAttention(WIDTH, HEADS // 2), diff.DiffLlamaAttention(config, 0), text()
    at = torch.arange(LENGTH)[None]
    rotary, turns = RotaryEmbedding(32)(at), diff.DiffLlamaRotaryEmbedding(config)(x, at)
    return {
        "ours": work(lambda x: ours(x, rotary=rotary), x),
        "transformers": work(lambda x: theirs(x, turns, None), x),
    }


def rope() -> dict[str, Step]:
    from rotary_embedding_torch import RotaryEmbedding as Other
    from transformers.models.llama import modeling_llama as llama

    q, k, _ = heads(dim=64)
    at = torch.arange(LENGTH)[None]
    rotary, other = RotaryEmbedding(64)(at), Other(64)
    config = llama.LlamaConfig(hidden_size=64 * HEADS, num_attention_heads=HEADS)
    turns = llama.LlamaRotaryEmbedding(config)(q, at)
    return {
        "ours": work(lambda q, k: apply_rotary(q, *rotary) + apply_rotary(k, *rotary), q, k),
        "transformers": work(lambda q, k: sum(llama.apply_rotary_pos_emb(q, k, *turns)), q, k),
        "rotary-embedding-torch": work(
            lambda q, k: other.rotate_queries_or_keys(q) + other.rotate_queries_or_keys(k), q, k
        ),
    }


def moe() -> dict[str, Step]:
    from transformers.models.mixtral import modeling_mixtral as mixtral

    config = mixtral.MixtralConfig(hidden_size=WIDTH, intermediate_size=512, num_local_experts=8, num_experts_per_tok=2)
    config._experts_implementation = "eager"
    ours, theirs, x = components.MoE(WIDTH, 512, 8, 2), mixtral.MixtralSparseMoeBlock(config), text()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.02)
    return {"ours": work(ours, x), "transformers": work(theirs, x)}


def switch_moe() -> dict[str, Step]:
    from transformers.models.switch_transformers import modeling_switch_transformers as switch

    config = switch.SwitchTransformersConfig(
        d_model=WIDTH, d_ff=512, num_experts=8, expert_capacity=80, dropout_rate=0.0, router_jitter_noise=0.0
    )
    ours = components.SwitchMoE(WIDTH, 512, 8, capacity=80)
    theirs, x = switch.SwitchTransformersSparseMLP(config), text()
    return {"ours": work(ours, x), "transformers": work(theirs, x)}


def deepseek_moe() -> dict[str, Step]:
    from transformers.models.deepseek_v3 import modeling_deepseek_v3 as deepseek

    config = deepseek.DeepseekV3Config(
        hidden_size=WIDTH, moe_intermediate_size=128, n_routed_experts=16, num_experts_per_tok=4, n_shared_experts=1,
        n_group=1, topk_group=1,
    )  # fmt: skip
    config._experts_implementation = "eager"
    ours, theirs, x = components.DeepSeekMoE(WIDTH, 128, 16, 4), deepseek.DeepseekV3MoE(config), text()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.02)
    return {"ours": work(ours, x), "transformers": work(theirs, x)}


def rms_norm() -> dict[str, Step]:
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    x = torch.randn(8, LENGTH, WIDTH)
    return {
        "ours": work(components.RMSNorm(WIDTH), x),
        "torch": work(nn.RMSNorm(WIDTH), x),
        "transformers": work(LlamaRMSNorm(WIDTH), x),
    }


def group_norm() -> dict[str, Step]:
    x = torch.randn(4, 64, 48, 48)
    return {"ours": work(components.GroupNorm(8, 64), x), "torch": work(nn.GroupNorm(8, 64), x)}


def swiglu() -> dict[str, Step]:
    from transformers.models.llama import modeling_llama as llama

    config = llama.LlamaConfig(hidden_size=WIDTH, intermediate_size=704, num_attention_heads=HEADS)
    return {"ours": work(components.SwiGLU(WIDTH, 704), text()), "transformers": work(llama.LlamaMLP(config), text())}


def gelu() -> dict[str, Step]:
    x = torch.randn(8, LENGTH, WIDTH)
    return {"ours": work(components.GELU(), x), "torch": work(nn.GELU(), x)}


ROWS: dict[str, Callable[[], dict[str, Step]]] = {
    fn.__name__: fn
    for fn in (
        multi_head, grouped_query, multi_head_latent, flash, linear, performer, sparse, lsh, differential, rope, moe,
        switch_moe, deepseek_moe, rms_norm, group_norm, swiglu, gelu,
    )
}  # fmt: skip


def in_turn(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Median seconds of each, round by round, begun with another each time; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    order = list(steps)
    for number in range(rounds + 1):
        order.append(order.pop(0))
        for name in order:
            started = time.process_time()
            steps[name]()
            if number:
                seconds[name].append(time.process_time() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Measure the rows, print a table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(ROWS))
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {"torch": torch.__version__, "rounds": options.rounds, "rows": {}}
    if RESULTS.is_file():  # rows that are not measured now stay
        result["rows"] = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    for name in options.only.split(","):
        torch.manual_seed(0)
        medians = in_turn(ROWS[name](), options.rounds)
        result["rows"][name] = medians
        print(f"{name:18} ours {1e3 * medians['ours']:8.2f} ms")
        for peer, seconds in medians.items():
            if peer != "ours":
                print(f"{'':18} {1e3 * seconds:8.2f} ms  {seconds / medians['ours']:5.2f}x  {peer}", flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

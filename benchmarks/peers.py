"""Models of one size and random weights: ours and those of transformers, behind one small interface.

d_model 512, 8 layers, vocabulary 8192 with tied embeddings, float32; the hybrids have one attention layer (index 4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nexus.core.state_space import HybridConfig, HybridLM
from nexus.training.distillation import linear_cross_entropy, next_token_labels

VOCAB, WIDTH, LAYERS, FFN = 8_192, 512, 8, 1_408


@dataclass
class Peer:
    """One model and the calls that are timed.

    ``loss(ids)`` is a scalar to call backward on; ``prefill(ids)`` returns a cache; ``decode(token, cache)`` one step,
    returning the cache.
    """

    name: str
    model: nn.Module
    loss: Callable[[Tensor], Tensor]
    prefill: Callable[[Tensor], Any]
    decode: Callable[[Tensor, Any], Any]

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.model.parameters())


def nexus(compiled: bool = False) -> Peer:
    """Our backbone: plan MMMMAMMM, one group, state 128, heads of 64."""
    torch.manual_seed(0)
    config = HybridConfig(
        vocab_size=VOCAB, d_model=WIDTH, n_layers=LAYERS, plan="MMMMAMMM", n_heads=8, n_kv_heads=2, d_ff=FFN,
        ssm_heads=16, ssm_head_dim=64, d_state=128,
    )  # fmt: skip
    model = HybridLM(config)
    if compiled:
        for block in model.backbone.blocks:
            if block.kind == "M":  # an attention block would be compiled anew for each length of its growing cache
                block.compile(dynamic=False)

    def loss(ids: Tensor) -> Tensor:
        hidden, _ = model.backbone(model.embed(ids))
        return linear_cross_entropy(hidden, model.lm_head.weight, next_token_labels(ids))

    def prefill(ids: Tensor) -> Any:
        return model(ids, state=model.init_state(len(ids)), last_only=True).state

    def decode(token: Tensor, state: Any) -> Any:
        return model(token, state=state).state

    return Peer("nexus compiled" if compiled else "nexus", model, loss, prefill, decode)


def huggingface(name: str) -> Peer:
    """One of transformers' models: Bamba, Mamba2, Jamba, Llama."""
    import transformers

    torch.manual_seed(0)
    sizes = {"vocab_size": VOCAB, "hidden_size": WIDTH, "tie_word_embeddings": True, "use_cache": True}
    attention = {"num_hidden_layers": LAYERS, "num_attention_heads": 8, "num_key_value_heads": 2}
    mamba = {"mamba_expand": 2, "mamba_d_conv": 4}
    configs: dict[str, Callable[[], Any]] = {
        "Bamba": lambda: transformers.BambaConfig(
            **sizes, **attention, **mamba, intermediate_size=FFN, attn_layer_indices=[4], mamba_n_heads=16,
            mamba_d_head=64, mamba_n_groups=1, mamba_d_state=128, mamba_chunk_size=256,
        ),
        "Jamba": lambda: transformers.JambaConfig(
            **sizes, **attention, **mamba, intermediate_size=FFN, attn_layer_period=8, attn_layer_offset=4,
            num_experts=1, num_experts_per_tok=1, expert_layer_period=2, expert_layer_offset=1, mamba_d_state=16,
            mamba_dt_rank=32, use_mamba_kernels=False, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        ),
        "Mamba2": lambda: transformers.Mamba2Config(
            **sizes, num_hidden_layers=18, num_heads=16, head_dim=64, state_size=128, n_groups=1, expand=2,
            chunk_size=256,
        ),
        "Llama": lambda: transformers.LlamaConfig(**sizes, **attention, intermediate_size=2_048),
    }  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(configs[name]())
    cache_name = "cache_params" if name == "Mamba2" else "past_key_values"

    def prefill(ids: Tensor) -> Any:
        return model(input_ids=ids, use_cache=True, logits_to_keep=1)[cache_name]

    def decode(token: Tensor, cache: Any) -> Any:
        return model(input_ids=token, use_cache=True, **{cache_name: cache})[cache_name]

    return Peer(name, model, lambda ids: model(input_ids=ids, labels=ids).loss, prefill, decode)


def build(name: str) -> Peer:
    """A peer by name; "nexus" and "nexus compiled" are ours."""
    return nexus("compiled" in name) if name.startswith("nexus") else huggingface(name)

"""Bamba and the dense Granite hybrid: against transformers' models through the bridge, both ways, whole and cached."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import torch

from nexus.zoo.parity import decoded, gradients, randomise, weighting
from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("transformers", "torch")
TOLERANCE = 1e-5

BRIDGE = "nexus/inference/weight_layouts.py"
CORE = "nexus/core/state_space.py"

MUTATIONS = (
    Mutation("norm before the mixer forgotten", "self._mix(self.mixer_norm(x), scene", "self._mix(x + 0 * self.mixer_norm(x), scene", CORE),
    Mutation("residual of the mixer forgotten", "if last_only else x + y", "if last_only else y", CORE),
    Mutation("last norm forgotten", "return self.norm(x), after", "return x + 0 * self.norm(x), after", CORE),
    Mutation("positions start anew in the cache", "start = torch.zeros(1, dtype=torch.long, device=x.device) if state is None else state.next_position", "start = torch.zeros(1, dtype=torch.long, device=x.device)", CORE),
    Mutation("gate and up swapped", '("feed_forward.gate_proj", "feed_forward.up_proj")', '("feed_forward.up_proj", "feed_forward.gate_proj")', BRIDGE),
    Mutation("queries and values swapped", 'for name in "qkv")', 'for name in "vkq")', BRIDGE),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """The tiny model and eleven tokens."""
    from nexus.models.hybrid.bamba import Bamba, BambaConfig

    torch.manual_seed(seed)
    return Example(Bamba(BambaConfig.tiny()), (torch.randint(0, 97, (2, 11)),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Bamba with half of each head turning, and Granite: logits, gradients, cached decode."""
    from transformers import BambaConfig as TheirConfig
    from transformers import BambaForCausalLM, GraniteMoeHybridForCausalLM
    from transformers import GraniteMoeHybridConfig as GraniteConfig

    from nexus.inference.weight_layouts import BAMBA, GRANITE
    from nexus.models.hybrid.bamba import Bamba, BambaConfig

    torch.manual_seed(seed)
    c = BambaConfig.tiny(rotary_fraction=1.0)
    rope = {"rope_type": "default", "rope_theta": c.rope_theta, "partial_rotary_factor": 1.0}
    theirs = BambaForCausalLM(TheirConfig(**_sizes(c), attn_layer_indices=[1], rope_parameters=rope)).eval()
    randomise(theirs, seed, 0.05)
    yield from _compare(Bamba(c), theirs, BAMBA, "Bamba", seed)
    c = BambaConfig.tiny(rotary_fraction=1.0, tie_embeddings=True)
    theirs = GraniteMoeHybridForCausalLM(
        GraniteConfig(
            **_sizes(c), layer_types=["mamba", "attention", "mamba"], num_local_experts=0, num_experts_per_tok=0,
            shared_intermediate_size=c.d_ff, position_embedding_type="rope", attention_multiplier=c.head_dim**-0.5,
            embedding_multiplier=1.0, residual_multiplier=1.0, logits_scaling=1.0,
        )
    ).eval()  # fmt: skip
    randomise(theirs, seed, 0.05)
    yield from _compare(Bamba(c), theirs, GRANITE, "Granite", seed)
    yield from _half_turned(seed)


def _sizes(c: Any) -> dict[str, Any]:
    return {
        "vocab_size": c.vocab_size, "hidden_size": c.d_model, "intermediate_size": c.d_ff,
        "num_hidden_layers": c.n_layers, "num_attention_heads": c.n_heads, "num_key_value_heads": c.n_kv_heads,
        "mamba_n_heads": c.ssm_heads, "mamba_d_head": c.ssm_head_dim, "mamba_n_groups": c.ssm_groups,
        "mamba_d_state": c.d_state, "mamba_expand": 2, "mamba_chunk_size": 16, "rms_norm_eps": c.norm_eps,
        "tie_word_embeddings": c.tie_embeddings, "pad_token_id": None,
    }  # fmt: skip


def _compare(ours: Any, theirs: Any, layout: Any, name: str, seed: int) -> Iterator[Comparison]:
    """Weights by the bridge's own table; gradients in its naming, so that stacked projections are compared too."""
    from nexus.inference.weight_layouts import from_hf, to_hf

    named = dict(theirs.named_parameters())
    from_hf(named, ours.state_dict(), ours.config, layout)
    theirs.load_state_dict(to_hf(ours.state_dict(), ours.config, layout), strict=False)
    ids = torch.randint(1, ours.config.vocab_size, (2, 13), generator=torch.Generator().manual_seed(seed))
    expected = theirs(ids, use_cache=False).logits
    found, weights = ours(ids).logits, weighting(expected, seed)
    yield Comparison(f"{name}: logits", found, expected)
    wanted = gradients(theirs, expected, weights)
    made = to_hf(gradients(ours, found, weights), ours.config, layout)
    for key, gradient in wanted.items():
        yield Comparison(f"{name}: gradient of {key}", made[key], gradient)
    yield Comparison(f"{name}: cached decode", decoded(ours, ids), expected)


def _half_turned(seed: int) -> Iterator[Comparison]:
    """Half of each head turns, as in Bamba-9B: by way of a saved folder, where the bridge reorders the channels."""
    from transformers import BambaConfig as TheirConfig
    from transformers import BambaForCausalLM

    from nexus.inference.bridge import load_hf_folder
    from nexus.models.hybrid.bamba import BambaConfig

    theirs: Any = BambaForCausalLM(TheirConfig(**_sizes(BambaConfig.tiny()), attn_layer_indices=[1])).eval()
    randomise(theirs, seed, 0.05)
    ids = torch.randint(1, 97, (2, 9), generator=torch.Generator().manual_seed(seed))
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        theirs.save_pretrained(folder)
        yield Comparison("half of each head turned", load_hf_folder(folder)(ids).logits, theirs(ids).logits)

"""Nemotron-H: against transformers, with a block of every kind, whole and cached."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from nexus.zoo.parity import Renaming, compare_lm, randomise
from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("transformers", "torch")
TOLERANCE = 1e-5

NAMES = Renaming(
    (
        ("embed.", "model.embeddings."),
        ("layers.", "model.layers."),
        (".mixer.module.router.", ".mixer.gate."),
        (".mixer.module.experts_up", ".mixer.experts.up_proj"),
        (".mixer.module.experts_down", ".mixer.experts.down_proj"),
        (".mixer.module.shared.", ".mixer.shared_experts."),
        (".mixer.module.", ".mixer."),
        (".conv_weight", ".conv1d.weight"),
        (".conv_bias", ".conv1d.bias"),
    ),
    exact={"norm.weight": "model.norm_f.weight"},
)
KINDS = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}

MUTATIONS = (
    Mutation("ReLU not squared", "return x.relu().square()", "return x.relu()", "nexus/layers/components/gelu.py"),
    Mutation("softmax in place of sigmoid", "scores = torch.sigmoid(logits)", "scores = torch.softmax(logits, -1)"),
    Mutation("balance counted in the shares", "shares = scores.gather(-1, chosen)", "shares = (scores + self.balance).gather(-1, chosen)"),
    Mutation("balance not used for the choice", "(scores + self.balance).topk", "scores.topk"),
    Mutation("scale of the routed experts forgotten", "shares = self.routed_scale * shares / (", "shares = shares / ("),
    Mutation("shared expert forgotten", "routed.view_as(x) + self.shared(x)", "routed.view_as(x) + 0 * self.shared(x)"),
    Mutation("bound of the step forgotten", "dt_min=c.dt_min", "dt_min=0.0"),
    Mutation("norm over all groups at once", "weight = self.weight.view(self.groups, -1)", "weight = self.weight.view(1, -1)", "nexus/layers/components/rms_norm.py"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """The tiny model and eleven tokens."""
    from nexus.models.hybrid.nemotron_h import NemotronH, NemotronHConfig

    torch.manual_seed(seed)
    return Example(NemotronH(NemotronHConfig.tiny()), (torch.randint(0, 97, (2, 11)),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The tiny model: logits, gradients, cached decode."""
    from transformers import NemotronHConfig as TheirConfig
    from transformers import NemotronHForCausalLM

    from nexus.models.hybrid.nemotron_h import NemotronH, NemotronHConfig

    torch.manual_seed(seed)
    c = NemotronHConfig.tiny().replace(dt_min=0.05)  # large enough to show
    theirs = NemotronHForCausalLM(
        TheirConfig(
            vocab_size=c.vocab_size, hidden_size=c.d_model, layers_block_type=[KINDS[kind] for kind in c.plan],
            intermediate_size=c.d_ff, num_attention_heads=c.n_heads, num_key_value_heads=c.n_kv_heads,
            head_dim=c.head_dim, mamba_num_heads=c.ssm_heads, mamba_head_dim=c.ssm_head_dim, n_groups=c.ssm_groups,
            ssm_state_size=c.d_state, chunk_size=16, n_routed_experts=c.n_experts, num_experts_per_tok=c.top_k,
            moe_intermediate_size=c.d_expert, moe_shared_expert_intermediate_size=c.d_shared,
            routed_scaling_factor=c.routed_scale, time_step_min=c.dt_min, layer_norm_epsilon=c.norm_eps, pad_token_id=None,
        )
    ).eval()  # fmt: skip
    randomise(theirs, seed, 0.05)
    ours: Any = NemotronH(c)
    balance = torch.tensor([0.4, -0.3, 0.0, 0.2])
    with torch.no_grad():
        theirs.get_parameter("model.layers.0.mixer.dt_bias")[0] = -9.0  # its steps are below the bound
        for module in theirs.modules():
            if hasattr(module, "e_score_correction_bias"):
                module.e_score_correction_bias.copy_(balance)
        for module in ours.modules():
            if hasattr(module, "balance"):
                module.balance.copy_(balance)
    yield from compare_lm(ours, theirs, NAMES, c.vocab_size, seed)

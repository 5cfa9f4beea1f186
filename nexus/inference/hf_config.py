"""What a Hugging Face ``config.json`` means in terms of a HybridConfig, and the other way round.

The one idea: a config is either represented exactly or refused, with everything that stands in the way named at once.
Multipliers that HybridLM doesn't have are returned as scales, to be folded into the weights.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nexus.core.base import ConfigError, fault
from nexus.core.hybrid_config import HybridConfig
from nexus.inference.weight_layouts import BAMBA, GRANITE, LLAMA, Layout

CONFIG_FILE = "config.json"
REFUSE = "Nexus has no such thing; choose a checkpoint without it"


@dataclass(frozen=True)
class Scales:
    """Multipliers of a GraniteMoeHybrid; ``attention`` is relative to 1/sqrt(head_dim)."""

    embedding: float = 1.0
    residual: float = 1.0
    attention: float = 1.0
    logits: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """How to build a HybridLM from a checkpoint: its config, its tensor names, and what to fold into its weights."""

    config: HybridConfig
    layout: Layout
    scales: Scales = Scales()
    conv_bias: bool = True  # False: the checkpoint has none, ours is then zero


def read_recipe(folder: str | Path) -> Recipe:
    """Read ``config.json``.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it isn't JSON, the model type is unknown, or it asks for what HybridLM can't represent.
    """
    path = Path(folder) / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a folder in Hugging Face format")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not readable JSON ({error}); fetch the checkpoint again") from None
    kind = data.get("model_type") if isinstance(data, dict) else None
    if kind not in READERS:
        raise ValueError(f"{path}: model_type = {kind!r} is unknown; known: {', '.join(map(repr, READERS))}")
    return READERS[kind](_Fields(data, str(path)))


class _Fields:
    """A config.json's fields, with a list of what can't be represented."""

    def __init__(self, data: Mapping[str, Any], owner: str) -> None:
        self.data, self.owner = data, owner
        self.faults: list[str] = []

    def get(self, name: str, default: Any = None) -> Any:
        """The field; the default too where it is null."""
        value = self.data.get(name)
        return default if value is None else value

    def size(self, name: str) -> int:
        """A field that has to be there; 1 if it isn't, after noting so."""
        value = self.data.get(name)
        if not isinstance(value, int):
            self.faults.append(fault(name, value, "is not a whole number", "fetch the checkpoint again"))
            return 1
        return value

    def expect(self, name: str, wanted: Any, cure: str = REFUSE) -> None:
        """The field is as wanted, or left out."""
        if self.get(name, wanted) != wanted:
            self.refuse(name, f"is not {wanted!r}", cure)

    def refuse(self, name: str, problem: str, cure: str = REFUSE) -> None:
        """Note that the field can't be represented."""
        self.faults.append(fault(name, self.data.get(name), problem, cure))

    def check(self) -> None:
        """Raise with all faults, if there are any."""
        if self.faults:
            raise ConfigError(self.owner, self.faults)


def _common(fields: _Fields, eps: float, max_length: int, rotary_fraction: float = 1.0) -> dict[str, Any]:
    """What all families share."""
    fields.expect("hidden_act", "silu")
    d_model, n_heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    theta, rotary_fraction = _rope(fields, rotary_fraction)
    return {
        "vocab_size": fields.size("vocab_size"),
        "d_model": d_model,
        "n_layers": fields.size("num_hidden_layers"),
        "d_ff": fields.size("intermediate_size"),
        "n_heads": n_heads,
        "n_kv_heads": fields.get("num_key_value_heads", n_heads),
        "head_dim": fields.get("head_dim", d_model // n_heads),
        "rope_theta": theta,
        "rotary_fraction": rotary_fraction,
        "max_seq_length": fields.get("max_position_embeddings", max_length),
        "norm_eps": fields.get("rms_norm_eps", eps),
        "tie_embeddings": fields.get("tie_word_embeddings", False),
    }


def _rope(fields: _Fields, fraction: float) -> tuple[float, float]:
    """Base and turning share; both spellings (``rope_parameters`` of today, ``rope_theta`` and ``rope_scaling``)."""
    name = "rope_parameters" if fields.get("rope_parameters") else "rope_scaling"
    rope = fields.get(name, {})
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        fields.refuse(name, f"asks for scaling of type {kind!r}")
    theta = rope.get("rope_theta") or fields.get("rope_theta", 10_000.0)
    return float(theta), float(rope.get("partial_rotary_factor", fraction))


def _llama(fields: _Fields, max_length: int = 2048) -> Recipe:
    fields.expect("mlp_bias", False)
    sizes = _common(fields, eps=1e-6, max_length=max_length)
    if sizes["rotary_fraction"] != 1.0:
        fields.refuse("rope_parameters", "turns a part of each head only")
    fields.check()
    return Recipe(HybridConfig(plan="A", qkv_bias=fields.get("attention_bias", False), **sizes), LLAMA)


def _mistral(fields: _Fields) -> Recipe:
    # transformers fills in 4096 where the field is left out, so that only null means "none"
    window, length = fields.data.get("sliding_window", 4096), fields.get("max_position_embeddings", 131_072)
    if window is not None and window < length:
        fields.refuse(
            "sliding_window", "is a window over all layers",
            f"set it to null in {CONFIG_FILE}: that changes nothing for texts of up to {window} tokens",
        )  # fmt: skip
    return _llama(fields, max_length=131_072)


def _qwen2(fields: _Fields) -> Recipe:
    fields.expect("use_sliding_window", False, f"set it to false in {CONFIG_FILE}, or choose a checkpoint without it")
    sizes = _common(fields, eps=1e-6, max_length=32_768)
    fields.check()
    return Recipe(HybridConfig(plan="A", qkv_bias=True, **sizes), LLAMA)


def _mamba_sizes(fields: _Fields, d_model: int) -> dict[str, Any]:
    """The state-space fields, which GraniteMoeHybrid and Bamba share; the defaults are transformers' own."""
    n_heads = fields.get("mamba_n_heads", 128)
    head_dim, inner = fields.get("mamba_d_head", "auto"), fields.get("mamba_expand", 2) * d_model
    limit = fields.get("time_step_limit", (0.0, float("inf")))
    if limit[0] or limit[1] not in (float("inf"), {"__float__": "Infinity"}):  # JSON as transformers 5 writes it
        fields.refuse("time_step_limit", "clamps the step size")
    return {
        "ssm_heads": n_heads,
        "ssm_head_dim": inner // n_heads if head_dim == "auto" else head_dim,
        "ssm_groups": fields.get("mamba_n_groups", 1),
        "d_state": fields.get("mamba_d_state", 256),
        "d_conv": fields.get("mamba_d_conv", 4),
        "ssm_bias": fields.get("mamba_proj_bias", False),
        "qkv_bias": fields.get("attention_bias", False),
    }


def _granite(fields: _Fields) -> Recipe:
    if fields.get("num_local_experts", 8):
        fields.refuse("num_local_experts", "asks for a mixture of experts", "choose a dense checkpoint (0 experts)")
    plan = _plan(fields)
    if "A" in plan and fields.get("position_embedding_type") != "rope":
        fields.refuse("position_embedding_type", "is not 'rope', and there are attention layers")
    sizes = _common(fields, eps=1e-6, max_length=2048)
    sizes |= {"d_ff": fields.get("shared_intermediate_size", 1024), "rotary_fraction": 1.0}
    sizes |= _mamba_sizes(fields, sizes["d_model"])
    fields.check()
    scales = Scales(
        embedding=fields.get("embedding_multiplier", 1.0),
        residual=fields.get("residual_multiplier", 1.0),
        attention=fields.get("attention_multiplier", 1.0) * sizes["head_dim"] ** 0.5,
        logits=fields.get("logits_scaling", 1.0),
    )
    return Recipe(HybridConfig(plan=plan, **sizes), GRANITE, scales, fields.get("mamba_conv_bias", True))


def _plan(fields: _Fields) -> str:
    letters = {"mamba": "M", "linear_attention": "M", "attention": "A", "full_attention": "A"}
    types = fields.get("layer_types", fields.get("layers_block_type", ["mamba"] * fields.size("num_hidden_layers")))
    if set(types) - set(letters) or len(types) != fields.get("num_hidden_layers"):
        fields.refuse("layer_types", f"is not one of {', '.join(letters)} for each layer")
        return "M"
    return "".join(letters[name] for name in types)


def _bamba(fields: _Fields) -> Recipe:
    fields.expect("mlp_bias", False)
    # Bamba turns half of each head unless rope_parameters says otherwise
    sizes = _common(fields, eps=1e-5, max_length=262_144, rotary_fraction=0.5)
    sizes |= _mamba_sizes(fields, sizes["d_model"])
    fields.check()
    attention = set(fields.get("attn_layer_indices", ()))
    plan = "".join("A" if i in attention else "M" for i in range(sizes["n_layers"]))
    return Recipe(HybridConfig(plan=plan, **sizes), BAMBA, conv_bias=fields.get("mamba_conv_bias", True))


READERS: dict[str, Callable[[_Fields], Recipe]] = {
    "llama": _llama,
    "mistral": _mistral,
    "qwen2": _qwen2,
    "granitemoehybrid": _granite,
    "bamba": _bamba,
}

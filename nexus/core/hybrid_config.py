"""Configuration of the backbone: sizes, and the layer plan as a string."""

import contextlib
from dataclasses import dataclass
from typing import Literal, Self

from nexus.core.base import BaseConfig, ConfigError, divides, fault, in_range, positive
from nexus.core.memory import MemoryConfig

LAYER_KINDS = {"A": "attention", "M": "Mamba-2", "W": "Mamba-2 with a short attention window", "T": "Titans memory"}
DEFAULT_PLAN = "MMMMMMMA"  # one attention layer in eight (Jamba, arXiv:2403.19887)


@dataclass(frozen=True, kw_only=True)
class HybridConfig(BaseConfig):
    """Sizes of a :class:`nexus.core.state_space.HybridLM`; 0 means "derive it" where so noted.

    ``plan`` is tiled over ``n_layers``: 'A' attention, 'M' Mamba-2, 'W' Mamba-2 with a short attention window, 'T'
    memory that learns while reading (its fields begin with ``memory``, see :class:`nexus.core.memory.MemoryConfig`).
    ``window`` is the width of the window of 'W' layers (0: none); ``attention_window`` that of 'A' layers (0: they see
    everything, and the model keeps one quadratic term). Both keep the first ``sinks`` tokens visible.
    """

    vocab_size: int = 32_000
    d_model: int = 512
    n_layers: int = 8
    plan: str = DEFAULT_PLAN
    d_ff: int = 0  # 8/3 d_model, rounded up to a multiple of 64
    # attention
    n_heads: int = 8
    n_kv_heads: int = 0  # n_heads
    head_dim: int = 0  # d_model / n_heads
    qkv_bias: bool = False
    rope_theta: float = 10_000.0
    rotary_fraction: float = 1.0  # share of each head's channels that RoPE turns (Bamba: 0.5)
    max_seq_length: int = 8_192
    window: int = 64
    window_choices: tuple[int, ...] = ()  # widths that one set of weights serves, each with gains of its own
    attention_window: int = 0
    sinks: int = 4
    # state space
    ssm_heads: int = 0  # 2 d_model / ssm_head_dim
    ssm_head_dim: int = 64
    ssm_groups: int = 1
    d_state: int = 128
    d_conv: int = 4
    chunk_size: int = 64
    ssm_bias: bool = False
    # memory
    memory_mode: Literal["context", "gate", "layer"] = "gate"
    memory_heads: int = 0  # n_heads
    memory_window: int = 64
    memory_chunk: int = 16
    memory_depth: int = 2
    memory_half_life: int = 16_384
    n_persistent: int = 4
    # all
    norm_eps: float = 1e-5
    tie_embeddings: bool = True

    def __post_init__(self) -> None:
        with contextlib.suppress(TypeError):  # a field of the wrong type: the check below names it
            self._fill()
        super().__post_init__()

    def _fill(self) -> None:
        """Sizes left at 0 follow from the others."""
        fill = {
            "d_ff": -(-8 * self.d_model // 3 // 64) * 64,
            "n_kv_heads": self.n_heads,
            "head_dim": self.d_model // max(self.n_heads, 1),
            "memory_heads": self.n_heads,
            "ssm_heads": 2 * self.d_model // max(self.ssm_head_dim, 1),
        }
        for name, value in fill.items():
            if not getattr(self, name):
                object.__setattr__(self, name, value)

    @property
    def layers(self) -> str:
        """The plan written out, one character a layer."""
        return (self.plan * -(-self.n_layers // len(self.plan)))[: self.n_layers]

    @property
    def memory(self) -> MemoryConfig:
        """Sizes of the 'T' layers."""
        return MemoryConfig(
            d_model=self.d_model, n_heads=self.memory_heads, mode=self.memory_mode, window=self.memory_window,
            chunk_size=self.memory_chunk, depth=self.memory_depth, n_persistent=self.n_persistent,
            half_life=self.memory_half_life,
            norm_eps=self.norm_eps, rope_theta=self.rope_theta,
        )  # fmt: skip

    def _memory_faults(self) -> list[str]:
        try:
            self.memory.validate()
        except ConfigError as error:
            return [f"memory: {line}" for line in error.faults]
        return []

    def faults(self) -> list[str]:
        """Everything that is wrong with the sizes, one line each."""
        sizes = "vocab_size d_model n_layers d_ff n_heads n_kv_heads head_dim ssm_heads ssm_head_dim ssm_groups d_state"
        found = positive(self, *sizes.split(), "d_conv", "chunk_size", "max_seq_length", "rope_theta", "norm_eps")
        for name in ("window", "attention_window", "sinks"):
            found += in_range(self, name, 0)
        found += [*divides(self, "n_kv_heads", "n_heads"), *divides(self, "ssm_groups", "ssm_heads")]
        if self.window_choices and self.window not in self.window_choices:
            found.append(
                fault("window", self.window, "is not among window_choices", f"use one of {self.window_choices}")
            )
        unknown = sorted(set(self.plan) - set(LAYER_KINDS))
        if unknown or not self.plan:
            kinds = ", ".join(f"{key} ({name})" for key, name in LAYER_KINDS.items())
            found.append(fault("plan", self.plan, "has unknown layer kinds" if unknown else "is empty", f"use {kinds}"))
        found += [*in_range(self, "rotary_fraction", 0, 1), *(self._memory_faults() if "T" in self.plan else [])]
        if int(self.head_dim * self.rotary_fraction) % 2:
            cure = "choose it so that an even number of channels turns"
            found.append(
                fault("rotary_fraction", self.rotary_fraction, f"does not suit head_dim = {self.head_dim}", cure)
            )
        if self.head_dim % 2:
            found.append(fault("head_dim", self.head_dim, "is odd", "use an even number, rotary embedding turns pairs"))
        return found

    @classmethod
    def tiny(cls, **changes: object) -> Self:
        """A model that builds and trains on a CPU in under a second."""
        sizes: dict[str, object] = {
            "vocab_size": 97, "d_model": 32, "n_layers": 4, "plan": "MWMA", "n_heads": 4, "n_kv_heads": 2, "d_ff": 64,
            "window": 5, "sinks": 2, "ssm_heads": 4, "ssm_head_dim": 16, "ssm_groups": 2, "d_state": 8, "chunk_size": 8,
            "max_seq_length": 256, "memory_window": 6, "memory_chunk": 4, "n_persistent": 2,
        }  # fmt: skip
        return cls(**{**sizes, **changes})  # type: ignore[arg-type]

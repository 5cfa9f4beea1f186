"""Configuration of the mind: one flat table of sizes, from which each part gets a configuration of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from nexus.core.base import BaseConfig, ConfigError, fault, in_range, positive
from nexus.core.causal import CausalConfig
from nexus.core.energy import EnergyConfig
from nexus.core.hybrid_config import DEFAULT_PLAN, HybridConfig
from nexus.core.reasoner import ReasonerConfig
from nexus.core.world_model import WorldModelConfig

__all__ = ["NEXUSConfig"]


@dataclass(frozen=True, kw_only=True)
class NEXUSConfig(BaseConfig):
    """Sizes of a :class:`nexus.core.nexus_core.NEXUSCore`; 0 means "derive it", as in the parts' own configurations.

    ``plan`` is tiled over ``ssm_n_layers``; ``memory_layers`` memory layers are put between them, evenly (0: none).
    Fields of a part begin with its name. ``NEXUSConfig.preset("small")`` gives a whole model of a size.
    """

    vocab_size: int = 32_000
    d_model: int = 256
    # state space: the backbone
    ssm_n_layers: int = 8
    plan: str = DEFAULT_PLAN
    d_ff: int = 0
    n_heads: int = 8
    n_kv_heads: int = 2
    attention_window: int = 0
    ssm_heads: int = 0
    ssm_head_dim: int = 64
    ssm_groups: int = 1
    d_state: int = 64
    chunk_size: int = 64
    max_seq_length: int = 8_192
    tie_embeddings: bool = True
    # memory
    memory_layers: int = 1
    memory_mode: Literal["context", "gate", "layer"] = "gate"
    memory_window: int = 64
    memory_chunk: int = 32
    memory_depth: int = 2
    memory_half_life: int = 16_384
    n_persistent: int = 4
    # world model
    world_d_latent: int = 128
    world_n_levels: int = 2
    prediction_horizon: int = 4
    world_weight: float = 0.0  # how much of its loss reaches the backbone; it learns in any case
    # energy
    energy_max_iterations: int = 16
    convergence_threshold: float = 1e-2
    confidence_threshold: float = 0.99
    # reasoner
    max_steps: int = 4
    # causal engine
    causal_n_variables: int = 8
    dag_weight: float = 1.0
    sparsity_weight: float = 0.01

    def faults(self) -> list[str]:
        """Everything that is wrong with the sizes, one line each; those of the parts begin with the part's name."""
        found = [
            *positive(self, "ssm_n_layers"),
            *in_range(self, "memory_layers", 0),
            *in_range(self, "world_weight", 0),
        ]
        if found:
            return found
        parts = {
            "state_space": self.get_backbone_config, "world_model": self.get_world_config,
            "energy": self.get_energy_config, "reasoner": self.get_reasoner_config, "causal": self.get_causal_config,
        }  # fmt: skip
        for name, make in parts.items():
            try:
                make()
            except ConfigError as error:
                found += [f"{name}: {line}" for line in error.faults]
        if "T" in self.plan:
            found.append(fault("plan", self.plan, "names memory layers", "leave 'T' out and set memory_layers"))
        return found

    @property
    def layers(self) -> str:
        """The plan written out with its memory layers, one character a layer."""
        depth = self.ssm_n_layers
        plan = (self.plan * -(-depth // max(len(self.plan), 1)))[:depth]
        for i in reversed(range(self.memory_layers)):
            place = (i + 1) * depth // (self.memory_layers + 1)
            plan = f"{plan[:place]}T{plan[place:]}"
        return plan

    def get_backbone_config(self) -> HybridConfig:
        """Of ``model.language``: embedding, backbone and head."""
        return HybridConfig(
            vocab_size=self.vocab_size, d_model=self.d_model, n_layers=len(self.layers), plan=self.layers,
            d_ff=self.d_ff, n_heads=self.n_heads, n_kv_heads=self.n_kv_heads, attention_window=self.attention_window,
            ssm_heads=self.ssm_heads, ssm_head_dim=self.ssm_head_dim, ssm_groups=self.ssm_groups, d_state=self.d_state,
            chunk_size=self.chunk_size, max_seq_length=self.max_seq_length, tie_embeddings=self.tie_embeddings,
            memory_mode=self.memory_mode, memory_window=self.memory_window, memory_chunk=self.memory_chunk,
            memory_depth=self.memory_depth, memory_half_life=self.memory_half_life, n_persistent=self.n_persistent,
        )  # fmt: skip

    def get_world_config(self) -> WorldModelConfig:
        """Of ``model.world_model``."""
        return WorldModelConfig(
            d_input=self.d_model, d_latent=self.world_d_latent, n_levels=self.world_n_levels,
            prediction_horizon=self.prediction_horizon,
        )  # fmt: skip

    def get_energy_config(self) -> EnergyConfig:
        """Of ``model.energy``."""
        return EnergyConfig(
            d_model=self.d_model, max_iterations=self.energy_max_iterations,
            convergence_threshold=self.convergence_threshold, confidence_threshold=self.confidence_threshold,
        )  # fmt: skip

    def get_reasoner_config(self) -> ReasonerConfig:
        """Of ``model.reasoner``."""
        return ReasonerConfig(d_model=self.d_model, max_steps=self.max_steps)

    def get_causal_config(self) -> CausalConfig:
        """Of ``model.causal``."""
        return CausalConfig(
            d_model=self.d_model, n_variables=self.causal_n_variables, dag_weight=self.dag_weight,
            sparsity_weight=self.sparsity_weight,
        )  # fmt: skip

    @classmethod
    def tiny(cls, **changes: object) -> Self:
        """A mind that builds and trains on a CPU in about a second."""
        sizes: dict[str, object] = {
            "vocab_size": 97, "d_model": 32, "ssm_n_layers": 4, "plan": "MWMA", "n_heads": 4, "n_kv_heads": 2,
            "d_ff": 64, "ssm_heads": 4, "ssm_head_dim": 16, "ssm_groups": 2, "d_state": 8, "chunk_size": 8,
            "max_seq_length": 256, "memory_window": 6, "memory_chunk": 4, "n_persistent": 2, "world_d_latent": 16,
            "energy_max_iterations": 8, "causal_n_variables": 4,
        }  # fmt: skip
        return cls(**{**sizes, **changes})  # type: ignore[arg-type]

    @classmethod
    def preset(cls, name: str, **changes: object) -> Self:
        """A size by name: "tiny", "small", "base" or "large"; some fields may be changed.

        Raises:
            ValueError: there is no such size.
        """
        sizes: dict[str, dict[str, object]] = {
            "small": {"d_model": 256, "ssm_n_layers": 8},
            "base": {"d_model": 768, "ssm_n_layers": 24, "n_heads": 12, "n_kv_heads": 4, "d_state": 128},
            "large": {"d_model": 1536, "ssm_n_layers": 32, "n_heads": 16, "n_kv_heads": 4, "d_state": 128},
        }
        if name == "tiny":
            return cls.tiny(**changes)
        if name not in sizes:
            known = "give one of 'tiny', " + ", ".join(map(repr, sizes))
            raise ConfigError(cls.__name__, [fault("preset", name, "is not a choice", known)])
        return cls(**{**sizes[name], **changes})  # type: ignore[arg-type]

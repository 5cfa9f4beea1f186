"""Bamba, and the dense Granite hybrids: Mamba-2 with a few attention layers.

The one idea: take Jamba's mixture, put Mamba-2 in Mamba's place and leave the experts out, and what remains is the
layout of Nexus' own backbone; so this file is a configuration of it and nothing else. Bamba-9B: IBM, Princeton, CMU and
UIUC 2024; Granite 4: IBM 2025 (its multipliers are folded into the weights, see :mod:`nexus.inference.folding`).
"""

from dataclasses import dataclass
from typing import Self

from nexus.core.state_space import HybridConfig, HybridLM


@dataclass(frozen=True, kw_only=True)
class BambaConfig(HybridConfig):
    """A :class:`nexus.core.state_space.HybridConfig` with Bamba-9B's sizes: 32 layers, attention at 9, 18 and 27."""

    vocab_size: int = 128_256
    d_model: int = 4_096
    n_layers: int = 32
    plan: str = "MMMMMMMMMAMMMMMMMMAMMMMMMMMAMMMM"
    d_ff: int = 14_336
    n_heads: int = 32
    n_kv_heads: int = 8
    rotary_fraction: float = 0.5
    max_seq_length: int = 262_144
    ssm_heads: int = 128
    ssm_groups: int = 1
    d_state: int = 256
    tie_embeddings: bool = False

    @classmethod
    def tiny(cls, **changes: object) -> Self:
        """Three layers, one of them attention."""
        sizes: dict[str, object] = {
            "vocab_size": 97, "d_model": 32, "n_layers": 3, "plan": "MAM", "n_heads": 4, "n_kv_heads": 2, "d_ff": 64,
            "ssm_heads": 4, "ssm_head_dim": 16, "ssm_groups": 2, "d_state": 8, "chunk_size": 8, "max_seq_length": 256,
        }  # fmt: skip
        return cls(**{**sizes, **changes})  # type: ignore[arg-type]


def granite(**sizes: object) -> HybridConfig:
    """The same layout as GraniteMoeHybrid has it without experts: every channel of a head turns, tied embeddings."""
    return BambaConfig(**{"rotary_fraction": 1.0, "tie_embeddings": True, **sizes})  # type: ignore[arg-type]


class Bamba(HybridLM):
    """The model; see :class:`nexus.core.state_space.HybridLM` for its calls."""

    config_class = BambaConfig
    config: BambaConfig

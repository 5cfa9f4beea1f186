"""The fields that the configurations of all graph models share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from nexus.core.base import BaseConfig, divides, in_range, positive


@dataclass(frozen=True, kw_only=True)
class GraphModelConfig(BaseConfig):
    """Sizes of a graph model.

    Attributes:
        d_in: features of a node. d_model: width inside. d_out: outputs of a node or graph.
        n_layers: number of layers. dropout: share of activations set to zero in training.
        pooling: "none" answers for every node, "sum" and "mean" for every graph.
    """

    d_in: int = 16
    d_model: int = 64
    d_out: int = 2
    n_layers: int = 3
    dropout: float = 0.0
    pooling: Literal["none", "sum", "mean"] = "none"

    def faults(self) -> list[str]:
        """Everything that is wrong with the sizes, one line each."""
        return [
            *positive(self, "d_in", "d_model", "d_out", "n_layers"),
            *in_range(self, "dropout", 0, 1, open_high=True),
        ]


@dataclass(frozen=True, kw_only=True)
class AttentionModelConfig(GraphModelConfig):
    """Sizes of a graph model whose layers attend along edges.

    Attributes:
        n_heads: number of heads; divides ``d_model``. edge_dim: features of an edge; 0 for none.
    """

    n_heads: int = 4
    edge_dim: int = 0

    def faults(self) -> list[str]:
        """Everything that is wrong with the sizes, one line each."""
        found = [*super().faults(), *positive(self, "n_heads"), *divides(self, "n_heads", "d_model")]
        return [*found, *in_range(self, "edge_dim", 0)]

    @classmethod
    def tiny(cls, **changes: object) -> Self:
        """A model that builds and trains on a CPU in under a second."""
        sizes: dict[str, object] = {"d_in": 6, "d_model": 8, "d_out": 3, "n_layers": 2, "n_heads": 2, "edge_dim": 4}
        return cls(**{**sizes, **changes})  # type: ignore[arg-type]

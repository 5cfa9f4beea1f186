"""How much a profile measures, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from nexus.core.base import BaseConfig, in_range, positive
from nexus.training.precision import Precision
from nexus_final.profiling.windows import attention_count

STEPS = ("calibration", "windows", "placement", "comparison", "layers", "components", "spectrum", "circuit")
WINDOW_STEPS = ("windows", "placement", "comparison")


@dataclass(frozen=True, kw_only=True)
class ProfileConfig(BaseConfig):
    """How much to measure. Tokens are those of one measurement; a sweep makes one for each layer or component.

    Attributes:
        calibration_tokens: for the activation-aware scores and the means.
        window_tokens: for the windows; as long as the longest reach that should count.
        probe_tokens, test_tokens: for switching off single components, and for the circuit's test on held-out text.
        window: width in the sensitivity sweep. compare_windows: widths at which placements are compared.
        share: one layer in so many stays attention. shortlist: layers tried in later greedy rounds; 0 skips greedy.
        group_size: MLP channels in a group, at most an eighth of a layer's. heads_per_layer, groups_per_layer: how many
            are switched off one at a time.
        circuit_share: part of all heads, and of all groups, in the circuit. random_sets, shuffles: of its test.
        spectrum_layers: how many layers' weights get their ranks, of attention and of MLP.
        precision: of matrix products where windows are compared; what a component is worth is always found in the
            teacher's own, some are worth less than bfloat16 resolves.
    """

    calibration_tokens: int = 2_048
    window_tokens: int = 512
    probe_tokens: int = 192
    test_tokens: int = 256
    window: int = 16
    compare_windows: tuple[int, ...] = (16, 64)
    share: int = 8
    shortlist: int = 6
    group_size: int = 64
    heads_per_layer: int = 2
    groups_per_layer: int = 1
    circuit_share: float = 0.02
    random_sets: int = 50
    shuffles: int = 5
    spectrum_layers: int = 4
    precision: Precision = "float32"
    seed: int = 0

    def faults(self) -> list[str]:
        """Ranges."""
        counts = "calibration_tokens window_tokens probe_tokens test_tokens window share group_size heads_per_layer"
        found = positive(self, *counts.split(), "groups_per_layer", "random_sets", "shuffles", "spectrum_layers")
        for name in ("shortlist", "seed"):
            found += in_range(self, name, 0)
        return found + in_range(self, "circuit_share", 0.0, 0.125)

    @classmethod
    def quick(cls, **changes: Any) -> Self:
        """A quarter of the work: short texts, and layers chosen one by one instead of together."""
        small: dict[str, Any] = {
            "calibration_tokens": 512, "window_tokens": 192, "probe_tokens": 64, "test_tokens": 64,
            "compare_windows": (16,), "shortlist": 0, "heads_per_layer": 1, "spectrum_layers": 1,
        }  # fmt: skip
        return cls(**{**small, **changes})

    def costs(self, n_layers: int, tokens: Mapping[str, int]) -> dict[str, float]:
        """Work of each step in tokens passed through the whole model.

        Args:
            n_layers: of the model.
            tokens: length of each text (``calibration``, ``window``, ``probe``, ``compare``, ``test``).
        """
        sweep = (n_layers + 1) / 2  # changing each layer in turn and recomputing what is above
        later = attention_count(n_layers, self.share) - 1
        greedy = (1 + sweep + later * (1 + self.shortlist / 2)) if self.shortlist else -1.0
        placements = 3 if self.shortlist else 2
        return {
            "calibration": float(tokens["calibration"]),
            "windows": tokens["window"] * (1 + sweep),
            "placement": tokens["window"] * (1 + greedy),
            "comparison": tokens["compare"] * (1.0 + placements * len(self.compare_windows)),
            "layers": tokens["probe"] * (1 + 2 * sweep),
            "components": tokens["probe"] * (1 + (self.heads_per_layer + self.groups_per_layer) * sweep),
            "spectrum": 0.0,
            "circuit": tokens["test"] * (5.0 + self.random_sets + self.shuffles),
        }

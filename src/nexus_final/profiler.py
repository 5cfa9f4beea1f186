"""`NIWTCore`: what a teacher's ability rests on, found forward-only and tested honestly.

The one idea: every question is "what changes above layer i if something in layer i changes", so one full pass and many
partial ones answer all of them: which layers, heads and MLP channels matter, which layers must see far, which few
should stay attention in a linear-time student, and whether the reported circuit is really what the teacher rests on.

    core = NIWTCore(model, blocks, heldout)
    result = core.run(folder)                # resumes; the same result is in folder/profile.json
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nexus.core.files import atomic_write_text
from nexus.core.state_space import HybridLM
from nexus.data.blocks import echo
from nexus_final.profiling.components import Part
from nexus_final.profiling.plot import draw_profile
from nexus_final.profiling.probe import Probe
from nexus_final.profiling.settings import ProfileConfig
from nexus_final.profiling.steps import Steps, Stoppable
from nexus_final.profiling.windows import recommend_attention_layers

__all__ = ["NIWTCore", "ProfileConfig", "best_placement", "draw_profile", "recommend_attention_layers"]

FORMAT = 1


class NIWTCore:
    """Profiles one teacher on given text.

    Args:
        model: a teacher of plan 'A' in evaluation mode.
        blocks: (N, T) token ids that components and layers are chosen on.
        heldout: (M, T) ids of other documents, for the comparison of placements and the circuit's test.
        config: how much to measure.

    Raises:
        ValueError: the plan has other layers, or there is no text.
    """

    def __init__(self, model: HybridLM, blocks: Tensor, heldout: Tensor, config: ProfileConfig | None = None) -> None:
        self.model, self.config = model, config or ProfileConfig()
        for name, ids in (("blocks", blocks), ("heldout", heldout)):
            if ids.dim() != 2 or not ids.numel():
                raise ValueError(f"{name}: shape {tuple(ids.shape)}; give at least one row of token ids (N, T)")
        c = self.config
        self.texts = {
            "calibration": _cut(blocks, c.calibration_tokens),
            # Prose hardly ever needs far recall, so on prose alone the layer that does it looks like any other.
            "window": echo(_cut(blocks, c.window_tokens)),
            "probe": _cut(blocks.flip(0), c.probe_tokens),
            "compare": echo(_cut(heldout, c.window_tokens)),
            "test": _cut(heldout.flip(0), c.test_tokens),
        }
        Probe(model, self.texts["probe"])  # refuses a plan it can't read now, not after minutes

    def costs(self) -> dict[str, float]:
        """Work of each step in tokens passed through the whole model; what `advance` adds up to."""
        return self.config.costs(self.model.config.n_layers, {name: ids.numel() for name, ids in self.texts.items()})

    def run(
        self,
        folder: Path | str,
        control: Stoppable | None = None,
        advance: Callable[[float, str], object] | None = None,
    ) -> dict[str, Any]:
        """Measure everything and write ``profile.json``; steps finished earlier on the same inputs are taken over.

        Args:
            folder: for ``profile.json`` and, below ``steps/``, what each step found.
            control: asked between measurements; whatever it raises leaves the finished steps in place.
            advance: told ``(amount, step)`` as work is done; the amounts sum to that of :meth:`costs`.

        Returns:
            ``attention_layers``: ``recommended``, its ``method``, and the sets ``greedy``, ``single``, ``even``.
            ``windows``: ``width``, ``sinks``, ``kl`` of each layer alone; ``rounds`` of the greedy choice;
            ``comparison``, rows of ``window, placement, kl, ppl, ratio`` on held-out text.
            ``layers``: for each layer ``influence``, and for ``attention`` and ``mlp`` the rise of the loss and the KL
            when it always says its mean.
            ``heads``: ``score`` (L x H), ``switched_off``: rows of ``layer, index, loss, kl``. ``mlp_groups``: the same
            for the strongest group(s) of each layer, and their ``size`` in channels.
            ``spectrum``: rows of ``layer, matrix, full_rank, stable_rank, effective_rank, rank_99``.
            ``circuit``: ``heads`` and ``mlp_groups`` as [layer, index], ``channels``, ``share``; ``test``: see
            :func:`nexus_final.profiling.circuit.honest_test`.
            ``config``, ``tokens``, ``seconds``, ``model``, ``key``: how it was found.
            All rises and KLs are in nats a token.
        """
        folder = Path(folder)
        steps = Steps(self.model, self.texts, self.config, folder / "steps", self._key(), control, advance)
        steps.run()
        result = self._assemble(steps)
        atomic_write_text(folder / "profile.json", json.dumps(result, indent=1) + "\n")
        return result

    def _assemble(self, steps: Steps) -> dict[str, Any]:
        """The result in the form that `NIWTCore.run` documents."""
        found, seconds = steps.found, steps.seconds
        sets = {name: list(layers) for name, layers in found["placement"]["sets"].items()}
        method = best_placement(found["comparison"])
        groups: dict[Part, list[dict[str, Any]]] = {"attention": [], "mlp": []}
        for row in found["components"]:
            groups[row["part"]].append({name: row[name] for name in ("layer", "index", "loss", "kl")})
        c = self.config
        return {
            "format": FORMAT,
            "attention_layers": {"recommended": sets[method], "method": method, **sets},
            "windows": {
                "width": c.window,
                "sinks": self.model.config.sinks,
                "kl": found["windows"],
                "rounds": found["placement"]["rounds"],
                "comparison": found["comparison"],
            },
            "layers": {"influence": found["calibration"]["influence"], **found["layers"]},
            "heads": {"score": found["calibration"]["heads"], "switched_off": groups["attention"]},
            "mlp_groups": {"size": steps.groups.size, "switched_off": groups["mlp"]},
            "spectrum": found["spectrum"],
            "circuit": found["circuit"],
            "config": c.to_dict(),
            "tokens": {name: ids.numel() for name, ids in self.texts.items()},
            "seconds": {**seconds, "total": sum(seconds.values())},
            "model": self.model.config.to_dict(),
            "key": steps.key,
        }

    def _key(self) -> str:
        """Hash of everything that the result follows from: settings, text, and the weights by their sums."""
        head = [FORMAT, self.config.to_dict(), self.model.config.to_dict()]
        total = hashlib.sha256(json.dumps(head).encode())
        for name, ids in sorted(self.texts.items()):
            total.update(f"{name}{tuple(ids.shape)}".encode() + ids.cpu().contiguous().numpy().tobytes())
        for name, weight in self.model.state_dict().items():
            size = weight.abs().sum(dtype=torch.float64).item()
            # Nine digits: the order of adding, and so the last ones, changes with the number of threads.
            lean = weight.sum(dtype=torch.float64).item() / size if size else 0.0
            total.update(f"{name}{tuple(weight.shape)}{size:.8e}{lean:.8f}".encode())
        return total.hexdigest()


def best_placement(comparison: list[dict[str, Any]]) -> str:
    """The placement with the lowest KL on held-out text at the narrowest window compared; the first of equals."""
    rows = [row for row in comparison if row["placement"] != "full"]
    narrowest = min(row["window"] for row in rows)
    return str(min((row for row in rows if row["window"] == narrowest), key=lambda row: row["kl"])["placement"])


def _cut(ids: Tensor, tokens: int) -> Tensor:
    """The first ``tokens`` of the text: the beginning of one row, or as many whole rows as it takes and there are."""
    length = ids.shape[1]
    return ids[:1, :tokens] if tokens <= length else ids[: -(-tokens // length)]

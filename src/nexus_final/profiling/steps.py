"""The steps of a profile: each is kept when it is done, so that a run that was stopped goes on behind the last one."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from nexus.core.files import atomic_write_text
from nexus.core.state_space import HybridLM
from nexus.training.precision import mixed_precision
from nexus_final.profiling.circuit import (
    Component,
    Groups,
    candidates,
    choose_circuit,
    honest_test,
    switch_off_layers,
    switched,
)
from nexus_final.profiling.components import Calibration, Site, calibrate
from nexus_final.profiling.probe import Measured, Probe
from nexus_final.profiling.settings import STEPS, WINDOW_STEPS, ProfileConfig
from nexus_final.profiling.spectrum import spectrum
from nexus_final.profiling.windows import (
    compare_placements,
    even_attention_layers,
    greedy_attention_layers,
    recommend_attention_layers,
    window_sensitivity,
)

LOG = logging.getLogger("nexus_final.profiler")


class Stoppable(Protocol):
    """What `NIWTCore.run` asks between two measurements; `nexus.training.control.RunControl` is one."""

    def check(self) -> None:
        """Raise if the run should stop now."""


class Steps:
    """One run over a model: the steps, each a method of that name, and what has been found so far.

    Arguments as for `nexus_final.profiler.NIWTCore`; ``key`` stands for everything that the result follows from.
    """

    def __init__(
        self,
        model: HybridLM,
        texts: Mapping[str, Tensor],
        config: ProfileConfig,
        folder: Path,
        key: str,
        control: Stoppable | None = None,
        advance: Callable[[float, str], object] | None = None,
    ) -> None:
        self.model, self.texts, self.config = model, texts, config
        self.folder, self.key, self.control, self.advance = folder, key, control, advance
        self.costs = config.costs(model.config.n_layers, {name: ids.numel() for name, ids in texts.items()})
        self.seconds: dict[str, float] = {}
        self.found: dict[str, Any] = {}
        self._step, self._left, self._tokens = "", 0.0, 0.0
        self._groups: Groups | None = None

    def run(self) -> dict[str, Any]:
        """What each step finds: read if it was finished on the same inputs, else measured and kept."""
        for name in STEPS:
            self._step, self._left = name, self.costs[name]
            kept = self._kept(name) or self._measure(name)
            self._tell(self._left)
            self.seconds[name], self.found[name] = kept["seconds"], kept["found"]
        return self.found

    # ---- keeping and taking over ------------------------------------------------------------------------------------

    def _kept(self, name: str) -> dict[str, Any] | None:
        if name == "calibration" and not self._calibration_file.is_file():
            return None
        try:
            kept = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return kept if isinstance(kept, dict) and kept.get("key") == self.key else None

    def _measure(self, name: str) -> dict[str, Any]:
        if self.control is not None:
            self.control.check()
        begun = time.monotonic()
        # What a component is worth may be less than bfloat16 resolves; what a window costs is not.
        precision = self.config.precision if name in WINDOW_STEPS else "float32"
        with mixed_precision(self.model.device, precision):
            found = getattr(self, name)()
        text = json.dumps({"key": self.key, "found": found, "seconds": time.monotonic() - begun})
        atomic_write_text(self.folder / f"{name}.json", text)
        kept: dict[str, Any] = json.loads(text)  # so that a resumed run holds the very same
        LOG.info("profiling: %s took %.1f s", name, kept["seconds"])
        return kept

    def _tick(self, part: float) -> None:
        """After a measurement that cost this part of a full pass."""
        if self.control is not None:
            self.control.check()
        self._tell(part * self._tokens)

    def _tell(self, amount: float) -> None:
        amount = min(amount, self._left)  # the plan is an estimate: what is over or left falls to the step's end
        self._left -= amount
        if self.advance is not None and amount:
            self.advance(amount, self._step)

    def _probe(self, text: str, first: int = 0, stride: int = 1) -> Probe:
        ids = self.texts[text]
        self._tokens = float(ids.numel())
        return Probe(self.model, ids.to(self.model.device), first, stride)

    def _window_probe(self) -> Probe:
        length = self.texts["window"].shape[1]
        return self._probe("window", first=length // 8, stride=2)  # early on, a window sees everything anyway

    @property
    def groups(self) -> Groups:
        """Heads and channel groups; the calibration is read from the file that its step wrote."""
        if self._groups is None:
            calibration = Calibration.load(self._calibration_file, self.model.device)
            self._groups = Groups(self.model, calibration, self.config.group_size)
        return self._groups

    @property
    def _calibration_file(self) -> Path:
        return self.folder / f"calibration-{self.key[:16]}.safetensors"

    # ---- the steps --------------------------------------------------------------------------------------------------

    def calibration(self) -> dict[str, Any]:
        """Activation-aware scores and means, from one full pass."""
        found = calibrate(self._probe("calibration"))
        for old in self.folder.glob("calibration-*.safetensors"):
            old.unlink()
        found.save(self._calibration_file)
        return {"influence": found.influence.tolist(), "heads": found.heads.tolist()}

    def windows(self) -> list[float]:
        """KL when one layer alone sees a short window."""
        return window_sensitivity(self._window_probe(), self.config.window, self._tick)

    def placement(self) -> dict[str, Any]:
        """Sets of layers that might stay attention."""
        c, n = self.config, self.model.config.n_layers
        single = recommend_attention_layers(n, self.found["windows"], c.share)
        sets: dict[str, Any] = {"single": single, "even": even_attention_layers(n, c.share)}
        if not c.shortlist:
            return {"sets": sets, "rounds": []}
        probe = self._window_probe()
        probe.keep_reference(probe.start())
        self._tick(1)
        chosen, rounds = greedy_attention_layers(probe, c.window, len(single), c.shortlist, self._tick)
        return {"sets": {"greedy": chosen, **sets}, "rounds": rounds}

    def comparison(self) -> list[dict[str, Any]]:
        """The sets on held-out text."""
        probe = self._probe("compare", stride=2)
        return compare_placements(probe, self.found["placement"]["sets"], self.config.compare_windows, self._tick)

    def layers(self) -> dict[str, list[dict[str, float]]]:
        """Rise of loss and KL when one layer's attention or MLP always says its mean."""
        probe, base = self._referenced_probe()
        found = switch_off_layers(probe, self.groups, self._tick)
        return {part: [_rise(one, base) for one in measured] for part, measured in found.items()}

    def components(self) -> list[dict[str, Any]]:
        """The same for the best heads and channel groups of each layer."""
        probe, base = self._referenced_probe()
        tried = candidates(self.groups, "attention", self.config.heads_per_layer)
        tried += candidates(self.groups, "mlp", self.config.groups_per_layer)
        rows = []
        for component in sorted(tried):
            measured = switched(probe, self.groups, self.groups.collect([component]), self._tick)
            rows.append({**component._asdict(), **_rise(measured, base)})
        return rows

    def spectrum(self) -> list[dict[str, Any]]:
        """Ranks of the weights of the layers that matter most."""
        critical: list[Site] = []
        for part in self.groups.widths:
            kl = [row["kl"] for row in self.found["layers"][part]]
            ranked = sorted(range(len(kl)), key=lambda layer: -kl[layer])
            critical += [(layer, part) for layer in sorted(ranked[: self.config.spectrum_layers])]
        return spectrum(self.model, critical, lambda: self._tick(0))

    def circuit(self) -> dict[str, Any]:
        """The reported circuit and its test on held-out text."""
        c = self.config
        # By KL: the same choice as by the loss in the long run, with far less noise on a short text.
        effects = {Component(r["layer"], r["part"], r["index"]): r["kl"] for r in self.found["components"]}
        chosen = choose_circuit(self.groups, effects, c.circuit_share)
        test = honest_test(
            self._probe("test"), self.groups, sorted(chosen, key=lambda component: -effects[component]),
            n_random=c.random_sets, n_shuffles=c.shuffles, seed=c.seed, tick=self._tick,
        )  # fmt: skip
        chosen = sorted(chosen)
        channels = [[o.layer, sorted(self.groups.units(o))] for o in chosen if o.part == "mlp"]
        return {
            "share": c.circuit_share,
            "heads": [[o.layer, o.index] for o in chosen if o.part == "attention"],
            "mlp_groups": [[o.layer, o.index] for o in chosen if o.part == "mlp"],
            "channels": channels,
            "test": test,
        }

    def _referenced_probe(self) -> tuple[Probe, Measured]:
        probe = self._probe("probe")
        hidden = probe.start()
        probe.keep_reference(hidden)
        self._tick(1)
        return probe, probe.measure(hidden)


def _rise(measured: Measured, base: Measured) -> dict[str, float]:
    return {"loss": measured.loss - base.loss, "kl": measured.kl}

"""Is this model sound? The diagnostic script, grown up: what it is, whether it works, and how fast.

The one idea: every claim that the mind makes about itself is probed on the model at hand: finite outputs, a gradient
for every parameter, no look into the future, equal answers in pieces, and a graph that compiles.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nexus.core.nexus_core import NEXUSConfig, NEXUSCore
from nexus.core.state_space import HybridLM

Language = NEXUSCore | HybridLM
MIB = 1024**2


@dataclass(frozen=True)
class Check:
    """One probe: what was asked, whether the answer is good, and what was found."""

    name: str
    good: bool
    found: str


@dataclass(frozen=True)
class Diagnosis:
    """Everything :func:`diagnose` found; ``good`` if every check is."""

    model: str
    device: str
    torch_version: str
    parameters: dict[str, int]
    memory_mib: dict[str, float]
    checks: list[Check]
    milliseconds: dict[str, float]
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return all(check.good for check in self.checks)

    def to_json(self) -> str:
        """As JSON, with the verdict under ``good``."""
        return json.dumps({"good": self.good, **asdict(self)}, indent=2)

    def __str__(self) -> str:
        lines = [f"{self.model} on {self.device}, torch {self.torch_version}", ""]
        lines += ["parameters", *_table(self.parameters, "{:>14,}"), ""]
        lines += ["memory, MiB", *_table(self.memory_mib, "{:>14.1f}"), ""]
        lines += ["outputs", *(f"  {name:<26}{text}" for name, text in self.outputs.items()), ""]
        lines += ["checks", *(f"  {'ok  ' if c.good else 'FAIL'}  {c.name:<20}{c.found}" for c in self.checks), ""]
        lines += ["time, ms", *_table(self.milliseconds, "{:>14.2f}"), ""]
        return "\n".join([*lines, "All is well." if self.good else "Something is wrong: see FAIL above."])


def _table(values: dict[str, Any], form: str) -> list[str]:
    return [f"  {name:<26}{form.format(value)}" for name, value in values.items()]


def load_model(folder: str | Path) -> Language:
    """A saved NEXUSCore or HybridLM, or the student inside a release.

    Raises:
        ValueError: the folder holds neither.
        FileNotFoundError: there is no such folder.
    """
    from nexus.inference.release import load_release

    header = Path(folder) / "config.json"
    if header.is_file():
        kind = json.loads(header.read_text(encoding="utf-8")).get("class")
        known = {cls.__name__: cls for cls in (NEXUSCore, HybridLM)}
        if kind in known:
            return known[kind].load(folder)
    return load_release(folder).model


def diagnose(model: Language, length: int = 32, compiling: bool = True) -> Diagnosis:
    """Probe a model with random ids of ``length`` tokens (8 or more); its weights stay as they are."""
    if length < 8:
        raise ValueError(f"length={length}: is too short to look for the future in; give 8 or more")
    training = model.training
    ids = torch.randint(model.config.vocab_size, (1, length), generator=torch.Generator().manual_seed(0))
    ids = ids.to(model.device)
    probes: list[Callable[[Language, Tensor], Check]] = [_finite, _gradients, _causal, _pieces]
    probes += [_compiles] if compiling else []
    model.eval()
    try:
        return Diagnosis(
            model=f"{type(model).__name__} ({_backbone(model).config.layers})",
            device=str(model.device),
            torch_version=torch.__version__,
            parameters=_parameters(model),
            memory_mib=_memory(model, length),
            checks=[_guarded(probe, model, ids) for probe in probes],
            milliseconds=_times(model, ids),
            outputs=_outputs(model, ids),
        )
    finally:
        model.zero_grad(set_to_none=True)
        model.train(training)


def _guarded(probe: Callable[[Language, Tensor], Check], model: Language, ids: Tensor) -> Check:
    """A probe that breaks has found something too."""
    try:
        return probe(model, ids)
    except (RuntimeError, ValueError, ArithmeticError) as error:
        return Check(probe.__name__.strip("_"), False, f"{type(error).__name__}: {str(error).splitlines()[0][:160]}")


def _backbone(model: Language) -> Any:
    return model.state_space if isinstance(model, NEXUSCore) else model.backbone


def _logits(model: Language, ids: Tensor) -> Tensor:
    return model(ids)["logits"] if isinstance(model, NEXUSCore) else model(ids).logits


def _parameters(model: Language) -> dict[str, int]:
    counts = {name: sum(p.numel() for p in child.parameters()) for name, child in model.named_children()}
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {**counts, "all, shared ones once": sum(p.numel() for p in model.parameters()), "that learn": trainable}


def _memory(model: Language, length: int) -> dict[str, float]:
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    learn = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    with torch.no_grad():
        state = model.init_state(1)
        ids = torch.zeros(1, length, dtype=torch.long, device=model.device)
        after = model(ids, state=state)
    held = after["state"] if isinstance(after, dict) else after.state
    return {
        "weights": weights / MIB,
        "training with Adam": (weights + 3 * learn) / MIB,
        f"state after {length} tokens": held.nbytes() / MIB,
        f"activations, {length} tokens": length * model.config.d_model * 4 / MIB,  # the FAQ's rough estimate
    }


def _finite(model: Language, ids: Tensor) -> Check:
    with torch.no_grad():
        logits = _logits(model, ids)
    good = bool(logits.isfinite().all()) and logits.shape == (*ids.shape, model.config.vocab_size)
    return Check("forward", good, f"logits {tuple(logits.shape)}, largest {float(logits.abs().max()):.3g}")


def _gradients(model: Language, ids: Tensor) -> Check:
    model.zero_grad(set_to_none=True)
    with torch.enable_grad():
        total = model.loss(ids)["total"] if isinstance(model, NEXUSCore) else _logits(model, ids).square().mean()
        total.backward()
    wanted = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    lacking = [name for name, p in wanted if p.grad is None or not bool(p.grad.any())]
    wild = [name for name, p in wanted if p.grad is not None and not bool(p.grad.isfinite().all())]
    text = f"{len(wanted)} parameters, loss {float(total.detach()):.4g}"
    text += "".join(
        f"; {word}: {', '.join(names[:5])}" for word, names in (("none for", lacking), ("NaN in", wild)) if names
    )
    return Check("gradients", not lacking and not wild, text)


def _causal(model: Language, ids: Tensor) -> Check:
    """A changed token may move nothing before itself: neither logits nor what any part makes of the text."""
    place = ids.shape[1] // 2
    changed = ids.clone()
    changed[:, place:] = (changed[:, place:] + 1) % model.config.vocab_size
    with torch.no_grad():
        one, other = _in_time(model, ids), _in_time(model, changed)
    leaks = {name: float((one[name] - other[name])[:, :place].abs().max()) for name in one}
    heard = float((one["logits"] - other["logits"])[:, place:].abs().max())
    worst = max(leaks, key=lambda name: leaks[name])
    text = f"changing token {place} moves nothing before it in {', '.join(leaks)}"
    if leaks[worst]:
        text = f"changing token {place} moves {worst} before it by {leaks[worst]:.3g}"
    return Check("causality", leaks[worst] == 0 and heard > 0, text if heard else "changing a token moves nothing")


def _in_time(model: Language, ids: Tensor) -> dict[str, Tensor]:
    """Everything (B, T, ...) that is made of a text."""
    if not isinstance(model, NEXUSCore):
        return {"logits": _logits(model, ids)}
    output, info = model(ids, return_all_outputs=True)
    found = {name: output[name] for name in ("logits", "hidden")}
    found |= {name: info[name] for name in ("refined", "reasoned")}
    return {**found, **info["world"], "driven": model.causal(output["hidden"])}


def _pieces(model: Language, ids: Tensor) -> Check:
    state, parts = model.init_state(1), []
    with torch.no_grad():
        whole = _logits(model, ids)
        for part in ids.split(max(ids.shape[1] // 3, 1), dim=1):
            output = model(part, state=state)
            logits, state = (output[k] if isinstance(output, dict) else getattr(output, k) for k in ("logits", "state"))
            parts.append(logits)
    gap = float((torch.cat(parts, 1) - whole).abs().max() / whole.abs().max().clamp(min=1e-12))
    return Check("pieces", gap < 1e-3, f"in pieces, logits differ by {gap:.2g} of the largest")


def _compiles(model: Language, ids: Tensor) -> Check:
    import torch._dynamo

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch._dynamo.reset()
        try:
            compiled: nn.Module = torch.compile(model, backend="aot_eager", fullgraph=True)  # type: ignore[assignment]
            with torch.no_grad():
                output = compiled(ids)
        except Exception as error:  # the compiler raises errors of many kinds; each is a finding
            return Check("compile", False, f"{type(error).__name__}: {str(error).splitlines()[0][:160]}")
        finally:
            torch._dynamo.reset()
    logits = output["logits"] if isinstance(output, dict) else output.logits
    with torch.no_grad():
        gap = float((logits - _logits(model, ids)).abs().max())
    return Check("compile", gap < 1e-3, f"one graph, logits differ by {gap:.2g}")


def _times(model: Language, ids: Tensor) -> dict[str, float]:
    with torch.no_grad():
        state = model.init_state(1)
        step = model(ids, state=state)
        after = step["state"] if isinstance(step, dict) else step.state
        found = {
            f"forward, {ids.shape[1]} tokens": _timed(model, lambda: _logits(model, ids)),
            "one more token": _timed(model, lambda: model(ids[:, :1], state=after.fork())),
        }
    with torch.enable_grad():
        found["forward and backward"] = _timed(model, lambda: _logits(model, ids).square().mean().backward(), 2)
    return found


def _timed(model: Language, call: Callable[[], object], repeats: int = 5) -> float:
    """Milliseconds of the quickest of some calls, after one to warm up."""
    best = float("inf")
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 1000 * best


def _outputs(model: Language, ids: Tensor) -> dict[str, str]:
    if not isinstance(model, NEXUSCore):
        return {"hidden": str(tuple(model(ids).hidden.shape))}
    with torch.no_grad():
        output, info = model(ids, return_all_outputs=True)
    energy = info["energy_info"]
    return {
        "hidden": str(tuple(output["hidden"].shape)),
        "energy": f"{energy['iterations']:.2f} steps a position, {float(energy['settled'].float().mean()):.0%} settled",
        "world": f"surprise {float(info['world']['surprise'].mean()):.4g}",
        "proof": f"{len(info['proof']['steps'])} steps",
        "causal graph": f"{int(info['causal_graph'].sum())} edges",
    }


def preset(name: str) -> NEXUSCore:
    """A fresh model of a size, see :meth:`NEXUSConfig.preset`."""
    torch.manual_seed(0)
    return NEXUSCore(NEXUSConfig.preset(name))

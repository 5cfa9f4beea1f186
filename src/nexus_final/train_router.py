"""Train and judge the intent router: `python -m nexus_final.train_router`.

The one idea: three splits with three jobs. The head learns on `train`; `heldout` chooses the depth, the temperature and
the threshold and is never learnt from; `test` is looked at once, for the figures, with simpler routers beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from nexus.core.files import atomic_write_text
from nexus.core.state_space import HybridLM
from nexus_final.router import Router, RouterConfig
from nexus_final.router_baselines import baselines
from nexus_final.router_features import Encoder, TextFeatures
from nexus_final.router_fit import RouterSettings, try_depth, usual_depths
from nexus_final.router_metrics import summary, typos

Example = tuple[str, str]
SPLITS = ("train", "heldout", "test")
REPORT_FILE = "report.json"


class Stoppable(Protocol):
    """What is asked between two batches; `nexus.training.control.RunControl` is one."""

    def check(self) -> None:
        """Raise if the run should stop now."""


def train_router(
    model: HybridLM,
    tokenizer: Encoder,
    examples: Mapping[str, Sequence[Example]],
    out_folder: Path | str,
    settings: RouterSettings | None = None,
    control: Stoppable | None = None,
    advance: Callable[[float, str], object] | None = None,
) -> dict[str, Any]:
    """Train a router on a frozen model, judge it, and write `router.safetensors`, `router.json` and `report.json`.

    Args:
        model, tokenizer: the student; its states are what the router reads.
        examples: (text, intent) pairs of `train`, `heldout` and `test`.
        advance: told ``(texts, what)`` as texts are read; see :func:`texts_to_read`.

    Returns:
        On the test texts: ``macro_f1``, ``accuracy``, ``ece`` (15 bins), ``nll``, ``reliability``, ``confusion``,
        ``abstention`` (``aurc`` and the risk at ten coverages), ``abstain`` (share of texts left unanswered),
        ``answered`` (``coverage``: share of real requests that get an answer, ``accuracy``: share of answers that are
        right), ``flip_rate`` under typing slips and ``flip_rate_answered`` among texts above the threshold,
        ``baselines`` with ``macro_f1`` and ``accuracy``, ``beats_all``.
        ``tried``: each depth with its figures on `heldout`.
        ``intents``, ``n``, ``depth``, ``temperature``, ``threshold``, ``settings``, ``seconds``, ``seed``.

    Raises:
        ValueError: a split is missing or empty, or holds an intent that `train` lacks.
    """
    begun = time.monotonic()
    s = settings or RouterSettings()
    texts = _Texts(examples, s)
    depths = s.depths or usual_depths(model.config.n_layers)
    read = _Reader(TextFeatures(model, tokenizer, depths, s.max_tokens), control, advance)
    features = {name: read(texts.texts[name], name) for name in ("train", "slips", "heldout")}
    tried = []
    for place, depth in enumerate(depths):
        here = {name: states[:, place] for name, states in features.items()}
        tried.append(try_depth(here, texts.targets, len(texts.labels), depth, s))
    best = max(tried, key=lambda one: (one.row["macro_f1"], -one.row["nll"]))
    config = RouterConfig(
        labels=texts.labels, abstain=s.abstain if s.abstain in texts.labels else None, depth=best.depth,
        d_model=model.config.d_model, hidden=s.hidden, max_tokens=s.max_tokens,
        temperature=best.temperature, threshold=best.threshold,
    )  # fmt: skip
    router = Router(best.head, config, model, tokenizer)
    last = _Reader(TextFeatures(model, tokenizer, (best.depth,), s.max_tokens), control, advance)
    report = {
        **_judge(router, texts, features["train"][:, depths.index(best.depth)], last, s),
        "tried": [one.row for one in tried],
        "intents": list(texts.labels),
        "n": {name: len(texts.texts[name]) for name in SPLITS},
        "depth": best.depth,
        "temperature": best.temperature,
        "threshold": best.threshold,
        "seed": s.seed,
        "settings": s.to_dict(),
        "seconds": time.monotonic() - begun,
    }
    router.save(out_folder)
    atomic_write_text(Path(out_folder) / REPORT_FILE, json.dumps(report, indent=1) + "\n")
    return report


def texts_to_read(examples: Mapping[str, Sequence[Example]], settings: RouterSettings | None = None) -> int:
    """How many texts :func:`train_router` will pass through the model: what `advance` adds up to."""
    return sum(map(len, _Texts(examples, settings or RouterSettings()).texts.values()))


class _Texts:
    """Texts and targets by split: at most so many of each intent, and some again with typing slips."""

    def __init__(self, examples: Mapping[str, Sequence[Example]], s: RouterSettings) -> None:
        missing = [name for name in SPLITS if not examples.get(name)]
        if missing:
            raise ValueError(
                f"examples: nothing in {', '.join(missing)}; give (text, intent) pairs for each of {SPLITS}"
            )
        limits = {"train": s.train_per_intent, "heldout": s.heldout_per_intent, "test": s.test_per_intent}
        taken = {name: _take(examples[name], limit) for name, limit in limits.items()}
        self.labels = tuple(sorted({intent for _, intent in taken["train"]}))
        new = {intent for name in SPLITS for _, intent in taken[name]} - set(self.labels)
        if new:
            raise ValueError(
                f"examples: no text of {', '.join(sorted(new))} in train; add some, or leave the intent out"
            )
        self.slipping = slice(None, None, max(1, round(1 / s.typo_share))) if s.typo_share else slice(0)
        for split, name in (("train", "slips"), ("test", "test_slips")):
            some = taken[split][self.slipping]
            taken[name] = [(typos(text, f"{s.seed}:{text}"), intent) for text, intent in some]
        self.texts = {name: [text for text, _ in pairs] for name, pairs in taken.items()}
        self.targets = {
            name: torch.tensor([self.labels.index(intent) for _, intent in pairs], dtype=torch.long)
            for name, pairs in taken.items()
        }


def _take(examples: Sequence[Example], per_intent: int) -> list[Example]:
    """The first ``per_intent`` of each intent, in the given order."""
    seen: Counter[str] = Counter()
    taken = []
    for text, intent in examples:
        seen[intent] += 1
        if seen[intent] <= per_intent:
            taken.append((text, intent))
    return taken


class _Reader:
    """Features of texts, with progress and a look at the control after every batch."""

    def __init__(
        self, features: TextFeatures, control: Stoppable | None, advance: Callable[[float, str], object] | None
    ) -> None:
        self.features, self.control, self.advance = features, control, advance

    def __call__(self, texts: Sequence[str], what: str) -> Tensor:
        def after(count: int) -> None:
            if self.control is not None:
                self.control.check()
            if self.advance is not None:
                self.advance(float(count), what)

        return self.features(texts, after)


def _judge(router: Router, texts: _Texts, known: Tensor, read: _Reader, s: RouterSettings) -> dict[str, Any]:
    """All figures on the test texts, which nothing was chosen by."""
    features = read(texts.texts["test"], "test").flatten(1)
    probabilities = router.probabilities(features)
    truth, (confidence, said) = texts.targets["test"], probabilities.max(1)
    slipped = router.probabilities(read(texts.texts["test_slips"], "test_slips").flatten(1)).argmax(1)
    flipped = slipped != said[texts.slipping]
    sure = (confidence >= router.config.threshold)[texts.slipping]
    abstain = -1 if router.config.abstain is None else texts.labels.index(router.config.abstain)
    silent = (confidence < router.config.threshold) | (said == abstain)
    answered = ~silent & (truth != abstain)
    others = baselines(
        texts.texts["train"], texts.targets["train"].numpy(), known.numpy(),
        texts.texts["test"], truth.numpy(), features.numpy(), s.seed,
    )  # fmt: skip
    found = summary(probabilities.double().numpy(), truth.numpy(), texts.labels)
    return {
        **found,
        "abstain": silent.float().mean().item(),
        "answered": {
            "coverage": _share(answered, truth != abstain),
            "accuracy": _share(answered & (said == truth), ~silent),
        },
        "flip_rate": _share(flipped, torch.ones_like(flipped)),
        "flip_rate_answered": _share(flipped & sure, sure),
        "baselines": others,
        "beats_all": all(found["macro_f1"] > other["macro_f1"] for other in others.values()),
    }


def _share(part: Tensor, whole: Tensor) -> float:
    """How much of ``whole`` is ``part`` (both bool); 0 of nothing."""
    return (part.sum() / whole.sum().clamp(min=1)).item()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: trains on the released student with the built-in examples, and prints the figures."""
    from nexus.inference.release import load_release
    from nexus_final.intents import intent_examples

    made = argparse.ArgumentParser(prog="python -m nexus_final.train_router", description="Train the intent router.")
    made.add_argument("--release", metavar="DIR", type=Path, default=Path("nexus-release-v1"), help="the student")
    made.add_argument("--out", metavar="DIR", type=Path, default=Path("results/router_weights"), help="where it goes")
    made.add_argument("--quick", action="store_true", help="a quarter of the texts")
    made.add_argument("--seed", metavar="N", type=int, default=0, help="of everything random (default 0)")
    chosen = made.parse_args(arguments)
    try:
        release = load_release(chosen.release)
        examples = {name: intent_examples(name) for name in ("train", "heldout", "test")}
        settings = (RouterSettings.quick if chosen.quick else RouterSettings)(seed=chosen.seed)
        report = train_router(release.model, release.tokenizer, examples, chosen.out, settings)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(describe(report))
    return 0


def describe(report: Mapping[str, Any]) -> str:
    """The figures of a report in a few lines."""
    figures = {name: report[name] for name in ("macro_f1", "accuracy", "ece", "flip_rate", "flip_rate_answered")}
    figures["aurc"] = report["abstention"]["aurc"]
    lines = ["router: " + ", ".join(f"{name} {value:.3f}" for name, value in figures.items())]
    lines += [f"  {name}: macro-F1 {found['macro_f1']:.3f}" for name, found in report["baselines"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

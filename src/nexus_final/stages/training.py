"""Stage 2: the student, aligned layer by layer, then distilled end to end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nexus.core.files import atomic_write_text
from nexus.training.sparse_targets import SparseTargets
from nexus_final.alignment import Aligner, AlignmentSettings
from nexus_final.conversion import start_student
from nexus_final.librarian import Librarian
from nexus_final.stage import Context, Estimate, Stage, source_version
from nexus_final.stages.common import blocks, specs, teacher_facts, teachers
from nexus_final.trainer import NexusTrainer, TrainSettings

WINDOWS = (0, 16, 64, 128)
HELD_OUT_TEXTS = 4  # looked at now and then while training


class Lessons:
    """The caches of all teachers side by side: text ``i`` of ``n`` teachers is read from teacher ``i % n``.

    One teacher a text, never an average: averaging several made students worse (arXiv:2602.01064).
    """

    def __init__(self, librarians: Sequence[Librarian]) -> None:
        self.librarians = librarians

    def __len__(self) -> int:
        return len(self.librarians[0])

    def read(self, index: int) -> tuple[Tensor, SparseTargets]:
        """Ids (1, T) and targets (1, T) of a text."""
        return self.librarians[index % len(self.librarians)].read(index)


class TrainingStage(Stage):
    """Start from the first teacher, align, distil; artefacts `checkpoints/student` and `results/training.json`."""

    name = "train"
    title = "2 Training"
    needs = ("profile", "extract")
    version = source_version(
        "nexus_final.alignment", "nexus_final.conversion", "nexus_final.trainer", "nexus.core.state_space",
        "nexus.layers.ssm", "nexus.training.distillation", __name__,
    )  # fmt: skip

    def inputs(self, ctx: Context) -> dict[str, Any]:
        """Settings and the teacher; texts come through the extraction."""
        names = ("seed", "sequence_length", "align_tokens", "align_steps", "train_tokens", "mixer_rate", "rest_rate")
        return {"teachers": teacher_facts(ctx), **ctx.config.subset(*names, "ce_weight")}

    def run(self, ctx: Context) -> Sequence[Path]:
        """Align, train, save; both halves go on where they were stopped."""
        torch.manual_seed(ctx.config.seed)
        all_teachers = teachers(ctx)
        lessons = Lessons([Librarian(ctx.paths.memory / t.spec.teacher_id) for t in all_teachers])
        first = all_teachers[0].spec.teacher_id
        profile = json.loads((ctx.paths.results / "profile" / first / "profile.json").read_text(encoding="utf-8"))
        teacher = all_teachers[0].load()
        student = start_student(teacher, profile["attention_layers"]["recommended"], WINDOWS, ctx.config.seed)
        errors = self._align(ctx, teacher, student)
        del teacher  # its word is in the cache; its memory is for the optimiser
        settings = self._settings(ctx)
        held_out = blocks(ctx, "heldout", HELD_OUT_TEXTS)
        with ctx.progress("distilling", settings.steps) as bar:
            trainer = NexusTrainer(
                student,
                lessons,
                held_out,
                ctx.paths.checkpoint_latest,
                settings,
                ctx.control,
                progress=lambda step, note: bar.advance(1, note),
                on_checkpoint=lambda step, path, digest: ctx.add_checkpoint(step, path, digest),
            )
            history = trainer.run()
        folder = student.save(ctx.paths.checkpoints / "student")
        path = ctx.paths.results / "training.json"
        facts = {
            "alignment": {
                "errors": {str(layer): error for layer, error in errors.items()},
                "steps": ctx.config.align_steps,
                "texts": max(1, ctx.config.align_tokens // ctx.config.sequence_length),
            },
            "history": history,
            "steps": settings.steps,
            "tokens": settings.steps * settings.batch_size * ctx.config.sequence_length,
            "windows": list(WINDOWS),
            "skipped": len(trainer.memory.skipped) + trainer.numbers.skipped,
        }
        atomic_write_text(path, json.dumps(facts, indent=1))
        return [folder, path]

    def _align(self, ctx: Context, teacher: Any, student: Any) -> dict[int, float]:
        texts = blocks(ctx, "train", max(1, ctx.config.align_tokens // ctx.config.sequence_length))
        folder = self._alignment(ctx)
        folder.mkdir(parents=True, exist_ok=True)
        with ctx.progress("aligning layers", student.config.layers.count("W")) as bar:
            settings = AlignmentSettings(steps=ctx.config.align_steps)
            aligner = Aligner(teacher, student, texts, folder, settings, ctx.control, lambda note: bar.advance(1, note))
            return aligner.run()

    def _settings(self, ctx: Context) -> TrainSettings:
        c = ctx.config
        steps = max(1, c.train_tokens // c.sequence_length)
        return TrainSettings(
            steps=steps,
            mixer_rate=c.mixer_rate,
            rest_rate=c.rest_rate,
            ce_weight=c.ce_weight,
            seed=c.seed,
            eval_every=steps if c.quick else max(1, steps // 3),  # a look costs as much as several steps
            save_every=max(1, min(60, steps // 2)),
        )

    def _alignment(self, ctx: Context) -> Path:
        return ctx.paths.checkpoints / "alignment"

    def discard(self, ctx: Context) -> None:
        """Drop aligned layers and checkpoints of other settings."""
        shutil.rmtree(ctx.paths.checkpoints, ignore_errors=True)

    def estimate(self, ctx: Context) -> Estimate:
        """By tokens and the first teacher's size: a training token costs about four times a read one."""
        parameters = specs(ctx.config)[0].params_billions * 1e9
        work = ctx.config.train_tokens * 8 + ctx.config.align_steps * ctx.config.sequence_length * 4
        return Estimate(
            seconds=work * parameters / 1e11, disk=int(parameters * 4 * 8), memory=int(parameters * 4 * 7 + 2**30)
        )

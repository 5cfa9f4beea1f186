"""Stage 2: layers aligned one by one, then two students distilled end to end: one with windows, one without any.

The one idea: both start from the same aligned layers. The one with windows needs few steps; the one without needs most
of the time, half of it on aligning its layers further, which is harm to the other. Taking turns in one set of weights
held both back. Each keeps attention where it misses it most: far recall for the one, the first layers for the other
(measured, see dev/LOG.md).
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nexus.core.files import atomic_write_text, kill_point
from nexus.core.state_space import HybridLM
from nexus.core.windows import without_windows
from nexus.training.sparse_targets import SparseTargets
from nexus_final.alignment import CONVERTED, Aligner, AlignmentSettings
from nexus_final.conversion import keep_attention, start_student
from nexus_final.librarian import Librarian
from nexus_final.profiling.replacement import replacement_costs
from nexus_final.profiling.windows import recommend_attention_layers
from nexus_final.stage import Context, Estimate, Stage, source_version
from nexus_final.stages.common import blocks, curriculum, specs, teacher_facts, teachers
from nexus_final.trainer import NexusTrainer, TrainSettings

WINDOWS = (16, 64, 128, 256)
MIXED_SHARE = 4  # one in so many texts of the windowed student is an echo: attention has to take over all far recall
TURNS = (16, 64, 16, 128)  # the narrowest has most to learn, the widest nothing
WINDOWED, BARE = "student", "student_without_window"  # folders below checkpoints/
PLACEMENT_TEXTS = 2  # that the layers of the student without windows are chosen on
HELD_OUT_TEXTS = 4  # looked at now and then while training


class Lessons:
    """The caches of all teachers side by side: text ``i`` of ``n`` teachers is read from teacher ``i % n``.

    One teacher a text, never an average: averaging several made students worse (arXiv:2602.01064).

    Args:
        places: which texts of the cache to learn from.
    """

    def __init__(self, librarians: Sequence[Librarian], places: Sequence[int]) -> None:
        self.librarians, self.places = librarians, places

    def __len__(self) -> int:
        return len(self.places)

    def read(self, index: int) -> tuple[Tensor, SparseTargets]:
        """Ids (1, T) and targets (1, T) of a text."""
        place = self.places[index]
        return self.librarians[place % len(self.librarians)].read(place)


class TrainingStage(Stage):
    """Start from the first teacher, align, distil.

    Artefacts `checkpoints/student`, `checkpoints/student_without_window` and `results/training.json`.
    """

    name = "train"
    title = "2 Training"
    needs = ("profile", "extract")
    version = source_version(
        "nexus_final.alignment", "nexus_final.conversion", "nexus_final.profiling.replacement", "nexus_final.trainer",
        "nexus.core.state_space",
        "nexus.layers.ssm", "nexus.training.distillation", "nexus.training.precision", __name__,
    )  # fmt: skip

    def inputs(self, ctx: Context) -> dict[str, Any]:
        """Settings and the teacher; texts come through the extraction."""
        names = ("seed", "sequence_length", "align_tokens", "align_steps", "realign_steps")
        rates = ("mixer_rate", "rest_rate", "windowed_mixer_rate", "windowed_rest_rate", "ce_weight", "precision")
        return {"teachers": teacher_facts(ctx), **ctx.config.subset(*names, "train_tokens", "windowed_tokens", *rates)}

    def run(self, ctx: Context) -> Sequence[Path]:
        """Align, then train both students; every part goes on where it was stopped."""
        torch.manual_seed(ctx.config.seed)
        all_teachers = teachers(ctx)
        librarians = [Librarian(ctx.paths.memory / t.spec.teacher_id) for t in all_teachers]
        texts = curriculum(ctx)
        prose, mixed = Lessons(librarians, range(texts.prose)), Lessons(librarians, texts.mixed(MIXED_SHARE))
        first = all_teachers[0].spec.teacher_id
        profile = json.loads((ctx.paths.results / "profile" / first / "profile.json").read_text(encoding="utf-8"))
        teacher = all_teachers[0].load()
        aligned = start_student(teacher, WINDOWS, ctx.config.seed)
        errors = {WINDOWED: self._align(ctx, WINDOWED, teacher, aligned, ctx.config.align_steps)}
        places = {WINDOWED: profile["attention_layers"]["recommended"], BARE: self._bare_places(ctx, teacher, aligned)}
        windowed = keep_attention(aligned, places[WINDOWED])
        bare = without_windows(keep_attention(aligned, places[BARE]))
        del aligned
        errors[BARE] = self._align(ctx, BARE, teacher, bare, ctx.config.realign_steps)
        del teacher  # its word is in the cache; its memory is for the optimiser
        parts = {
            WINDOWED: self._distil(ctx, WINDOWED, windowed, mixed, self._settings(ctx, WINDOWED)),
            BARE: self._distil(ctx, BARE, bare, prose, self._settings(ctx, BARE)),
        }
        path = ctx.paths.results / "training.json"
        facts = {
            "alignment": {
                "errors": {str(layer): error for layer, error in errors[WINDOWED].items()},
                "errors_without_window": {str(layer): error for layer, error in errors[BARE].items()},
                "steps": ctx.config.align_steps,
                "steps_without_window": ctx.config.align_steps + ctx.config.realign_steps,
                "texts": max(1, ctx.config.align_tokens // ctx.config.sequence_length),
            },
            "history": [row for part in parts.values() for row in part.pop("history")],
            "attention_layers": places,
            "parts": parts,
            "steps": sum(part["steps"] for part in parts.values()),
            "tokens": sum(part["tokens"] for part in parts.values()),
            "windows": [0, *WINDOWS],
        }
        atomic_write_text(path, json.dumps(facts, indent=1))
        return [*(ctx.paths.checkpoints / name for name in parts), path]

    def _distil(
        self, ctx: Context, part: str, student: HybridLM, lessons: Lessons, settings: TrainSettings
    ) -> dict[str, Any]:
        """Train one student into `checkpoints/<part>`; its facts stand beside it once it is finished."""
        folder, facts_path = ctx.paths.checkpoints / part, ctx.paths.checkpoints / f"{part}.json"
        if facts_path.exists():
            return json.loads(facts_path.read_text(encoding="utf-8"))
        start = time.perf_counter()
        with ctx.progress(f"distilling the {part.replace('_', ' ')}", settings.steps) as bar:
            trainer = NexusTrainer(
                student,
                lessons,
                blocks(ctx, "heldout", 1 if ctx.config.quick else HELD_OUT_TEXTS),
                ctx.paths.checkpoint_latest,
                settings,
                ctx.control,
                progress=lambda step, note: bar.advance(1, note),
                on_checkpoint=lambda step, path, digest: ctx.add_checkpoint(step, path, digest),
                part=part,
            )
            history = trainer.run()
        student.save(folder)
        facts = {
            "history": history,
            "steps": settings.steps,
            "tokens": settings.steps * settings.batch_size * ctx.config.sequence_length,
            "seconds": time.perf_counter() - start,
            "skipped": len(trainer.memory.skipped) + trainer.numbers.skipped,
        }
        atomic_write_text(facts_path, json.dumps(facts))
        kill_point(f"train.part:{part}")
        return facts

    def _bare_places(self, ctx: Context, teacher: HybridLM, aligned: HybridLM) -> list[int]:
        """The layers that stay attention in the student without windows: those that the alignment left worst off."""
        path = self._alignment(ctx, WINDOWED) / "replacement.json"
        if not path.exists():
            texts = blocks(ctx, "train", 1 if ctx.config.quick else PLACEMENT_TEXTS)
            with ctx.progress("choosing the layers that stay attention", aligned.config.n_layers) as bar:

                def tick() -> None:
                    ctx.control.check()
                    bar.advance(1)

                costs = replacement_costs(teacher, without_windows(aligned), texts, tick, ctx.config.precision)
            atomic_write_text(path, json.dumps(costs))
        costs = json.loads(path.read_text(encoding="utf-8"))
        return list(recommend_attention_layers(len(costs), costs))

    def _align(self, ctx: Context, part: str, teacher: HybridLM, student: HybridLM, steps: int) -> dict[int, float]:
        """Align the layers of ``student`` in place: the windowed student's first, the other's then on other texts."""
        count = max(1, ctx.config.align_tokens // ctx.config.sequence_length)
        texts = blocks(ctx, "train", 2 * count)
        texts = texts[:count] if part == WINDOWED else texts[count:]
        folder = self._alignment(ctx, part)
        folder.mkdir(parents=True, exist_ok=True)
        layers = sum(map(student.config.layers.count, CONVERTED))
        with ctx.progress(f"aligning layers of the {part.replace('_', ' ')}", layers) as bar:
            settings = AlignmentSettings(steps=steps, precision=ctx.config.precision)
            aligner = Aligner(teacher, student, texts, folder, settings, ctx.control, lambda note: bar.advance(1, note))
            return aligner.run()

    def _settings(self, ctx: Context, part: str) -> TrainSettings:
        c = ctx.config
        steps = max(1, (c.windowed_tokens if part == WINDOWED else c.train_tokens) // c.sequence_length)
        return TrainSettings(
            steps=steps,
            widths=TURNS if part == WINDOWED else (0,),
            mixer_rate=c.windowed_mixer_rate if part == WINDOWED else c.mixer_rate,
            rest_rate=c.windowed_rest_rate if part == WINDOWED else c.rest_rate,
            ce_weight=c.ce_weight,
            warm_up=max(1, min(20, steps // 4)),
            precision=c.precision,
            seed=c.seed,
            eval_every=steps if c.quick else max(1, steps // 2),  # a look costs as much as several steps
            save_every=max(1, min(60, steps // 2)),
        )

    def _alignment(self, ctx: Context, part: str) -> Path:
        return ctx.paths.checkpoints / "alignment" / part

    def discard(self, ctx: Context) -> None:
        """Drop aligned layers and checkpoints of other settings."""
        shutil.rmtree(ctx.paths.checkpoints, ignore_errors=True)

    def estimate(self, ctx: Context) -> Estimate:
        """By tokens and the first teacher's size: a training token costs about four times a read one."""
        parameters = specs(ctx.config)[0].params_billions * 1e9
        c = ctx.config
        work = (c.train_tokens + c.windowed_tokens) * 8 + (c.align_steps + c.realign_steps) * c.sequence_length * 4
        return Estimate(
            seconds=work * parameters / 1e11, disk=int(parameters * 4 * 8), memory=int(parameters * 4 * 7 + 2**30)
        )

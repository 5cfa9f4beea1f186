"""Consolidation: what an owner taught goes into an adapter of their own, slowly, off the request path.

The one idea: the journal is the truth and weights are one more projection of it. A consolidation trains the next
adapter from the last one (new lessons, earlier ones again, and a pull to the release itself on its own text),
sits it an exam, keeps it as a version, and lets it speak only if every gate lets it through, and only where something
is named that it was taught about (:mod:`nexus.living.reach`). It can be stopped or killed at any time: the same call
goes on where it was, and before the promotion nothing has changed for anybody.

Adapters are per owner: a shared one would carry one owner's facts into another's answers, and no gate could show that
it does not.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from nexus.core.config import BaseConfig, in_range, positive
from nexus.core.files import atomic_write_text
from nexus.inference.release import Release
from nexus.living.admission import Limits, admit
from nexus.living.exam import Exam
from nexus.living.examiner import Examiner, Near
from nexus.living.facts import Fact, Recorded
from nexus.living.journal import Journal
from nexus.living.lessons import Lesson, lessons
from nexus.living.material import ConsolidationLoss, Material, Sizes, hidden_states, rows_of
from nexus.living.own_exam import near_questions, own_exam, own_text
from nexus.living.reach import Reach, names
from nexus.living.versions import PLAIN, Trained, Version, Versions
from nexus.training.adapters import Adapter, RowAdapters
from nexus.training.callbacks import Callback, Row
from nexus.training.config import TrainingConfig
from nexus.training.control import RunControl
from nexus.training.loop import Trainer

DRAFT, FACTS = "draft", "facts.json"


@dataclass(frozen=True, kw_only=True)
class ConsolidationConfig(BaseConfig):
    """How an update is trained.

    Attributes:
        steps: most optimiser steps; fewer if ``enough`` is reached.
        enough: loss at which training ends (two looks in a row, ten steps apart).
        rank, alpha, targets: of the adapter, as for :class:`nexus.training.adapters.Adapter`.
        learning_rate: falls to a twentieth along a cosine after ``warmup`` steps; what is learnt would not settle else.
        fresh, earlier, replay: rows of new lessons, earlier lessons and the release's own text in each step.
        replay_texts, replay_length: how much of the release's own text is written, in rows and tokens.
        most_near: names that were taught of whose other questions, never taught, are rehearsed and examined as well.
        kl_weight: of the pull to the release, on its own text.
        most_facts: new facts that one update takes; the oldest first, the others wait for the next.
        most_asked: facts taught earlier that the exam asks again, drawn anew for each update.
        longest: tokens of a lesson.
        save_every: steps between checkpoints.
        seed: of everything random.
    """

    steps: int = 200
    enough: float = 0.03
    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ("all-linear",)
    learning_rate: float = 2e-3
    warmup: int = 5
    fresh: int = 12
    earlier: int = 6
    replay: int = 8
    replay_texts: int = 64
    replay_length: int = 64
    most_near: int = 32
    kl_weight: float = 4.0
    most_facts: int = 200
    most_asked: int = 200
    longest: int = 128
    save_every: int = 20
    seed: int = 0

    def faults(self) -> list[str]:
        found = positive(self, "steps", "rank", "alpha", "learning_rate", "fresh", "replay", "replay_texts")
        found += positive(self, "replay_length", "most_facts", "most_asked", "longest", "save_every")
        for name in ("earlier", "kl_weight", "enough", "warmup", "most_near"):
            found += in_range(self, name, 0)
        return found


@dataclass(frozen=True)
class Plan:
    """What one update is to do: train from ``parent`` on ``fresh`` facts, rehearse ``earlier``, ``waiting`` wait."""

    parent: str
    fresh: tuple[Fact, ...]
    earlier: tuple[Fact, ...]
    learnt: tuple[int, ...]  # facts in the parent's weights
    waiting: int = 0

    def lessons(self) -> tuple[list[Lesson], list[Lesson]]:
        """The new lessons and the earlier ones, as far as no newer fact answers otherwise."""
        new = {fact.seq for fact in self.fresh}
        found = lessons(sorted((*self.fresh, *self.earlier), key=lambda fact: fact.seq))
        return [x for x in found if x.fact in new], [x for x in found if x.fact not in new]

    def texts(self) -> list[str]:
        """Of all facts in the weights that come of it, the new ones first."""
        return [fact.text for fact in (*self.fresh, *self.earlier)]

    def names(self, most: int) -> list[str]:
        """Names that these facts are about: the new ones, and some of the others, drawn anew for each update."""
        fresh = names(fact.text for fact in self.fresh)
        others = sorted(set(names(fact.text for fact in self.earlier)).difference(fresh))
        random.Random(max(fact.seq for fact in self.fresh)).shuffle(others)
        return [*fresh, *others][:most]


class Consolidator:
    """Consolidates the journals of owners into versions of weights.

    Args:
        release: what is changed; its own weights stay as they are.
        folder: of all owners' versions.
        release_hash: of the release's folder, see :attr:`nexus.inference.release.Release.hash`.
        exam: what every version is asked, and ``replay``, (n, T) ids of text to stay the same on; both the release's
            own if None.
        near: from a name to questions about it, those of training and those of the exam, which nothing taught answers.
    """

    def __init__(
        self,
        release: Release,
        folder: str | Path,
        release_hash: str,
        config: ConsolidationConfig | None = None,
        limits: Limits | None = None,
        exam: Exam | None = None,
        replay: torch.Tensor | None = None,
        near: Near = near_questions,
    ) -> None:
        self.release, self.folder, self.release_hash = release, Path(folder), release_hash
        self.config, self.limits = config or ConsolidationConfig(), limits or Limits()
        self.rows = RowAdapters(release.model)
        release.model.requires_grad_(False)
        self._exam, self._replay, self._near = exam, replay, near
        self._examiner: Examiner | None = None

    def run(self, journal: Journal, owner: str, control: RunControl | None = None) -> Version | None:
        """Make the owner's next version and let it speak if it passes.

        None if there is nothing new, or if what it learnt was forgotten meanwhile.

        Raises:
            ValueError: another process is at work for this owner.
            Interrupted: asked to stop; the same call goes on from there.
        """
        versions = Versions(self.folder, owner)
        with versions.lock():
            settle(versions, journal)
            chosen = versions.chosen()
            plan = make_plan(versions, journal, self.release_hash, self.config.most_facts)
            if not plan.fresh:
                return None
            draft = self._draft(versions, plan)
            adapter = self._train(versions, plan, draft, control or RunControl())
            version = self._examined(versions, journal, plan, adapter, draft)
            if version.admitted and versions.chosen() == chosen:  # a rollback meanwhile is not overruled
                versions.promote(version.name)
            shutil.rmtree(draft, ignore_errors=True)
            erased = settle(versions, journal)  # what was forgotten meanwhile
            return None if version.name in erased else version

    def load(self, versions: Versions, name: str) -> Adapter | None:
        """A version's adapter, checked against its hash; None for the release itself."""
        if name == PLAIN:
            return None
        return Adapter.load(versions.path(versions.get(name)), self.release.model)

    def reach(self, versions: Versions, name: str) -> Reach:
        """Where a version speaks."""
        return Reach.of(()) if name == PLAIN else Reach.load(versions.path(versions.get(name)))

    # ---- training ----------------------------------------------------------------------------------------------------

    def _draft(self, versions: Versions, plan: Plan) -> Path:
        """The folder of this very plan; drafts of other plans are stale, and may hold what was forgotten."""
        facts = [fact.seq for fact in (*plan.fresh, *plan.earlier)]
        key = json.dumps([plan.parent, facts, self.release_hash, self.config.to_dict()], sort_keys=True)
        draft = versions.folder / f"{DRAFT}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        for other in versions.folder.glob(f"{DRAFT}-*"):
            if other != draft:
                shutil.rmtree(other)
        draft.mkdir(exist_ok=True)
        atomic_write_text(draft / FACTS, json.dumps(facts))
        return draft

    def _train(self, versions: Versions, plan: Plan, draft: Path, control: RunControl) -> Adapter:
        c, model = self.config, self.release.model
        # a copy of the last version; a fresh adapter changes nothing until it has learnt
        adapter = self.load(versions, plan.parent) or Adapter.fresh(model, c.targets, c.rank, c.alpha, c.seed)
        fresh, earlier = plan.lessons()
        # both held to the release: held to the last version, small losses would add up
        near = self.examiner().near_rows(plan.names(c.most_near), self.replay().shape[1])
        replay = torch.cat((self.replay(), near))
        material = Material(
            rows_of(self.release, fresh, c.longest),
            rows_of(self.release, earlier, c.longest),
            replay,
            hidden_states(model, self.rows, replay),
            Sizes(c.fresh, c.earlier, c.replay),
            c.steps,
            c.seed,
        )
        settings = TrainingConfig(
            steps=c.steps, learning_rate=c.learning_rate, weight_decay=0.0, schedule="cosine", min_rate=0.05,
            warmup_steps=min(c.warmup, c.steps), save_every=c.save_every, keep_last=1, audit_every=0, log_every=10,
            seed=c.seed,
        )  # fmt: skip
        loss = ConsolidationLoss(model, self.rows, c.kl_weight)
        trainer = Trainer(
            adapter, material, settings, loss=loss, folder=draft, control=control, callbacks=[_Enough(c.enough)]
        )
        trainer.run()
        return adapter.eval()

    def replay(self) -> torch.Tensor:
        """The release's own text, to stay the same on; written once. The exam's is written from another seed."""
        if self._replay is None:
            self._replay = own_text(
                self.release, self.config.replay_texts, self.config.replay_length, self.config.seed + 1
            )
        return self._replay

    # ---- the gates ---------------------------------------------------------------------------------------------------

    def examiner(self) -> Examiner:
        """What every version is examined by."""
        if self._examiner is None:
            exam = self._exam or own_exam(self.release, self.config.seed)
            self._examiner = Examiner(self.release, self.rows, exam, self._near)
        return self._examiner

    def _examined(self, versions: Versions, journal: Journal, plan: Plan, adapter: Adapter, draft: Path) -> Version:
        fresh = {fact.seq for fact in plan.fresh}
        new_lessons, earlier = plan.lessons()
        known = sorted({lesson.fact for lesson in earlier})
        drawn = set(random.Random(max(fresh)).sample(known, min(len(known), self.config.most_asked)))
        asked = [*new_lessons, *(lesson for lesson in earlier if lesson.fact in drawn)]
        reach, called, examiner = Reach.of(plan.texts()), plan.names(self.config.most_near), self.examiner()
        new = examiner.marks(adapter, reach, called, asked)
        # of the version before nothing counts but what it answers
        before = replace(new, taught=examiner.taught(self.load(versions, plan.parent), asked))
        found = admit(new, examiner.plain(called), before, fresh, self.limits)
        trained = Trained(
            parent=plan.parent,
            release=self.release_hash,
            journal=journal.head(),
            memory=journal.version(),
            facts=tuple(sorted({*plan.learnt, *fresh})),
            **asdict(found),
        )
        saved = adapter.save(draft / "adapter")
        reach.save(saved)
        return versions.add(saved, trained)


class _Enough(Callback):
    """Ends the training when the loss was low enough at two looks in a row; the count is saved with the run."""

    def __init__(self, enough: float) -> None:
        self.enough, self.seen = enough, 0

    def on_start(self, trainer: Trainer) -> None:
        self._end(trainer)  # a run that was killed after it had ended

    def on_step(self, trainer: Trainer, row: Row) -> None:
        self.seen = self.seen + 1 if row["loss"] <= self.enough else 0
        self._end(trainer)

    def _end(self, trainer: Trainer) -> None:
        if self.seen >= 2:
            trainer.stop("enough")

    def state_dict(self) -> dict[str, int]:
        """The count."""
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Set the count."""
        self.seen = state["seen"]


def make_plan(versions: Versions, journal: Journal, release_hash: str, most: int) -> Plan:
    """What is to be done for an owner.

    The parent is the newest version, from the current one back, that fits the release and learnt nothing but what holds
    or was corrected: what was rolled back must not stay in weights.
    """
    held = {fact.seq: fact for fact in journal.facts(versions.owner)}
    allowed = held.keys() | _corrected(journal.events(versions.owner), held)
    parent, learnt = PLAIN, tuple[int, ...]()
    for version in versions.lineage(versions.chosen()):
        if version.release == release_hash and allowed.issuperset(version.facts):
            parent, learnt = version.name, version.facts
            break
    new = [fact for seq, fact in held.items() if seq not in learnt]
    earlier = tuple(fact for seq, fact in held.items() if seq in learnt)
    return Plan(parent, tuple(new[:most]), earlier, learnt, max(0, len(new) - most))


def settle(versions: Versions, journal: Journal) -> list[str]:
    """Erase the versions that hold what was forgotten since; returns their names. Drafts of them go as well.

    Call it after every `forget`, and before versions are loaded: what was forgotten must not speak from weights.
    """
    events = [e for e in journal.events(versions.owner) if e.kind in ("teach", "correct")]
    forgotten = {e.seq for e in events if e.payload is None}
    for draft in versions.folder.glob(f"{DRAFT}-*"):
        facts = draft / FACTS
        if not facts.is_file() or forgotten.intersection(json.loads(facts.read_text(encoding="utf-8"))):
            shutil.rmtree(draft, ignore_errors=True)
    return versions.erase(forgotten)


def _corrected(events: Iterable[Recorded], held: Iterable[int]) -> set[int]:
    """Facts in whose place others stand that hold, directly or over several corrections."""
    instead = {e.seq: e.payload["fact"] for e in events if e.kind == "correct" and e.payload is not None}
    found, now = set[int](), set(held)
    while now := {instead[seq] for seq in now if seq in instead}:
        found |= now
    return found


def low_priority() -> None:
    """Let this process run only when nobody else wants the processor (Linux), else at the lowest priority."""
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(19)

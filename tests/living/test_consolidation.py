"""What was taught reaches the weights through gates, whatever stops it on the way, and leaves them when forgotten."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nexus.core.files import KILL_VARIABLE
from nexus.inference.release import GenerationDefaults, Release
from nexus.living.admission import Limits
from nexus.living.consolidation import ConsolidationConfig, Consolidator, make_plan, settle
from nexus.living.exam import Exam, Question, answers, question
from nexus.living.journal import Journal
from nexus.living.versions import PLAIN, Versions
from nexus.training.adapters import RowAdapters
from nexus.training.control import Interrupted, RunControl
from tests.tiny_release import text_tokenizer, tiny_model

ROOT = Path(__file__).resolve().parents[2]
END = 258
FACTS = ("Bo is red.", "Al is up.")
CONFIG = ConsolidationConfig(
    steps=40,
    learning_rate=1e-2,
    fresh=4,
    earlier=4,
    replay=2,
    replay_texts=4,
    replay_length=8,
    save_every=5,
    kl_weight=0.1,
)
LENIENT = Limits(loss=1e9, untouched=1.0, refusal=1.0, taught=1.0)
WORKER = """
import sys
from tests.living.test_consolidation import consolidator
from nexus.living.journal import Journal
with Journal(sys.argv[1] + "/memory.db") as journal:
    consolidator(sys.argv[1]).run(journal, "ann")
"""


def make_release() -> Release:
    torch.manual_seed(0)
    return Release(tiny_model(plan="MA"), text_tokenizer(), GenerationDefaults(eos_ids=(END,)), None)


def consolidator(folder, limits: Limits = LENIENT, config: ConsolidationConfig = CONFIG) -> Consolidator:
    release = make_release()
    asked = [question(release, text) for text in ("Hi?", "Who?", "Now?")]
    own = tuple(Question(q.prompt, a) for q, a in zip(asked, answers(release, asked, new=4), strict=True))
    exam = Exam(held_out=torch.arange(60).view(6, 10), untouched=own, unknown=tuple(asked))
    return Consolidator(release, Path(folder) / "weights", "r", config, limits, exam)


def _versions(folder, owner="ann") -> Versions:
    return Versions(Path(folder) / "weights", owner)


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "memory.db") as made:
        for fact in FACTS:
            made.teach("ann", fact)
        yield made


def _asked(made: Consolidator, versions: Versions, text: str) -> str:
    """What the owner's current weights say."""
    rows = RowAdapters(made.release.model)
    with rows.using(made.load(versions, versions.chosen())):
        (ids,) = answers(made.release, [question(made.release, text)], new=8)
    return made.release.tokenizer.decode(ids)


def test_what_was_taught_is_said_by_the_weights_alone_and_by_its_owners_only(tmp_path, journal):
    made, versions = consolidator(tmp_path), _versions(tmp_path)
    before = _asked(made, versions, "What is Bo?")
    version = made.run(journal, "ann")
    assert version.admitted
    assert versions.chosen() == version.name
    assert (version.parent, version.facts, version.memory) == (PLAIN, (1, 2), 2)
    assert version.journal == journal.head()
    assert (_asked(made, versions, "What is Bo?"), _asked(made, versions, "What is Al?")) == ("red", "up")
    assert before != "red"
    assert _asked(made, _versions(tmp_path, "bob"), "What is Bo?") == before
    assert made.run(journal, "ann") is None, "nothing new"
    assert made.run(journal, "bob") is None
    assert b"red" not in (versions.folder / version.name / "manifest.json").read_bytes()
    assert sorted(path.name for path in versions.folder.iterdir()) == [version.name, "current", "lock"]


def test_the_next_update_builds_on_the_last_and_keeps_what_was_learnt(tmp_path, journal):
    made, versions = consolidator(tmp_path), _versions(tmp_path)
    first = made.run(journal, "ann")
    journal.correct("ann", 2, "Al is ill.")
    second = made.run(journal, "ann")
    assert (second.parent, second.facts) == (first.name, (1, 2, 3))
    assert [_asked(made, versions, f"What is {name}?") for name in ("Bo", "Al")] == ["red", "ill"]
    versions.rollback()
    assert _asked(made, versions, "What is Al?") == "up", "the very weights of before"


def test_a_version_that_fails_a_gate_is_kept_with_the_reason_and_does_not_speak(tmp_path, journal):
    made, versions = consolidator(tmp_path, Limits(loss=0.0, untouched=1.0, refusal=1.0)), _versions(tmp_path)
    version = made.run(journal, "ann")
    assert not version.admitted
    assert version.reasons[0].startswith("held-out loss: +")
    assert versions.chosen() == PLAIN
    assert versions.all() == [version]
    assert version.figures["taught"] == 1


def test_what_was_forgotten_leaves_weights_and_drafts(tmp_path, journal):
    made, versions = consolidator(tmp_path), _versions(tmp_path)
    first = made.run(journal, "ann")
    fact = journal.teach("ann", "Jo is sad.")
    control = RunControl()
    control.request_stop("test", 1)
    with pytest.raises(Interrupted):
        made.run(journal, "ann", control)
    assert len(list(versions.folder.glob("draft-*"))) == 1
    journal.forget("ann", fact)
    assert settle(versions, journal) == []
    assert not list(versions.folder.glob("draft-*"))
    assert versions.chosen() == first.name
    journal.forget("ann", 1)
    assert settle(versions, journal) == [first.name]
    again = made.run(journal, "ann")
    assert (again.parent, again.facts) == (PLAIN, (2,))
    assert _asked(made, versions, "What is Bo?") != "red"


def test_what_was_rolled_back_is_not_built_upon(tmp_path, journal):
    versions = _versions(tmp_path)
    made = consolidator(tmp_path, config=CONFIG.replace(steps=2, enough=0.0), limits=LENIENT.replace(taught=0.0))
    first = made.run(journal, "ann")
    journal.teach("ann", "Jo is sad.")
    second = made.run(journal, "ann")
    assert second.parent == first.name
    journal.rollback("ann", 2)
    assert make_plan(versions, journal, "r", 9).parent == first.name
    assert make_plan(versions, journal, "r", 9).fresh == ()
    assert make_plan(versions, journal, "another release", 9).parent == PLAIN
    journal.rollback("ann", 1)
    assert make_plan(versions, journal, "r", 9).parent == PLAIN
    waiting = make_plan(Versions(tmp_path, "ann"), journal, "r", 0)
    assert (waiting.fresh, waiting.waiting) == ((), 1)


class _Meanwhile(RunControl):
    """Does something in the middle of the training, as another process would."""

    def __init__(self, act) -> None:
        super().__init__()
        self.act, self.looks = act, 0

    @property
    def stop_requested(self) -> bool:
        self.looks += 1
        if self.looks == 3:
            self.act()
        return False


def test_a_rollback_while_it_trains_is_not_overruled(tmp_path, journal):
    made, versions = consolidator(tmp_path), _versions(tmp_path)
    made.run(journal, "ann")
    journal.teach("ann", "Jo is sad.")
    version = made.run(journal, "ann", _Meanwhile(versions.rollback))
    assert version.admitted
    assert versions.chosen() == PLAIN


def test_what_is_forgotten_while_it_trains_is_not_promoted(tmp_path, journal):
    made, versions = consolidator(tmp_path), _versions(tmp_path)
    assert made.run(journal, "ann", _Meanwhile(lambda: journal.forget("ann", 1))) is None
    assert (versions.all(), versions.chosen()) == ([], PLAIN)


# ---- stopped and killed ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The version that a run gives which nothing stops; its name holds the hash of the weights."""
    folder = tmp_path_factory.mktemp("whole")
    with Journal(folder / "memory.db") as journal:
        for fact in FACTS:
            journal.teach("ann", fact)
        return consolidator(folder).run(journal, "ann")


def test_stopped_and_taken_up_again_it_gives_the_same_weights(tmp_path, journal, whole):
    other = tmp_path / "other"
    for _ in range(2):  # stopped at its first step, twice
        control = RunControl()
        control.request_stop("test", 1)
        with pytest.raises(Interrupted):
            consolidator(other).run(journal, "ann", control)
        assert _versions(other).chosen() == PLAIN
    assert consolidator(other).run(journal, "ann").name == whole.name


def _killed(folder: Path, point: str) -> int:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), KILL_VARIABLE: point}
    command = [sys.executable, "-c", WORKER, str(folder)]
    return subprocess.run(command, env=environment, check=False, timeout=120).returncode


POINTS = ["train.step:7", "versions.added"]
MORE = [
    "folder.written:2",
    "versions.promoted",
    "train.step:1",
    "train.step:12",
    "folder.written:1",
    "folder.written:3",
    *(f"*:{n}" for n in range(5, 60, 6)),
]


@pytest.mark.parametrize("point", [*POINTS, *(pytest.param(p, marks=pytest.mark.slow) for p in MORE)])
def test_killed_anywhere_the_next_run_ends_as_if_nothing_had_happened(tmp_path, journal, point, whole):
    assert _killed(tmp_path, point) == -signal.SIGKILL
    versions = _versions(tmp_path)
    assert versions.chosen() in (PLAIN, whole.name)
    consolidator(tmp_path).run(journal, "ann")
    assert versions.chosen() == whole.name
    assert [version.name for version in versions.all()] == [whole.name]
    assert versions.path(versions.current())

"""Twenty promotions of twenty facts each: what the weights learn, what they lose, and what an owner sees of it.

    python benchmarks/consolidation.py                     a small student that is trained here first
    python benchmarks/consolidation.py --release DIR       a few promotions on a real release

With --folder DIR everything is kept there, and the same command goes on where it was stopped or killed.

The small student knows a generated world of people (their town, work and friend) whose truth is known, so right and
wrong can be counted: a third of what it knows is rehearsed, a third is the exam of the gates, and a third is asked only
for the figures here. New people are taught through a journal, two of the three things about each, and consolidated as
`nexus weights consolidate` does it, exam and gates included; the third is what nobody taught about a name that was.
Everything is counted as it is heard, where a version does not reach the release answers, and the held-out questions
also as if it spoke everywhere. Editing is counted for the weights alone and, beside it, for the journal's recall on the
same questions. Writes benchmarks/results/consolidation*.json and the picture of accuracy over updates.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from nexus.core.files import atomic_write_text
from nexus.core.state_space import HybridConfig, HybridLM
from nexus.inference.generation import generate_many
from nexus.inference.release import GenerationDefaults, Release, load_release
from nexus.inference.sampling import Sampling
from nexus.inference.text import TextTokenizer
from nexus.living.admission import Limits
from nexus.living.consolidation import ConsolidationConfig, Consolidator
from nexus.living.continual import Continual, Editing, draw, step, worst_drop
from nexus.living.exam import Exam, Question, answers, question, read, statement
from nexus.living.journal import OWNER, Journal
from nexus.living.own_exam import own_exam, simple_questions
from nexus.living.retriever import Retriever
from nexus.living.versions import Versions
from nexus.training.config import TrainingConfig
from nexus.training.loop import Trainer
from nexus.training.sft import answer_labels, pad

RESULTS = Path(__file__).resolve().parent / "results"
ASKED = 20  # facts of each update that are asked again after every later one
SPECIAL = ["<unk>", "<end>", "<q>", "<a>"]
TEMPLATE = "{% for m in messages %}<q> {{ m['content'] }} {% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u")]
TOWNS = [f"{syllable}ton" for syllable in SYLLABLES[:40]]
WORKS = [f"{syllable}er" for syllable in SYLLABLES[30:60]]
FORMS = {  # the first two are what lessons are made of; the others are the same in other words
    "town": ("What is the town of {}?", "What is {}'s town?", "Where does {} live?", "In which town does {} live?"),
    "work": ("What is the work of {}?", "What is {}'s work?", "What does {} do?", "As what does {} work?"),
    "friend": ("What is the friend of {}?", "What is {}'s friend?", "Who is close to {}?", "With whom goes {}?"),
}
NEXT = {"town": "What is the town of the friend of {}?", "work": "What is the work of the friend of {}?"}


# ---- a world whose truth is known -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Taught:
    """A fact with the questions that it answers: as taught, in other words, and one step further."""

    text: str
    answer: str
    same: tuple[str, ...]
    other: tuple[str, ...]
    further: tuple[tuple[str, str], ...]


class World:
    """People with a town, a work and a friend each; ``known`` ones are learnt by the student before anything else."""

    def __init__(self, known: int, new: int, seed: int) -> None:
        draw_ = random.Random(seed)
        names: set[str] = set()
        while len(names) < known + new:
            names.add("".join(draw_.choice(SYLLABLES) for _ in range(3)).capitalize())
        people = sorted(names)
        draw_.shuffle(people)
        self.known, self.new = people[:known], people[known:]
        self.truth = {
            name: {"town": draw_.choice(TOWNS), "work": draw_.choice(WORKS), "friend": draw_.choice(self.known)}
            for name in people
        }

    def fact(self, name: str, what: str) -> Taught:
        """One fact; portability is asked where the friend is one whom the student knows."""
        answer = self.truth[name][what]
        further = ()
        if what == "friend":
            further = tuple((ask.format(name), self.truth[answer][kind]) for kind, ask in NEXT.items())
        forms = [form.format(name) for form in FORMS[what]]
        return Taught(f"The {what} of {name} is {answer}.", answer, tuple(forms[:2]), tuple(forms[2:]), further)

    def facts(self, names: list[str]) -> list[Taught]:
        """All facts of some people."""
        return [self.fact(name, what) for name in names for what in FORMS]

    def taught(self) -> list[Taught]:
        """Of each new person all but one thing."""
        return [self.fact(name, what) for name in self.new for what in FORMS if what != self.untold(name)]

    def untold(self, name: str) -> str:
        """What nobody tells about a person."""
        return list(FORMS)[self.new.index(name) % len(FORMS)] if name in self.new else "town"

    def near(self, name: str) -> tuple[list[str], list[str]]:
        """Questions about it, to rehearse and to be examined."""
        asked = [form.format(name) for form in FORMS[self.untold(name)]]
        return asked[:2], asked[2:]


def tokenizer_of() -> TextTokenizer:
    """Words and syllables: a name is three of them, so that a new name is made of known parts."""
    words = {w for form in (*(f for forms in FORMS.values() for f in forms), *NEXT.values()) for w in _words(form)}
    words |= {*_words("The is of ."), *TOWNS, *WORKS, *(s.capitalize() for s in SYLLABLES)}
    words |= {f"##{syllable}" for syllable in SYLLABLES}
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *sorted(words - set(SPECIAL))])}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
    signs = pre_tokenizers.Split(Regex(r"'s|[?.]"), "isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), signs])
    made.decoder = decoders.WordPiece()
    made.add_special_tokens(SPECIAL)
    return TextTokenizer(made, {"eos_token": "<end>"}, TEMPLATE)


def _words(form: str) -> list[str]:
    return form.replace("{}", " ").replace("'s", " 's ").replace("?", " ?").split()


def small_student(world: World, steps: int, seed: int, folder: Path) -> Release:
    """Train a small hybrid on everything about the known people, in every form, and on questions of two steps."""
    tokenizer = tokenizer_of()
    sizes = {"vocab_size": tokenizer.vocab_size, "plan": "MAMA", "d_model": 128, "d_ff": 384, "ssm_heads": 16}
    torch.manual_seed(seed)
    model = HybridLM(HybridConfig.tiny(**sizes, ssm_groups=1, d_state=16, chunk_size=16))
    release = Release(model, tokenizer, GenerationDefaults(eos_ids=tokenizer.eos_ids), Path("small"))
    rows = []
    for fact in world.facts(world.known):
        ids = list(statement(release, fact.text))
        rows.append((ids, ids))
        asked = [(q, fact.answer) for q in (*fact.same, *fact.other)] + list(fact.further)
        rows += [answer_labels(q.prompt, q.answer) for q in (question(release, *pair) for pair in asked)]
    samples = torch.utils.data.StackDataset(
        input_ids=pad([ids for ids, _ in rows], 0), labels=pad([labels for _, labels in rows], -100)
    )
    config = TrainingConfig(
        steps=steps, learning_rate=3e-3, warmup_steps=50, batch_size=64, audit_every=0, log_every=50, save_every=100
    )
    history = Trainer(model, samples, config, folder=folder / "student").run()
    print(f"student: {sum(p.numel() for p in model.parameters()):,} parameters, last loss {history[-1]['loss']:.4f}")
    model.eval()
    return release


# ---- what is measured -----------------------------------------------------------------------------------------------


class Watch:
    """Asks the same questions after every promotion."""

    def __init__(self, made: Consolidator, versions: Versions, held_out: list[Question], batches: list[list[Taught]]):
        self.made, self.versions, self.held_out, self.batches = made, versions, held_out, batches
        release = made.release
        self.taught = [[question(release, f.same[0], f.answer) for f in batch[:ASKED]] for batch in batches]
        self.plain_answers = answers(release, held_out, new=12)
        self.outcomes: list[list[bool]] = []  # as it is heard
        self.everywhere: list[list[bool]] = []  # as if it spoke where it does not reach
        self.matrix: list[list[float]] = []
        self.rows: list[dict[str, Any]] = []

    def load(self, path: Path) -> None:
        """Go on from what another process saved."""
        if path.is_file():
            vars(self).update(json.loads(path.read_text(encoding="utf-8")))

    def save(self, path: Path) -> None:
        """What was measured so far."""
        kept = ("outcomes", "everywhere", "matrix", "rows")
        state = {name: getattr(self, name) for name in kept}
        atomic_write_text(path, json.dumps(state))

    def look(self) -> None:
        """One row: held-out questions, and what each batch taught."""
        self.outcomes.append(self._heard(self.held_out))
        with self._speaking():
            self.everywhere.append(read(self.made.release, self.held_out).exact.tolist())
        self.matrix.append([float(np.mean(self._heard(asked))) for asked in self.taught])

    def editing(self, batches: list[list[Taught]]) -> Editing:
        """Of the weights alone, over all that was taught."""
        release, facts = self.made.release, [fact for batch in batches for fact in batch]
        kept = zip(self.held_out, self.plain_answers, strict=True)
        return Editing.of(
            self._heard([question(release, q, f.answer) for f in facts for q in f.same]),
            self._heard([question(release, q, f.answer) for f in facts for q in f.other]),
            self._heard([Question(q.prompt, a) for q, a in kept]),
            self._heard([question(release, q, a) for f in facts for q, a in f.further]),
        )

    def _heard(self, asked: list[Question]) -> list[bool]:
        """Whether each is answered right, by the version where it reaches and by the release elsewhere."""
        release, reach = self.made.release, self.made.reach(self.versions, self.versions.chosen())
        reached = [reach.covers(release.tokenizer.decode(list(q.prompt))) for q in asked]
        found = np.zeros(len(asked), dtype=bool)
        for adapter, whose in ((self._speaks(), reached), (None, [not one for one in reached])):
            with self.made.rows.using(adapter):
                found[whose] = read(release, [q for q, one in zip(asked, whose, strict=True) if one]).exact
        return found.tolist()

    def _speaks(self) -> Any:
        return self.made.load(self.versions, self.versions.chosen())

    def _speaking(self) -> Any:
        return self.made.rows.using(self._speaks())


def recall_editing(journal: Journal, facts: list[Taught], untouched: list[str]) -> Editing:
    """The same questions put to the journal: right if the sentence that is found holds the answer."""
    reader = Retriever(journal, None)

    def found(asked: str, answer: str) -> bool:
        got = reader.ask(OWNER, asked)
        return got is not None and any(f" {answer}." in span.quote for span in got.citations)

    return Editing.of(
        [found(q, f.answer) for f in facts for q in f.same],
        [found(q, f.answer) for f in facts for q in f.other],
        [reader.ask(OWNER, q) is None for q in untouched],
        [found(q, a) for f in facts for q, a in f.further],
    )


def promote_all(
    made: Consolidator, batches: list[list[Taught]], watch: Watch, journal: Journal, state: Path
) -> list[dict[str, Any]]:
    """Teach and consolidate batch after batch; a row for each, refused ones too."""
    watch.load(state)
    if not watch.outcomes:
        watch.look()
    for number, batch in list(enumerate(batches, 1))[len(watch.rows) :]:
        for fact in batch[journal.version() - (number - 1) * len(batch) :]:
            journal.teach(OWNER, fact.text)
        start = time.perf_counter()
        version = made.run(journal, OWNER) or watch.versions.current()  # promoted, and killed before it was looked at
        assert version is not None
        watch.look()
        change, outcome = step(watch.outcomes[-2], watch.outcomes[-1]), watch.outcomes[-1]
        row = {"update": number, "admitted": version.admitted, "reasons": version.reasons, **version.figures}
        row |= {"seconds": time.perf_counter() - start, "held_out": float(np.mean(outcome))}
        row |= {"step": change.change, "step_noise": change.noise, "step_p": change.p}
        row["held_out_everywhere"] = float(np.mean(watch.everywhere[-1]))
        row["taught_all"] = float(np.mean(watch.matrix[-1][:number]))
        watch.rows.append(row)
        watch.save(state)
        print(_line(row), flush=True)
    return watch.rows


def rollback_seconds(versions: Versions, made: Consolidator) -> dict[str, float]:
    """The pointer's rename alone, and with the adapter loaded again and checked by its hash."""
    there = versions.chosen()
    pointer, loaded = [], []
    for _ in range(5):
        start = time.perf_counter()
        versions.rollback()
        pointer.append(time.perf_counter() - start)
        made.load(versions, versions.chosen())
        loaded.append(time.perf_counter() - start)
        versions.promote(there)
    return {"rollback_seconds": float(np.median(pointer)), "rollback_and_load_seconds": float(np.median(loaded))}


def summary(watch: Watch, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything that is claimed, in one place."""
    curve = [float(np.mean(outcome)) for outcome in watch.outcomes]
    against_start = [step(watch.outcomes[0], outcome) for outcome in watch.outcomes]
    return {
        "promotions": sum(row["admitted"] for row in rows),
        "held_out_questions": len(watch.held_out),
        "held_out": curve,
        "held_out_everywhere": [float(np.mean(outcome)) for outcome in watch.everywhere],
        "held_out_noise": [found.noise for found in against_start],
        "worst_drop": worst_drop(curve),
        "worst_step": float(min(np.diff(curve), default=0.0)),
        "steps_beyond_noise": sum(row["step_p"] < 0.05 for row in rows),
        "least_step_p": min(row["step_p"] for row in rows),
        "continual": Continual.of(np.array(watch.matrix)[: len(rows) + 1, : len(rows)]).to_dict(),
        "matrix": watch.matrix,
    }


# ---- the two runs ---------------------------------------------------------------------------------------------------


def small(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A small student that is trained here, and all promotions."""
    people = -(-options.promotions * options.facts // (len(FORMS) - 1))
    world = World(options.known, people, options.seed)
    start = time.perf_counter()
    release = small_student(world, options.student_steps, options.seed, folder)
    print(f"student trained in {time.perf_counter() - start:.0f} s", flush=True)
    rehearsed, examined, asked_only = (world.facts(world.known[i::3]) for i in range(3))
    held_out = [question(release, q, f.answer) for f in asked_only for q in (*f.same, *f.other)]
    exam = Exam(
        held_out=_blocks(release, [f.text for f in examined]),
        untouched=tuple(question(release, q, f.answer) for f in examined for q in (f.same[1], f.other[1])),
        unknown=tuple(question(release, FORMS["town"][i % 4].format(n)) for i, n in enumerate(_strangers(world, 48))),
    )
    replay = _rows(release, rehearsed, _strangers(world, 60, seed=7), options.seed)
    config = ConsolidationConfig(
        steps=options.steps, rank=32, alpha=64.0, learning_rate=1e-3, fresh=16, earlier=48, replay=64, kl_weight=8.0,
        most_asked=1000,
    )  # fmt: skip
    made = Consolidator(release, folder / "weights", "small", config, Limits(), exam, replay, world.near)
    facts = world.taught()
    batches = [facts[i * options.facts : (i + 1) * options.facts] for i in range(options.promotions)]
    untouched = [q for f in asked_only for q in (*f.same, *f.other)]
    return _run("small", made, batches, held_out, untouched, folder, options.until)


def real(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Promotions on a real release: its own answers are what must stay."""
    release = load_release(options.release)
    torch.set_flush_denormal(True)
    people = -(-options.promotions * options.facts // 2)
    names = World(1, people, options.seed).new
    draw_ = random.Random(options.seed)
    facts = []
    for name in names:
        for what, choice in (("town", TOWNS), ("work", WORKS)):
            answer = draw_.choice(choice).capitalize() if what == "town" else draw_.choice(REAL_WORK)
            forms = [form.format(name) for form in FORMS[what]]
            facts.append(Taught(f"The {what} of {name} is {answer}.", answer, tuple(forms[:2]), tuple(forms[2:]), ()))
    exam = own_exam(release, options.seed)
    config = ConsolidationConfig(steps=options.steps, fresh=8, earlier=4)
    made = Consolidator(release, folder / "weights", release.hash, config, Limits(), exam)
    batches = [facts[i * options.facts : (i + 1) * options.facts] for i in range(options.promotions)]
    asked = simple_questions(random.Random(options.seed))
    return _run("release", made, batches, list(exam.untouched), asked, folder, options.until)


REAL_WORK = ("baker", "teacher", "farmer", "doctor", "painter", "lawyer", "sailor", "miner", "singer", "tailor")


def _run(
    name: str,
    made: Consolidator,
    batches: list[list[Taught]],
    held_out: list[Question],
    untouched: list[str],
    folder: Path,
    until: int,
) -> dict[str, Any]:
    versions = Versions(folder / "weights", OWNER)
    watch = Watch(made, versions, held_out, batches)
    with Journal(folder / "memory.db") as journal:
        rows = promote_all(made, batches[:until], watch, journal, folder / "state.json")
        batches = batches[: len(rows)]
        facts = [fact for batch in batches for fact in batch]
        editing = {"weights": watch.editing(batches), "journal": recall_editing(journal, facts, untouched)}
    found = {"run": name, "facts_each": len(batches[0]), **summary(watch, rows)}
    found["editing"] = {key: vars(value) for key, value in editing.items()}
    if versions.current() is not None:
        found |= rollback_seconds(versions, made)
    found["rows"] = rows
    taught = [float(np.mean(row[:number])) if number else math.nan for number, row in enumerate(watch.matrix)]
    draw(
        {
            "held out": found["held_out"],
            "held out, if it spoke everywhere": found["held_out_everywhere"],
            "taught so far": taught,
        },
        {"held out": found["held_out_noise"]},
        RESULTS / f"consolidation_{name}.png",
        f"{len(batches)} updates of {len(batches[0])} facts",
    )
    return found


def _blocks(release: Release, texts: list[str]) -> torch.Tensor:
    """Statements as blocks of one length, several in a row."""
    rows = [statement(release, text) for text in texts]
    width = min(map(len, rows))
    return torch.tensor([row[:width] for row in rows])


def _rows(release: Release, facts: list[Taught], strangers: list[str], seed: int) -> torch.Tensor:
    """Rows of one length: what the student knows, as questions with answers and statements; questions about people whom
    nobody knows: a version shall not grow surer of these; and what the student writes when it is left alone."""
    asked = [question(release, q, f.answer) for f in facts for q in (*f.same, *f.other)]
    texts = [[*q.prompt, *q.answer] for q in asked] + [list(statement(release, f.text)) for f in facts]
    texts += [
        list(question(release, form.format(n)).prompt) for n in strangers for form in sum(FORMS.values(), ())[::3]
    ]
    width = 14
    start = list(statement(release, "The"))
    texts += [
        start + written
        for written in generate_many(
            release.model, [start] * len(texts), max_new_tokens=width, sampling=Sampling(temperature=1.0, seed=seed)
        )
    ]
    random.Random(seed).shuffle(texts)
    (end,) = release.generation.eos_ids
    return torch.tensor([(text + [end] * width)[:width] for text in texts])


def _strangers(world: World, count: int, seed: int = 99) -> list[str]:
    draw_, known = random.Random(seed), {*world.known, *world.new}
    names = ["".join(draw_.choice(SYLLABLES) for _ in range(3)).capitalize() for _ in range(count * 2)]
    return [name for name in names if name not in known][:count]


def _line(row: dict[str, Any]) -> str:
    return (
        f"update {row['update']:>2}: {'admitted' if row['admitted'] else 'REFUSED '}  taught {row['taught']:.2f}  "
        f"all {row['taught_all']:.3f}  held out {row['held_out']:.4f} ({row['step']:+.4f}, p {row['step_p']:.2f}), "
        f"everywhere {row['held_out_everywhere']:.4f}  "
        f"loss {row['loss_rise']:+.4f}  risk {row['refusal_risk'] - row['refusal_risk_release']:+.4f}  "
        f"{row['seconds']:.0f} s  {'; '.join(row['reasons'])}"
    )


def main() -> None:
    """Measure, print, write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("--release", help="a release's folder; without it a small student is trained")
    add("--folder", help="where everything is kept; without it nothing is")
    add("--promotions", type=int, default=20)
    add("--until", type=int, default=20, help="stop after so many of these")
    add("--facts", type=int, default=20, help="in each promotion")
    add("--steps", type=int, default=200, help="most steps of an update")
    add("--known", type=int, default=90, help="people whom the small student knows")
    add("--student-steps", type=int, default=500, help="of the small student's own training")
    add("--seed", type=int, default=0)
    chosen = options.parse_args()
    logging.basicConfig(level=logging.WARNING)
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as passing:
        found = (real if chosen.release else small)(chosen, Path(chosen.folder or passing))
    path = RESULTS / f"consolidation_{found['run']}.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in found.items() if key not in ("rows", "matrix")}, indent=1))


if __name__ == "__main__":
    main()

"""Meaning ranks a subject's own statements, knows what was not taught, and is learnt once an embedder."""

from __future__ import annotations

import numpy as np
import pytest

from nexus.living import judge as judges
from nexus.living.asking import queries
from nexus.living.bank import texts
from nexus.living.examples import examples
from nexus.living.facts import Fact
from nexus.living.judge import Judge
from nexus.living.matching import admits
from nexus.living.meaning import learn
from nexus.living.passages import cut
from nexus.living.words import key, stem, words


class Stems:
    """Stems as directions drawn by their hash, the rarer the longer: similarity is that of words in common."""

    name = "stems"

    def __init__(self):
        self.calls = 0

    def __call__(self, given):
        self.calls += 1
        made = np.zeros((len(given), 96))
        for row, text in enumerate(given):
            for word in words(text):
                seed = int.from_bytes(stem(word.norm).encode()[:8], "little")
                made[row] += np.random.default_rng(seed).normal(size=96) * min(len(word.norm), 6)
        return made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-12)


@pytest.fixture(scope="module")
def embedder():
    return Stems()


@pytest.fixture(scope="module")
def meaning(embedder):
    return learn(embedder)


def _entries(*told):
    return [(passage, passage.statements[0]) for n, text in enumerate(told) for passage in cut(Fact(n, text, ""))]


def _query(question, name="ada"):
    return next(one for one in queries(question, lambda asked: asked == (name,)) if one.mention == key(words(name)))


def _probabilities(embedder, question, *told):
    judge = Judge(embedder)
    entries, query = _entries(*told), _query(question)
    return judge.probabilities(query, query.whole, entries)


def test_what_is_asked_for_comes_first_and_what_is_not_told_comes_to_little(embedder, meaning, monkeypatch):
    monkeypatch.setitem(judges._learnt, embedder.name, meaning)
    told = ("Ada's bicycle stands in the cellar.", "Ada's tutor in algebra is Tom.", "Ada ordered 40 copies.")
    right = _probabilities(embedder, "In algebra, what tutor has Ada?", *told)
    assert max(right) == right[1]
    assert right[1] > 0.5
    none = _probabilities(embedder, "Which song does Ada hum?", *told)
    assert max(none) < min(0.5, right[1])


def test_only_what_may_be_of_the_kind_asked_for_is_left_to_meaning():
    ((passage, statement),) = _entries("Ada's father is Olav.")
    for question, left in (("Who is Ada's old man?", True), ("When is Ada?", False)):
        query = _query(question)
        assert admits(query, query.whole, passage, statement) is left, question


def test_learning_is_the_same_again(embedder, meaning):
    again = learn(embedder)
    np.testing.assert_array_equal(meaning.weights, again.weights)
    np.testing.assert_array_equal(meaning.closeness.axes, again.closeness.axes)


def test_what_was_learnt_is_kept_and_read_again(embedder, meaning, tmp_path, monkeypatch):
    monkeypatch.setitem(judges._learnt, embedder.name, meaning)
    entries, query = _entries("Ada's bicycle stands in the cellar."), _query("Where is Ada's bike?")
    first = Judge(embedder).probabilities(query, query.whole, entries)
    judges._write(meaning, tmp_path / f"{embedder.name}-{judges._digest()}.safetensors")
    monkeypatch.delitem(judges._learnt, embedder.name)
    before = embedder.calls
    assert Judge(embedder, tmp_path).probabilities(query, query.whole, entries) == first
    assert embedder.calls == before + 1  # for the question and the statement, not for the examples


def test_statements_are_compared_without_their_subject():
    known = examples()
    assert not any("kora" in text.lower() for text in texts(known.entries))


def test_nouns_joined_by_or_are_one_step():
    assert len(_query("Who is the husband or wife of Ada?").steps) == 1
    assert len(_query("Who is the boss of the wife of Ada?").steps) == 2

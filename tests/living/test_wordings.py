"""The everyday relations are whole, are read like taught sentences, and are not those of the benchmark."""

from __future__ import annotations

from benchmarks.memory_templates import RELATIONS
from benchmarks.memory_wordings import STATEMENTS, WORDINGS
from nexus.living.examples import SUBJECTS, examples
from nexus.living.wordings import requests, wordings


def test_every_block_has_a_sentence_and_questions():
    names = [one.name for one in wordings()]
    assert len(names) == len(set(names)) > 200
    for one in wordings():
        assert one.kind in SUBJECTS, one.name
        assert all("{s}" in said and "{v}" in said for said in one.statements), one.name
        assert len(one.values) >= 2, one.name
        assert len(one.questions) >= 3, one.name
        assert all("{s}" in question and "{v}" not in question for question in one.questions), one.name
    assert len(requests()) > 20


def test_every_example_is_about_its_subject():
    known = examples()
    assert len(known.queries) == len(known.of) == sum(len(one.questions) for one in wordings())
    assert len(known.entries) == sum(len(one.statements) for one in wordings())
    for place, (passage, statement) in zip(known.states, known.entries, strict=True):
        one = wordings()[place]
        assert statement.subject == tuple(SUBJECTS[one.kind].lower().split())
        assert passage.fact.text[slice(*statement.value_at)].lower().endswith(one.values[0].lower())
    assert all("someone" in query.whole.masked for query in known.queries)


def test_nothing_of_the_benchmark_is_among_them():
    ours = {question.casefold() for one in wordings() for question in one.questions}
    said = {text.casefold() for one in wordings() for text in one.statements}
    assert not ours & {text.casefold() for one in RELATIONS for text in (one.asked, *one.others)}
    assert not ours & {text.casefold() for texts in WORDINGS.values() for text in texts}
    assert not said & {text.casefold() for texts in STATEMENTS.values() for text in texts}
    assert not said & {one.taught.casefold() for one in RELATIONS}

"""The language-model front: only in-grammar text comes through, and nothing that rests on it is called proved."""

import pytest

from nexus.reasoning.english.parser import parse, viable
from nexus.reasoning.english.text import NotUnderstood
from nexus.reasoning.front import Front, constrained
from nexus.reasoning.problems import FAMILIES, generate
from nexus.reasoning.reasoner import Reasoner

LOOSE = "You know, Tom's a cat, and cats, well, they are animals. So would Tom be an animal?"
GOOD = "Tom is a cat. Every cat is an animal. Is Tom an animal?"


def scripted(*texts):
    """A "model" that says one thing after another, and remembers what it was told."""
    waiting, prompts = list(texts), []

    def generate(prompt):
        prompts.append(prompt)
        return waiting.pop(0)

    return generate, prompts


def test_a_reading_by_a_model_is_shown_and_never_called_proved():
    generate, _ = scripted(GOOD)
    answer = Reasoner(front=Front(generate)).ask(LOOSE)
    assert (answer.verdict, answer.status) == ("yes", "attested")
    assert answer.translated == GOOD
    assert GOOD in str(answer)
    assert Reasoner(front=Front(generate)).ask(GOOD).status == "proved"  # no model is asked for what is in the grammar


def test_faults_are_told_back_and_mended():
    generate, prompts = scripted("Tom is perhaps a cat. Is Tom an animal?", GOOD)
    assert Reasoner(front=Front(generate)).ask(LOOSE).verdict == "yes"
    assert "'perhaps'" in prompts[1]


@pytest.mark.parametrize(
    "made",
    [
        "Tom is sort of a cat.",
        "Tom is a cat. Ben is an animal. Is Tom an animal?",
        "Tom has 5 cats. How many cats does Tom have?",
    ],
    ids=["outside of the grammar", "a new name", "a new number"],
)
def test_what_is_not_in_the_text_or_the_grammar_is_refused(made):
    generate, prompts = scripted(made, made, made)
    with pytest.raises(NotUnderstood, match="line 1"):
        Reasoner(front=Front(generate)).ask(LOOSE)
    assert len(prompts) == 3


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "mystery"])
def test_every_beginning_of_an_in_grammar_text_is_viable(family):
    (problem,) = generate(family, 1, seed=3)
    pieces = problem.text.split(" ")
    for count in range(1, len(pieces), 3):
        assert viable(" ".join(pieces[:count])), pieces[:count]
    parse(problem.text)


@pytest.mark.parametrize("text", ["Most", "Tom is probably", "Every cat is an animal. Few", "Tom is a cat unless"])
def test_beginnings_that_lead_nowhere_are_not_viable(text):
    assert not viable(text)


def test_a_model_that_prefers_hedges_is_kept_within_the_grammar():
    """At each place it would rather say something else; the grammar lets only the sober words through."""
    wanted = ["Tom", "is", "a", "cat", ".", "Every", "cat", "is", "an", "animal", ".", "Is", "Tom", "an", "animal", "?"]

    def propose(text):
        done = len(text.replace(".", " .").replace("?", " ?").split())
        return ["perhaps", "mostly", wanted[done]] if done < len(wanted) else []

    text = constrained(propose)
    assert text == GOOD
    assert Reasoner().ask(text).proved


def test_a_model_with_nothing_sober_to_say_is_stopped():
    with pytest.raises(NotUnderstood, match="leads out of the grammar"):
        constrained(lambda text: ["perhaps"])

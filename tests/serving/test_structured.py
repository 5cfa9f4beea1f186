"""Answers after a grammar: valid whatever the model would like to say, and whole whatever room there is."""

import json

import jsonschema
import pytest
import torch

from nexus.inference.sampling import Sampling
from nexus.serving.errors import ApiError
from nexus.serving.structured import Grammar, json_rule, vocabulary
from tests.serving.random_schemas import draw
from tests.serving.small import END, Answers, free_release

RELEASE = free_release()
WILD = Sampling(temperature=1.5, seed=3)
POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "label": {"type": "string"}},
    "required": ["x", "label"],
    "additionalProperties": False,
}


def grammar(schema):
    return Grammar(RELEASE, f"start: {json_rule(schema)}", "response_format")


def valid(schema, text):
    jsonschema.Draft202012Validator(schema).validate(json.loads(text))
    return True


@pytest.mark.parametrize("sampling", [None, WILD], ids=["greedy", "wild"])
def test_random_schemas_are_followed_by_a_model_without_training(sampling):
    answers, schemas = Answers(RELEASE), [draw(i) for i in range(24)]
    for schema in schemas:
        answers.ask(b"Tell me", 200, sampling, grammar=grammar(schema))
    texts = answers.run()
    assert all(valid(schema, text) for schema, text in zip(schemas, texts, strict=True))
    assert {pieces[-1].finish for pieces in answers.pieces} == {"stop"}
    assert len(set(texts)) > 20


def test_an_answer_is_whole_however_little_room_there_is():
    made = grammar(POINT)
    shortest = len(made._way)
    answers = Answers(RELEASE)
    for room in range(shortest, shortest + 30):
        answers.ask(b"Tell me", room, WILD, grammar=made)
    answers.run()
    for pieces in answers.pieces:
        assert valid(POINT, "".join(piece.text for piece in pieces))
        assert pieces[-1].finish == "stop"
    with pytest.raises(ApiError, match=f"{shortest} tokens, {shortest - 1} are allowed"):
        made.check_room(shortest - 1)


def test_what_the_model_would_like_to_say_is_said_where_the_grammar_lets_it():
    choice = {"enum": ["yes", "no", "perhaps"]}
    answers = Answers(RELEASE)
    for seed in range(12):
        answers.ask(b"Well?", 20, Sampling(temperature=2.0, seed=seed), grammar=grammar(choice))
    assert {json.loads(text) for text in answers.run()} == {"yes", "no", "perhaps"}


def test_a_row_with_a_grammar_does_not_disturb_the_others():
    answers = Answers(RELEASE)
    answers.ask(b"free", 20)
    answers.run()
    together = Answers(RELEASE)
    together.ask(b"free", 20)
    together.ask(b"held", 40, grammar=grammar(POINT))
    assert together.run()[0] == answers.text(0)


def test_the_end_is_allowed_exactly_where_the_text_may_end():
    words, guide = vocabulary(RELEASE), grammar({"type": "integer"}).guide()
    logits = torch.zeros(1, words.size, dtype=torch.float64)

    def may_end():
        return bool(guide.limit(logits)[0, END].isfinite())

    assert not may_end()
    guide.take(RELEASE.tokenizer.encode("7")[0], 10)
    assert may_end()
    assert not guide.done


@pytest.mark.parametrize(
    "schema", [{"type": "array", "uniqueItems": True}, {"type": "nonsense"}, {"$ref": "https://example.org/schema"}]
)
def test_schemas_that_cannot_be_followed_are_refused_by_name(schema):
    with pytest.raises(ApiError, match="response_format: cannot be followed") as caught:
        grammar(schema)
    assert (caught.value.status, caught.value.param) == (400, "response_format")


def test_a_client_cannot_turn_checks_off():
    made = grammar({"type": "integer", "x-guidance": {"lenient": True, "whitespace_flexible": True}})
    guide = made.guide()
    space = RELEASE.tokenizer.encode(" ")[0]
    assert guide.limit(torch.zeros(1, vocabulary(RELEASE).size))[0, space] == float("-inf")

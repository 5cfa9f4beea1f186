"""Several answers to one request."""

import json

import pytest

from tests.serving.small import Answers, alone, free_release, release_of, served

TEXT = {"model": "nexus", "prompt": "Hello, this is a prompt of some length", "max_tokens": 10}


@pytest.fixture(scope="module")
def client():
    with served() as client:
        yield client


def test_choices_differ_by_chance_and_the_first_is_what_one_alone_gives(client):
    body = {**TEXT, "temperature": 1.5, "seed": 4}
    one = client.post("/v1/completions", json=body).json()
    three = client.post("/v1/completions", json={**body, "n": 3}).json()
    texts = [choice["text"] for choice in three["choices"]]
    assert texts[0] == one["choices"][0]["text"]
    assert len(set(texts)) == 3
    assert [choice["index"] for choice in three["choices"]] == [0, 1, 2]
    assert three["usage"]["completion_tokens"] == 30
    assert three["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"]


def test_a_stream_of_choices_is_the_same_choices(client):
    body = {**TEXT, "temperature": 1.5, "seed": 4, "n": 3}
    whole = client.post("/v1/completions", json=body).json()
    lines = client.post(
        "/v1/completions", json={**body, "stream": True, "stream_options": {"include_usage": True}}
    ).text.split("\n\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    texts, ends = ["", "", ""], {}
    for chunk in chunks[:-1]:
        (choice,) = chunk["choices"]
        texts[choice["index"]] += choice["text"]
        ends[choice["index"]] = choice["finish_reason"]
    assert texts == [choice["text"] for choice in whole["choices"]]
    assert set(ends.values()) == {"length"}
    assert chunks[-1]["usage"]["completion_tokens"] == 30


def test_the_prompt_of_several_choices_is_read_once():
    release, answers = release_of(), Answers(release_of())
    prompt = release.tokenizer.encode(TEXT["prompt"])
    for _ in range(3):  # as the engine queues them, before any is read
        answers.ask(prompt)
    texts = answers.run()
    assert texts == [alone(release, prompt)] * 3
    assert [pieces[-1].cached for pieces in answers.pieces] == [0, len(prompt) - 1, len(prompt) - 1]


def test_more_choices_than_there_is_room_for_are_refused():
    with served(rows=1, queue=1) as client:
        response = client.post("/v1/completions", json={**TEXT, "n": 3})
        assert (response.status_code, response.json()["error"]["code"]) == (429, "queue_full")
        assert client.post("/v1/completions", json={**TEXT, "n": 2}).status_code == 200


def test_formats_over_http():
    schema = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    chat = {"model": "nexus", "messages": [{"role": "user", "content": "?"}], "max_tokens": 60}
    with served(free_release()) as client:
        for form, keys in (
            ({"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}}, {"a"}),
            ({"type": "json_object"}, None),
        ):
            choice = client.post("/v1/chat/completions", json={**chat, "response_format": form}).json()["choices"][0]
            content = json.loads(choice["message"]["content"])
            assert choice["finish_reason"] == "stop"
            assert isinstance(content, dict)
            assert keys is None or set(content) == keys
        bad = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "array", "uniqueItems": True}}}
        refused = client.post("/v1/chat/completions", json={**chat, "response_format": bad})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "response_format")

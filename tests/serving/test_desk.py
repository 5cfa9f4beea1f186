"""The gate behind HTTP: decided before anything is sent, the same as without HTTP, with the field `nexus`."""

import json
from contextlib import contextmanager
from functools import partial

import pytest
from fastapi.testclient import TestClient

from nexus.inference import release as release_module
from nexus.inference.release import load_release
from nexus.living.journal import Journal
from nexus.living.opening import open_living
from nexus.serving.app import make_app
from nexus.serving.desk import Desk
from nexus.serving.engine import Engine
from nexus.serving.guard import _digest
from nexus.serving.journal_thread import JournalThread
from nexus.serving.weights import OwnersWeights, plain
from tests.living.answers import TOKENS, certified_release

PROVED = "Every cat is an animal. Tom is a cat. Is Tom an animal?"


@contextmanager
def served(release, memory, keys=(), weights=plain):
    engine = Engine(release, desk=Desk(release, partial(open_living, release, memory), weights))
    app = make_app(engine, keys=keys, name="nexus", journal=JournalThread(memory))
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        yield client


@pytest.fixture(scope="module")
def certified():
    release, _, texts = certified_release()
    return release, texts


@pytest.fixture(scope="module")
def client(certified, tmp_path_factory):
    with served(certified[0], tmp_path_factory.mktemp("memory") / "memory.db") as client:
        yield client


def chat(client, text, **more):
    body = {"model": "nexus", "messages": [{"role": "user", "content": text}], **more}
    response = client.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    return response if more.get("stream") else response.json()


def test_answers_are_those_of_the_living_service_itself(client, certified, tmp_path):
    release, texts = certified
    living = open_living(release, tmp_path / "memory.db")
    kinds = set()
    for text in [*texts[:24], PROVED]:
        expected, body = living.ask("me", text), chat(client, text)
        said = body["nexus"]
        assert body["choices"][0]["message"]["content"] == expected.text
        assert (said["answered"], said["channel"], said["reason"]) == (
            expected.answered,
            expected.channel,
            expected.reason,
        )
        if expected.score is not None:
            assert said["score"] == pytest.approx(expected.score, abs=1e-4)
        kinds.add((said["channel"], said["answered"]))
    assert kinds == {("model", True), ("model", False), ("proof", True)}
    living.close()


def test_a_start_reads_the_release_for_its_hash_once(certified, tmp_path, monkeypatch):
    read, digest = [], release_module.sha256_file
    monkeypatch.setattr(release_module, "sha256_file", lambda file: read.append(file.name) or digest(file))
    release = load_release(certified[0].folder)
    weights = OwnersWeights(tmp_path / "weights", release.hash, release)
    with served(release, tmp_path / "memory.db", weights=weights) as client:
        assert chat(client, certified[1][0])["nexus"]["score"] is not None
    assert read.count("model.safetensors") == 1


def test_a_stream_is_sent_once_it_was_decided(client, certified):
    for text in (*certified[1][:6], PROVED):
        whole = chat(client, text)
        response = chat(client, text, stream=True, stream_options={"include_usage": True})
        sent = [event for event in response.text.split("\n\n") if event and "[DONE]" not in event]
        events = [json.loads(event.removeprefix("data: ")) for event in sent]
        said = "".join(e["choices"][0]["delta"].get("content", "") for e in events if e["choices"])
        assert said == whole["choices"][0]["message"]["content"]
        (field,) = [e["nexus"] for e in events if "nexus" in e]
        other = {"id": "", "proof": None}  # a proof also says how long it took
        assert {**field, **other} == {**whole["nexus"], **other}
        assert events[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]


@pytest.mark.parametrize(
    ("more", "part"),
    [
        ({"temperature": 0.7}, "sampler"),
        ({"max_tokens": TOKENS - 1}, "sampler"),
        ({"stop": "x"}, "sampler"),
        ({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]}, "prompt"),
        ({"messages": [{"role": r, "content": "Why?"} for r in ("user", "assistant", "user")]}, "prompt"),
        ({"messages": [{"role": r, "content": "Why?"} for r in ("user", "assistant")]}, "prompt"),
    ],
)
def test_another_manner_than_the_certified_one_is_refused(client, certified, more, part):
    said = chat(client, certified[1][0], **more)["nexus"]
    assert not said["answered"]
    assert f"({part})" in said["reason"]


def test_completions_pass_the_gate_too(client):
    asked = {"model": "nexus", "prompt": "Once upon a time", "max_tokens": 30}
    assert "(prompt)" in client.post("/v1/completions", json=asked).json()["nexus"]["reason"]
    proved = client.post("/v1/completions", json={**asked, "prompt": PROVED}).json()
    assert (proved["choices"][0]["text"], proved["nexus"]["channel"]) == ("Yes", "proof")


def test_what_was_taught_is_each_keys_own(certified, tmp_path):
    keys = ["a" * 32, "b" * 32]
    with served(certified[0], tmp_path / "memory.db", keys) as client:
        client.headers["Authorization"] = f"Bearer {keys[0]}"
        with Journal(tmp_path / "memory.db") as journal:
            journal.teach(_digest(keys[0]), "The shop opens at nine.", "the door")
        said = chat(client, "When does the shop open?")["nexus"]
        assert (said["channel"], said["citations"][0]["quote"]) == ("memory", "The shop opens at nine.")
        client.headers["Authorization"] = f"Bearer {keys[1]}"
        assert chat(client, "When does the shop open?")["nexus"]["channel"] == "model"
        feedback = client.post("/v1/nexus/feedback", json={"about": said["id"], "right": True})
        assert feedback.status_code == 404, "another's answer"


def test_feedback_is_noted_and_shown(client, certified):
    said = next(s for t in certified[1] if (s := chat(client, t)["nexus"])["channel"] == "model" and s["answered"])

    def labels():
        return next(
            row["labels"] for row in client.get("/v1/nexus/status").json()["channels"] if row["channel"] == "model"
        )

    before, judged = labels(), {"about": said["id"], "right": True}
    noted = client.post("/v1/nexus/feedback", json=judged).json()
    assert (noted["noted"], noted["open"]) == (True, True)
    assert labels() == before + 1
    for body, status in ((judged, 404), ({"about": "x", "right": 1}, 400), ({}, 400)):
        assert client.post("/v1/nexus/feedback", json=body).status_code == status


def test_what_another_process_forgets_is_in_no_state_that_is_used(certified, tmp_path):
    memory, text = tmp_path / "memory.db", certified[1][0]

    def cached():
        return chat(client, text)["usage"]["prompt_tokens_details"]["cached_tokens"]

    with served(certified[0], memory) as client, Journal(memory) as journal:
        assert cached() == 0
        whole = cached()
        assert whole > 0
        fact = journal.teach("me", "The shop opens at nine.")
        assert cached() == whole
        journal.forget("me", fact)
        assert [cached(), cached()] == [0, whole]


def test_samples_are_drawn_for_the_score(tmp_path):
    release, _, texts = certified_release(samples=2)
    with served(release, tmp_path / "memory.db") as client:
        answers = [chat(client, text)["nexus"] for text in texts[:12]]
    assert all(a["score"] is not None for a in answers)


def test_a_model_that_fails_is_reported_and_the_gate_stays(client, certified):
    def broken(_module, _args):
        raise ArithmeticError

    handle = certified[0].model.register_forward_pre_hook(broken)
    asked = {"model": "nexus", "messages": [{"role": "user", "content": certified[1][0]}], "stream": True}
    try:
        assert client.post("/v1/chat/completions", json=asked).status_code == 500, "before anything was sent"
    finally:
        handle.remove()
    assert client.post("/v1/chat/completions", json=asked).status_code == 200


FORM = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
ADD = {"name": "add", "parameters": {"type": "object"}}


def test_several_choices_are_the_same_decision(client):
    one, three = chat(client, PROVED), chat(client, PROVED, n=3)
    texts = [choice["message"]["content"] for choice in three["choices"]]
    assert texts == [one["choices"][0]["message"]["content"]] * 3
    assert three["nexus"]["channel"] == "proof"


@pytest.mark.parametrize(
    "more",
    [
        {"response_format": FORM},
        {"tools": [{"type": "function", "function": ADD}], "tool_choice": "required"},
    ],
    ids=["schema", "function"],
)
def test_where_words_are_no_answer_they_are_sent_as_a_refusal(client, more):
    body = chat(client, PROVED, **more)
    message = body["choices"][0]["message"]
    assert (message["content"], body["nexus"]["answered"]) == (None, False)
    assert message["refusal"]
    sent = chat(client, PROVED, stream=True, **more).text.split("\n\n")
    deltas = [json.loads(event[6:])["choices"][0]["delta"] for event in sent if event.startswith("data: {")]
    assert "".join(delta.get("refusal", "") for delta in deltas) == message["refusal"]
    assert not any(delta.get("content") for delta in deltas)


def test_with_functions_to_choose_from_words_are_an_answer(client):
    body = chat(client, PROVED, tools=[{"type": "function", "function": ADD}])
    assert (body["nexus"]["channel"], body["nexus"]["answered"]) == ("proof", True)
    assert body["choices"][0]["message"]["content"]


def test_responses_pass_the_gate_too(client):
    def respond(**more):
        return client.post("/v1/responses", json={"model": "nexus", "input": PROVED, **more}).json()

    answer = respond()
    assert (answer["nexus"]["channel"], answer["status"]) == ("proof", "completed")
    assert answer["output"][0]["content"][0]["text"] == chat(client, PROVED)["choices"][0]["message"]["content"]
    refused = respond(text={"format": {"type": "json_object"}})
    assert refused["nexus"]["answered"] is False
    assert refused["output"][0]["content"][0]["type"] == "refusal"

"""The application over HTTP, without a socket: forms, refusals, and the same answers as from the model itself."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from nexus.serving import app as app_module
from tests.serving.small import alone, release_of, served

KEY, OTHER_KEY = "k" * 32, "o" * 32
CHAT = {"model": "nexus", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 10}
TEXT = {"model": "nexus", "prompt": "Hello", "max_tokens": 10}


@pytest.fixture(scope="module")
def client():
    with served() as client:
        yield client


def chat_ids(client, text="Hello"):
    return client.engine.release.tokenizer.chat_ids([{"role": "user", "content": text}])


def events(response):
    lines = [line for line in response.text.split("\n\n") if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_a_chat_is_answered_as_by_the_model_itself(client):
    response = client.post("/v1/chat/completions", json=CHAT)
    body, ids = response.json(), chat_ids(client)
    assert response.status_code == 200
    assert body["choices"][0]["message"]["content"] == alone(client.engine.release, ids, 10) != ""
    assert body["choices"][0]["finish_reason"] == "length"
    usage = body["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (len(ids), 10, len(ids) + 10)
    assert body["object"] == "chat.completion"


@pytest.mark.parametrize(("path", "body"), [("/v1/chat/completions", CHAT), ("/v1/completions", TEXT)])
def test_a_stream_is_the_same_answer_in_pieces(client, path, body):
    whole = client.post(path, json=body).json()
    response = client.post(path, json={**body, "stream": True, "stream_options": {"include_usage": True}})
    parts = events(response)
    assert response.headers["content-type"].startswith("text/event-stream")
    if path == "/v1/completions":
        assert "".join(p["choices"][0]["text"] for p in parts[:-1]) == whole["choices"][0]["text"]
    else:
        deltas = [p["choices"][0]["delta"] for p in parts[:-1]]
        assert deltas[0]["role"] == "assistant"
        assert "".join(d.get("content", "") for d in deltas) == whole["choices"][0]["message"]["content"]
        assert len(deltas) > 3
    assert parts[-2]["choices"][0]["finish_reason"] == "length"
    assert parts[-1]["choices"] == []
    assert parts[-1]["usage"]["completion_tokens"] == 10
    assert len({p["id"] for p in parts}) == 1


def test_a_stop_text_ends_the_answer_and_is_not_part_of_it(client):
    text = client.post("/v1/completions", json=TEXT).json()["choices"][0]["text"]
    stop = text[3:5]
    choice = client.post("/v1/completions", json={**TEXT, "stop": stop}).json()["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == (text[: text.index(stop)], "stop")


def test_a_seed_makes_chance_repeatable(client):
    def text(seed):
        body = {**TEXT, "temperature": 1.5, "top_p": 0.95, "seed": seed}
        return client.post("/v1/completions", json=body).json()["choices"][0]["text"]

    assert text(1) == text(1) != text(2)


def test_a_prompt_may_be_ids(client):
    ids = client.engine.release.tokenizer.encode("Hello")
    assert [
        client.post("/v1/completions", json={**TEXT, "prompt": prompt}).json()["choices"][0]["text"]
        for prompt in (ids, [ids], ["Hello"], [float(one) for one in ids])  # 1.0 is a whole number, too
    ] == [alone(client.engine.release, ids, 10)] * 4


def test_many_at_once_are_answered_as_each_alone(client):
    texts = [f"Question {i}: {'why ' * i}?" for i in range(12)]

    def ask(text):
        body = {**CHAT, "messages": [{"role": "user", "content": text}]}
        return client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"]

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, texts))
    assert answers == [alone(client.engine.release, chat_ids(client, text), 10) for text in texts]


def test_the_next_turn_reads_only_what_is_new(client):
    messages = [{"role": "user", "content": "Tell me something long enough to be kept"}]
    first = client.post("/v1/chat/completions", json={**CHAT, "messages": messages}).json()
    messages += [first["choices"][0]["message"], {"role": "user", "content": "More"}]
    second = client.post("/v1/chat/completions", json={**CHAT, "messages": messages}).json()
    total = first["usage"]["total_tokens"]
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] == total - 1
    ids = client.engine.release.tokenizer.chat_ids([{"role": m["role"], "content": m["content"]} for m in messages])
    assert second["choices"][0]["message"]["content"] == alone(client.engine.release, ids, 10)


@pytest.mark.parametrize(
    ("path", "change", "param", "code"),
    [
        ("chat/completions", {"n": 9}, "n", "invalid_value"),
        ("chat/completions", {"logprobs": 1}, "logprobs", "invalid_value"),
        ("chat/completions", {"top_logprobs": 1}, "top_logprobs", "invalid_value"),
        ("chat/completions", {"logprobs": True, "top_logprobs": 21}, "top_logprobs", "invalid_value"),
        ("chat/completions", {"tools": [{"type": "function"}]}, "tools[0].function", "invalid_value"),
        ("chat/completions", {"tool_choice": "required"}, "tool_choice", "invalid_value"),
        ("chat/completions", {"response_format": {"type": "yaml"}}, "response_format", "invalid_value"),
        ("chat/completions", {"user": 5}, "user", "invalid_value"),
        ("chat/completions", {"frequency_penalty": 0.5}, "frequency_penalty", "unsupported_parameter"),
        ("chat/completions", {"reasoning_effort": "low"}, "reasoning_effort", "unsupported_parameter"),
        ("chat/completions", {"temprature": 0.5}, "temprature", "unsupported_parameter"),
        ("chat/completions", {"temperature": -1}, "temperature", "invalid_value"),
        ("chat/completions", {"temperature": True}, "temperature", "invalid_value"),
        ("chat/completions", {"top_p": 2}, "top_p", "invalid_value"),
        ("chat/completions", {"seed": 0.5}, "seed", "invalid_value"),
        ("chat/completions", {"stop": ["a"] * 5}, "stop", "invalid_value"),
        ("chat/completions", {"stop": ""}, "stop", "invalid_value"),
        ("chat/completions", {"max_tokens": 0}, "max_tokens", "invalid_value"),
        ("chat/completions", {"stream": "yes"}, "stream", "invalid_value"),
        ("chat/completions", {"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
        ("chat/completions", {"messages": []}, "messages", "invalid_value"),
        ("chat/completions", {"messages": ["hi"]}, "messages[0]", "invalid_value"),
        ("chat/completions", {"messages": [{"role": "robot", "content": ""}]}, "messages[0].role", "invalid_value"),
        ("chat/completions", {"messages": [{"role": "user"}]}, "messages[0].content", "invalid_value"),
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": "", "name": "x"}]},
            "messages[0].name",
            "unsupported_parameter",
        ),
        ("chat/completions", {"max_tokens": 4_096}, "messages", "context_length_exceeded"),
        ("completions", {"prompt": "x" * 4_096, "max_tokens": 1}, "prompt", "context_length_exceeded"),
        ("completions", {"prompt": ""}, "prompt", "invalid_value"),
        ("completions", {"prompt": ["a", "b"]}, "prompt", "invalid_value"),
        ("completions", {"prompt": [259]}, "prompt", "invalid_value"),
        ("completions", {"echo": True}, "echo", "unsupported_parameter"),
    ],
)
def test_what_is_wrong_or_not_supported_is_refused_by_name(client, path, change, param, code):
    response = client.post(f"/v1/{path}", json={**(CHAT if path.startswith("chat") else TEXT), **change})
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, param, code)
    assert error["type"] == "invalid_request_error"
    assert ";" in error["message"], "the message says what to do"


def test_null_and_values_that_change_nothing_are_accepted(client):
    quiet = {"n": 1, "logprobs": False, "tools": None, "presence_penalty": 0, "user": None, "logit_bias": {}}
    assert client.post("/v1/chat/completions", json={**CHAT, **quiet}).status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"temperature": NaN}', "application/json", 400),
        (b'{"prompt": "\\ud800"}', "application/json", 400),
        (b"\xff", "application/json", 400),
        (json.dumps(CHAT).encode(), "text/plain", 415),
        (b"x" * 2_000, "application/json", 413),
    ],
)
def test_bodies_that_are_no_requests_are_refused(client, content, kind, status, monkeypatch):
    monkeypatch.setattr(app_module, "BODY", 1_000 if status == 413 else 10**6)
    response = client.post("/v1/chat/completions", content=content, headers={"Content-Type": kind})
    assert response.status_code == status
    assert response.json()["error"]["message"]


def test_models_and_unknown_places(client):
    assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["nexus"]
    assert client.get("/v1/models/nexus").json()["object"] == "model"
    for response in (
        client.get("/v1/models/other"),
        client.post("/v1/chat/completions", json={**CHAT, "model": "other"}),
        client.get("/v1/nothing"),
    ):
        assert response.status_code == 404
        assert response.json()["error"]["message"]
    assert client.get("/v1/completions").status_code == 405
    assert client.put("/v1/responses/resp_1").headers["allow"] == "DELETE, GET"  # of both routes


def test_strange_hosts_and_foreign_pages_are_refused(client):
    assert client.get("/v1/models", headers={"Host": "evil.example"}).status_code == 403
    assert client.get("/v1/models", headers={"Host": "localhost:8000"}).status_code == 200
    for origin, status in (("http://evil.example", 403), ("null", 403), ("http://127.0.0.1:8000", 200)):
        assert client.get("/v1/models", headers={"Origin": origin}).status_code == status


def test_keys_open_and_separate_and_are_never_logged(caplog):
    caplog.set_level("INFO")
    message = {**CHAT, "messages": [{"role": "user", "content": "a private thing, said at some length"}]}
    with served(keys=[KEY, OTHER_KEY]) as client:
        assert client.post("/v1/chat/completions", json=message).status_code == 401
        wrong = {"Authorization": f"Bearer {KEY}x"}
        assert client.post("/v1/chat/completions", json=message, headers=wrong).status_code == 401
        cached = []
        for key in (KEY, OTHER_KEY, KEY):
            good = {"Authorization": f"Bearer {key}"}
            usage = client.post("/v1/chat/completions", json=message, headers=good).json()["usage"]
            cached.append(usage["prompt_tokens_details"]["cached_tokens"])
        assert cached[:2] == [0, 0]
        assert cached[2] > 0
        assert client.get("/livez").status_code == 200
        assert client.get("/metrics").status_code == 401
    ours = [record.getMessage() for record in caplog.records if record.name == "nexus.serving"]
    assert any(text.startswith("POST /v1/chat/completions 200") for text in ours)
    assert not any(secret in caplog.text for secret in (KEY, OTHER_KEY, "private thing"))


def test_a_full_queue_says_when_to_come_again():
    with served(rows=1, queue=0) as client:
        endless = {**TEXT, "max_tokens": 2_000}
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(client.post, "/v1/completions", json=endless)
            while not client.engine._open:
                pass
            refused = client.post("/v1/completions", json=TEXT)
            for row in list(client.engine._open):
                row.cancelled = True
                row.emit(row_end())
            first.result()
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.json()["error"]["code"] == "queue_full"
        assert b"nexus_refused_total 1.0" in client.get("/metrics").content


def row_end():
    from nexus.serving.batch import Piece

    return Piece("", 1, 0, "stop")


def test_health_and_metrics(client):
    client.post("/v1/completions", json=TEXT)
    assert client.get("/livez").json() == {"live": True}
    assert client.get("/readyz").json() == {"ready": True}
    text = client.get("/metrics").text
    assert 'nexus_requests_total{path="/v1/completions",status="200"}' in text
    assert "nexus_first_token_seconds_bucket" in text
    assert "/v1/models/other" not in text


def test_stores_and_memory_are_told(client):
    client.post("/v1/responses", json={"model": "nexus", "input": "Hello", "max_output_tokens": 4})
    text = client.get("/metrics").text
    told = {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if not line.startswith("#")}
    assert told["nexus_kept_responses"] >= 1
    assert told["nexus_kept_response_bytes"] > 100
    assert told["nexus_prefix_cache_states"] >= 1
    if "nexus_resident_bytes" in told:
        assert told["nexus_resident_bytes"] > 2**24


def test_free_memory_is_given_back_now_and_then(monkeypatch):
    given = threading.Event()
    monkeypatch.setattr(app_module, "TIDY", 0.01)
    monkeypatch.setattr(app_module, "trim_heap", given.set)
    with served():
        assert given.wait(60)


def test_a_model_that_fails_is_reported_and_the_server_goes_on():
    release = release_of()
    with served(release) as client:

        def broken(_module, _args):
            raise ArithmeticError("secret detail")

        handle = release.model.register_forward_pre_hook(broken)
        response = client.post("/v1/completions", json=TEXT)
        stream = client.post("/v1/completions", json={**TEXT, "stream": True})
        handle.remove()
        assert response.status_code == 500
        assert "secret detail" not in response.text + stream.text
        assert json.loads(stream.text.removeprefix("data: "))["error"]["code"] == "model_failed"
        assert client.post("/v1/completions", json=TEXT).status_code == 200
    assert not client.engine.ready

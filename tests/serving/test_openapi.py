"""The OpenAPI document: what it describes is what is taken. benchmarks/fuzz_server.py tries far more."""

import jsonschema
import pytest

from tests.serving.small import free_release, served
from tests.serving.test_tools import TOOLS

CHAT = {"model": "nexus", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 40}
BODIES = [
    ("/v1/chat/completions", CHAT),
    (
        "/v1/chat/completions",
        {**CHAT, "n": 2, "stop": ["a", "b"], "temperature": 1, "seed": 1, "user": None},
    ),
    ("/v1/chat/completions", {**CHAT, "logprobs": True, "top_logprobs": 2, "stream": None}),
    ("/v1/chat/completions", {**CHAT, "stream": True, "stream_options": {"include_usage": True}}),
    ("/v1/chat/completions", {**CHAT, "tools": TOOLS, "tool_choice": "auto"}),
    ("/v1/chat/completions", {**CHAT, "response_format": {"type": "json_object"}}),
    (  # clients send replies back with all that is not in them
        "/v1/chat/completions",
        {
            **CHAT,
            "messages": [{"role": "user", "content": "a", "audio": None}],
            "response_format": {"type": "text", "x": None},
        },
    ),
    ("/v1/completions", {"model": "nexus", "prompt": [1, 2, 3], "max_tokens": 3, "logprobs": 1, "audio": None}),
    ("/v1/responses", {"model": "nexus", "input": "a", "max_output_tokens": 3, "text": {"format": None, "x": None}}),
    ("/v1/embeddings", {"model": "nexus", "input": ["a", "b"], "encoding_format": "base64"}),
    ("/v1/responses", {"model": "nexus", "input": [{"role": "user", "content": "a"}], "max_output_tokens": 3}),
]
WRONG = [
    ("/v1/chat/completions", {**CHAT, "stream_options": {"include_usage": True}}),
    ("/v1/chat/completions", {**CHAT, "top_logprobs": 2}),
    ("/v1/chat/completions", {**CHAT, "temprature": 1}),
    ("/v1/completions", {"model": "nexus", "prompt": [-1]}),
    ("/v1/embeddings", {"model": "nexus"}),
    ("/v1/responses", {"model": "nexus", "input": 5}),
]


@pytest.fixture(scope="module")
def client():
    with served(free_release()) as client:
        client.document = client.get("/openapi.json").json()
        yield client


def schema(client, path, part):
    operation = client.document["paths"][path]["post"]
    body = operation["requestBody"] if part == "request" else operation["responses"]["200"]
    return body["content"]["application/json"]["schema"]


@pytest.mark.parametrize(("path", "body"), BODIES)
def test_what_is_described_is_taken_and_answered_as_described(client, path, body):
    jsonschema.validate(body, schema(client, path, "request"))
    response = client.post(path, json=body)
    assert response.status_code == 200
    if not body.get("stream"):
        jsonschema.validate(response.json(), schema(client, path, "reply"))


@pytest.mark.parametrize(("path", "body"), WRONG)
def test_what_is_not_described_is_refused(client, path, body):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(body, schema(client, path, "request"))
    response = client.post(path, json=body)
    assert response.status_code == 400
    jsonschema.validate(response.json(), client.document["paths"][path]["post"]["responses"]["4XX"]["content"][
        "application/json"]["schema"])  # fmt: skip


def test_every_route_of_the_api_is_described(client):
    for path, operations in client.document["paths"].items():
        for method, operation in operations.items():
            assert "4XX" in operation["responses"], path
            assert method != "post" or "requestBody" in operation, path

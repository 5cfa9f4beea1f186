"""What each route takes and gives, as OpenAPI: for people, for generators of clients, and for fuzzers.

The one idea: requests are read by code that names every fault, so they are described beside it, and a fuzzer
(benchmarks/fuzz_server.py) finds where the two part: what is described must be taken, what is not must be refused.
"""

from typing import Any

from nexus.inference.release import Release
from nexus.serving.embeddings import TEXTS
from nexus.serving.schemas import (
    CALLABLE,
    CHAT,
    COMPLETION,
    COMPLETIONS,
    EMBEDDINGS,
    ERROR,
    FLAG,
    FREE,
    LABELS,
    MEMORY_BODIES,
    RESPONSE,
    RESPONSES,
    SAMPLING,
    Schema,
    array,
    obj,
    only_with,
    or_null,
    whole,
)


def describe(app: Any, release: Release, name: str) -> None:
    """Let the application's OpenAPI document describe bodies and replies."""
    plain = app.openapi

    def described() -> Schema:
        if app.openapi_schema is None:
            document = plain()
            for path, parts in {**_routes(release, name), **MEMORY}.items():
                for method, part in parts.items():
                    if path in document["paths"]:  # without a memory there are fewer
                        document["paths"][path][method].update(part)
            for operations in document["paths"].values():
                for operation in operations.values():
                    operation["responses"] = {**ERRORS, **operation["responses"]}
                    operation["responses"].pop("422", None)  # no route checks as FastAPI does
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = described


def _routes(release: Release, name: str) -> dict[str, dict[str, Schema]]:
    size, most = release.tokenizer.vocab_size, release.model.config.max_seq_length
    model, length = {"type": "string", "enum": [name]}, whole(1, most)
    ids, text = (array(whole(0, size - 1), 1, longest) for longest in (most - 1, most))  # an answer takes one at least
    common = {"model": model, "stream": or_null(FLAG), **SAMPLING}
    one = {"type": "string", "minLength": 1}
    prompt = {"anyOf": [one, ids, array(one, 1, 1), array(ids, 1, 1)]}
    chat = {
        **common, **CHAT, "max_tokens": or_null(length), "max_completion_tokens": or_null(length),
    }  # fmt: skip
    completion = {**common, **COMPLETION, "prompt": prompt, "max_tokens": or_null(length)}
    embedding = {
        "model": model, "input": {"anyOf": [one, text, array(one, 1, TEXTS), array(text, 1, TEXTS)]},
        "encoding_format": or_null({"enum": ["float", "base64"]}), "user": or_null(LABELS),
        "dimensions": or_null({"const": release.model.config.d_model}),
    }  # fmt: skip
    response = {**RESPONSE, "model": model, "stream": or_null(FLAG), "max_output_tokens": or_null(length)}
    streamed, told = only_with("stream_options", "stream"), only_with("top_logprobs", "logprobs")
    return {
        "/v1/chat/completions": {
            "post": _takes(obj(chat, "model", "messages", allOf=[streamed, told, CALLABLE]), COMPLETIONS, True)
        },
        "/v1/completions": {"post": _takes(obj(completion, "model", "prompt", allOf=[streamed]), COMPLETIONS, True)},
        "/v1/embeddings": {"post": _takes(obj(embedding, "model", "input"), EMBEDDINGS, False)},
        "/v1/responses": {"post": _takes(obj(response, "model", "input", allOf=[CALLABLE]), RESPONSES, True)},
        "/v1/responses/{response_id}": {"get": {"responses": {"200": _json("A reply that is kept", RESPONSES)}}},
    }


def _json(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _takes(body: Schema, reply: Schema, streams: bool) -> Schema:
    good = _json("The answer; as events if stream is true", reply)
    if streams:
        good["content"]["text/event-stream"] = {}  # OpenAPI 3.1 has no words for a stream of events
    content = {"application/json": {"schema": body}}
    return {"requestBody": {"required": True, "content": content}, "responses": {"200": good}}


ERRORS = {
    code: _json(words, obj({"error": ERROR}, "error"))
    for code, words in (
        ("4XX", "The request is wrong or too early"),
        ("5XX", "The server failed or is stopping"),
    )
}
MEMORY = {path: {"post": _takes(body, FREE, False)} for path, body in MEMORY_BODIES.items()}

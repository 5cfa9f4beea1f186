"""What clients send to the two endpoints that write text, made into one kind of request.

The one idea: OpenAI's JSON ends here. What comes out is a prompt of ids with rules, checked against the model.
Reference: OpenAI API, chat completions and completions.
"""

from dataclasses import dataclass, replace
from typing import Any

from nexus.inference.release import Release
from nexus.inference.sampling import Sampling
from nexus.serving.batch import Ask
from nexus.serving.errors import ApiError, wrong
from nexus.serving.fields import Fields
from nexus.serving.messages import introduce, read_messages
from nexus.serving.structured import Grammar, json_rule
from nexus.serving.tools import Tools, read_tools

DEFAULT_TOKENS = 512  # of an answer, where the client names no limit
STOPS, STOP_LENGTH = 4, 256  # most stop texts, and most characters of one
SEEDS = 2**62
CHOICES, ALTERNATIVES = 8, 20  # most answers to one request, and most tokens told of in the place of one


@dataclass(frozen=True)
class TextRequest:
    """A checked request: what to ask the model, and how the client wants the answer."""

    ask: Ask
    stream: bool
    usage: bool  # as a last event of a stream
    tools: bool = False  # whether the answer may be calls of functions


def read_chat(release: Release, name: str, body: dict[str, Any], owner: str) -> TextRequest:
    """A request to ``/v1/chat/completions``.

    Raises:
        ApiError: 400 for a field that is wrong or not supported, 404 for another model.
    """
    fields = Fields(body)
    check_model(name, fields.text("model"))
    tools, schema = read_tools(fields), _schema(fields.take("response_format"))
    messages = introduce(read_messages(fields.take("messages")), release.generation.system, tools)
    fields.only("modalities", ["text"])
    told, top = fields.flag("logprobs"), fields.whole("top_logprobs", 0, ALTERNATIVES)
    if top is not None and not told:
        raise fields.wrong("top_logprobs", top, "has no effect here", "give it with logprobs=true only")
    try:
        ids = release.tokenizer.chat_ids(messages)
    except ValueError as error:
        raise ApiError(400, f"messages: {error}", "messages", "invalid_value") from None
    asked = _read(fields, release, ids, owner, ("max_completion_tokens", "max_tokens"))
    grammar = _grammar(release, tools, schema)
    if grammar is not None:
        grammar.check_room(asked.ask.max_new_tokens)
    scores = (top or 0) if told else None
    ask = replace(asked.ask, grammar=grammar, logprobs=scores, messages=tuple(messages))
    return replace(asked, ask=ask, tools=tools is not None)


def read_completion(release: Release, name: str, body: dict[str, Any], owner: str) -> TextRequest:
    """A request to ``/v1/completions``; raises as :func:`read_chat`."""
    fields = Fields(body)
    check_model(name, fields.text("model"))
    ids = _prompt(release, fields.take("prompt"))
    top = fields.whole("logprobs", 0, ALTERNATIVES)
    fields.only("echo", False)
    fields.only("best_of", 1)
    fields.only("suffix", "")
    asked = _read(fields, release, ids, owner, ("max_tokens",))
    return replace(asked, ask=replace(asked.ask, logprobs=top))


def check_model(name: str, wanted: object) -> None:
    """Raise unless the client asks for the model that is served."""
    if wanted != name:
        message = f"model: {str(wanted)[:60]!r} is not served here; ask for {name!r}"
        raise ApiError(404, message, "model", "model_not_found")


def _read(fields: Fields, release: Release, ids: list[int], owner: str, limits: tuple[str, ...]) -> TextRequest:
    """What both endpoints have in common."""
    stream = fields.flag("stream")
    usage = _usage(fields.take("stream_options"), stream)
    most = release.model.config.max_seq_length
    given = [value for limit in limits if (value := fields.whole(limit, 1, most)) is not None]
    sampling = _sampling(fields)
    stop = _stop(fields.take("stop"))
    choices = fields.whole("n", 1, CHOICES) or 1
    fields.labels("user", "safety_identifier", "prompt_cache_key")
    fields.only("store", False)
    fields.only("presence_penalty", 0, 0.0)
    fields.only("frequency_penalty", 0, 0.0)
    fields.only("logit_bias", {})
    fields.finish()
    tokens = _room(len(ids), min(given, default=None), most, limits[0])
    ask = Ask(prompt=ids, max_new_tokens=tokens, sampling=sampling, stop=stop, owner=owner, choices=choices)
    return TextRequest(ask, stream, usage)


def _schema(value: object) -> dict[str, Any] | None:
    """The JSON schema that the answer has to follow, None if it is free."""
    if isinstance(value, dict):
        value = {key: part for key, part in value.items() if part is not None}
    if value is None or value == {"type": "text"}:
        return None
    if value == {"type": "json_object"}:
        return {"type": "object"}
    if not isinstance(value, dict) or value.get("type") != "json_schema":
        cure = 'give {"type": "text"}, {"type": "json_object"}, or {"type": "json_schema", "json_schema": {...}}'
        raise wrong("response_format", value, "is no format", cure)
    outer = Fields(value, "response_format.")
    outer.take("type")
    inside = outer.take("json_schema")
    outer.finish()
    if not isinstance(inside, dict):
        raise outer.wrong("json_schema", inside, "is no schema", 'give {"name": "...", "schema": {...}}')
    fields = Fields(inside, "response_format.json_schema.")
    schema = fields.take("schema")
    if not isinstance(schema, dict):
        raise fields.wrong("schema", schema, "is no JSON schema", 'give an object like {"type": "object", ...}')
    fields.text("name")
    fields.text_or("description", "")
    fields.flag("strict")  # the answer follows the schema in any case
    fields.finish()
    return schema


def _grammar(release: Release, tools: Tools | None, schema: dict[str, Any] | None) -> Grammar | None:
    if tools is not None:
        return Grammar(release, tools.grammar(schema), "tools", words=schema is None and not tools.must)
    return None if schema is None else Grammar(release, f"start: {json_rule(schema)}", "response_format")


def _prompt(release: Release, value: object) -> list[int]:
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], (str, list)):
        value = value[0]
    if isinstance(value, str):
        ids = release.tokenizer.encode(value, special=True)
    elif isinstance(value, list) and all(isinstance(i, int) and not isinstance(i, bool) for i in value):
        ids = value
    else:
        raise wrong("prompt", value, "is not one prompt", "give one string, or one list of token ids, a request")
    size = release.tokenizer.vocab_size
    if not ids or not all(0 <= i < size for i in ids):
        raise wrong("prompt", value, "is empty, or holds an unknown id", f"give at least one token, ids below {size}")
    return ids


def _usage(options: object, stream: bool) -> bool:
    if options is None:
        return False
    if not isinstance(options, dict) or not stream:
        raise wrong("stream_options", options, "has no effect here", "give an object, and only with stream=true")
    fields = Fields(options, "stream_options.")
    usage = fields.flag("include_usage")
    fields.only("include_obfuscation", False)
    fields.finish()
    return usage


def _sampling(fields: Fields) -> Sampling:
    """As asked; greedy where the client says nothing, as ``nexus chat``."""
    return Sampling(
        temperature=fields.number("temperature", 0, 2, 0.0),
        top_p=fields.number("top_p", 0, 1, 1.0),
        top_k=fields.whole("top_k", 0, SEEDS) or 0,
        min_p=fields.number("min_p", 0, 1, 0.0),
        seed=fields.whole("seed", -SEEDS, SEEDS),
    )


def _stop(value: object) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(texts, list) or len(texts) > STOPS or not all(map(_is_stop, texts)):
        cure = f"give a text of at most {STOP_LENGTH} characters, or a list of at most {STOPS}"
        raise wrong("stop", value, "is no stop text", cure)
    return tuple(texts)


def _is_stop(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= STOP_LENGTH


def _room(prompt: int, wanted: int | None, most: int, limit: str) -> int:
    """How many ids the answer may have."""
    left = most - prompt
    if left < (wanted or 1):
        asked = f" and {limit}={wanted}" if wanted else ""
        message = f"the prompt's {prompt} tokens{asked} do not fit the model's {most}; shorten the prompt or the answer"
        raise ApiError(400, message, "messages" if limit != "max_tokens" else "prompt", "context_length_exceeded")
    return wanted or min(DEFAULT_TOKENS, left)

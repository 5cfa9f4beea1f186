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

DEFAULT_TOKENS = 512  # of an answer, where the client names no limit
STOPS, STOP_LENGTH = 4, 256  # most stop texts, and most characters of one
SEEDS = 2**62
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True)
class TextRequest:
    """A checked request: what to ask the model, and how the client wants the answer."""

    ask: Ask
    stream: bool
    usage: bool  # as a last event of a stream


def read_chat(release: Release, name: str, body: dict[str, Any], owner: str) -> TextRequest:
    """A request to ``/v1/chat/completions``.

    Raises:
        ApiError: 400 for a field that is wrong or not supported, 404 for another model.
    """
    fields = Fields(body)
    messages = _messages(fields.take("messages"))
    if release.generation.system and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": release.generation.system})
    fields.only("tools", [])
    fields.only("tool_choice", "none", "auto")
    fields.only("response_format", {"type": "text"})
    fields.only("modalities", ["text"])
    fields.only("logprobs", False)
    try:
        ids = release.tokenizer.chat_ids(messages)
    except ValueError as error:
        raise ApiError(400, f"messages: {error}", "messages", "invalid_value") from None
    asked = _read(fields, release, name, ids, owner, ("max_completion_tokens", "max_tokens"))
    return replace(asked, ask=replace(asked.ask, messages=tuple(messages)))


def read_completion(release: Release, name: str, body: dict[str, Any], owner: str) -> TextRequest:
    """A request to ``/v1/completions``; raises as :func:`read_chat`."""
    fields = Fields(body)
    ids = _prompt(release, fields.take("prompt"))
    fields.only("echo", False)
    fields.only("best_of", 1)
    fields.only("suffix", "")
    return _read(fields, release, name, ids, owner, ("max_tokens",))


def check_model(name: str, wanted: object) -> None:
    """Raise unless the client asks for the model that is served."""
    if wanted != name:
        message = f"model: {str(wanted)[:60]!r} is not served here; ask for {name!r}"
        raise ApiError(404, message, "model", "model_not_found")


def _read(
    fields: Fields, release: Release, name: str, ids: list[int], owner: str, limits: tuple[str, ...]
) -> TextRequest:
    check_model(name, fields.text("model"))
    stream = fields.flag("stream")
    usage = _usage(fields.take("stream_options"), stream)
    most = release.model.config.max_seq_length
    given = [value for limit in limits if (value := fields.whole(limit, 1, most)) is not None]
    sampling = _sampling(fields)
    stop = _stop(fields.take("stop"))
    fields.only("n", 1)
    fields.only("presence_penalty", 0, 0.0)
    fields.only("frequency_penalty", 0, 0.0)
    fields.only("logit_bias", {})
    fields.finish()
    tokens = _room(len(ids), min(given, default=None), most, limits[0])
    return TextRequest(Ask(prompt=ids, max_new_tokens=tokens, sampling=sampling, stop=stop, owner=owner), stream, usage)


def _messages(value: object) -> list[dict[str, str]]:
    if not isinstance(value, list) or not value:
        raise wrong("messages", value, "is no list of messages", 'give [{"role": "user", "content": "..."}]')
    return [_message(f"messages[{i}]", message) for i, message in enumerate(value)]


def _message(where: str, value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise wrong(where, value, "is no message", 'give {"role": "user", "content": "..."}')
    fields = Fields(value, f"{where}.")
    role, content = fields.text("role"), fields.take("content")
    if role not in ROLES:
        raise fields.wrong("role", role, "is unknown", f"give one of {', '.join(ROLES)}")
    fields.finish()
    if isinstance(content, list):
        content = "".join(_part(f"{where}.content[{i}]", part) for i, part in enumerate(content))
    if not isinstance(content, str):
        raise fields.wrong("content", content, "is no text", "give a string, or parts of type text")
    return {"role": ROLES[role], "content": content}


def _part(where: str, value: object) -> str:
    if not isinstance(value, dict) or value.get("type") != "text":
        raise wrong(where, value, "is no text", 'give {"type": "text", "text": "..."}: this model reads text only')
    fields = Fields(value, f"{where}.")
    fields.take("type")
    text = fields.text("text")
    fields.finish()
    return text


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

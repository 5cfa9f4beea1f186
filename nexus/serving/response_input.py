"""Requests to `/v1/responses`, said in the words of a chat.

The one idea: what is new in this form is how a conversation is written down, so a request is translated into one to
``/v1/chat/completions`` and read by the same code; errors come back under the names that the client used.
Reference: OpenAI API, responses.
"""

import re
from dataclasses import dataclass
from typing import Any

from nexus.inference.release import Release
from nexus.serving.errors import ApiError, wrong
from nexus.serving.fields import Fields
from nexus.serving.requests import TextRequest, read_chat

Chat = list[dict[str, Any]]  # messages as /v1/chat/completions takes them
SAME = ("model", "temperature", "top_p", "top_k", "min_p", "seed", "stream", "parallel_tool_calls", "tool_choice",
        "user", "safety_identifier", "prompt_cache_key")  # fmt: skip
RENAMED = {"messages": "input", "response_format": "text.format", "max_completion_tokens": "max_output_tokens"}
TEXT_PARTS = ("input_text", "output_text", "text")
LOGPROBS = "message.output_text.logprobs"


@dataclass(frozen=True)
class ResponseRequest:
    """A checked request: the same as a chat's, the conversation with it, and what a reply repeats of it."""

    text: TextRequest
    messages: Chat
    store: bool
    repeated: dict[str, Any]


def read_response(release: Release, name: str, body: dict[str, Any], owner: str, before: Chat) -> ResponseRequest:
    """A request to ``/v1/responses``, that goes on from the messages ``before``.

    Raises:
        ApiError: 400 for a field that is wrong or not supported, 404 for another model.
    """
    fields = Fields(body)
    chat = {key: fields.take(key) for key in SAME}
    messages = [*before, *_messages(fields.take("input"))]
    instructions, metadata = fields.text_or("instructions", ""), fields.take("metadata", {})
    if not isinstance(metadata, dict):
        raise fields.wrong("metadata", metadata, "is no object", "give names with texts")
    tools = fields.take("tools", [])
    chat["tools"] = [_tool(tool) for tool in tools] if isinstance(tools, list) else tools
    chat["tool_choice"] = _tool(chat["tool_choice"])
    chat["messages"] = [*([{"role": "system", "content": instructions}] if instructions else []), *messages]
    chat["max_completion_tokens"] = fields.take("max_output_tokens")
    chat["response_format"] = _format(fields.take("text", {}))
    include = fields.take("include", [])
    if include not in ([], [LOGPROBS]):
        raise fields.wrong(
            "include", include, "is not supported by this server", f"leave it out, or give [{LOGPROBS!r}]"
        )
    chat["logprobs"], chat["top_logprobs"] = bool(include) or None, fields.take("top_logprobs") if include else None
    store = fields.flag("store", True)
    previous = fields.take("previous_response_id")  # was looked up before
    _only_the_usual(fields)
    repeated = {
        "instructions": instructions or None, "metadata": metadata, "tools": tools, "store": store,
        "tool_choice": body.get("tool_choice") or "auto", "previous_response_id": previous,
        "max_output_tokens": chat["max_completion_tokens"], "temperature": chat["temperature"],
        "top_p": chat["top_p"], "parallel_tool_calls": chat["parallel_tool_calls"] is not False,
        "text": body.get("text") or {"format": {"type": "text"}}, "truncation": "disabled",
    }  # fmt: skip
    return ResponseRequest(_read(release, name, chat, owner), messages, store, repeated)


def _read(release: Release, name: str, chat: dict[str, Any], owner: str) -> TextRequest:
    try:
        return read_chat(release, name, chat, owner)
    except ApiError as error:
        words = re.compile("|".join(RENAMED))
        told, param = (words.sub(lambda found: RENAMED[found[0]], text or "") for text in (str(error), error.param))
        raise ApiError(error.status, told, param or None, error.code, error.headers) from None


def _only_the_usual(fields: Fields) -> None:
    """Fields that ask for what this server does anyway."""
    fields.only("truncation", "disabled")
    fields.only("background", False)
    fields.only("service_tier", "auto", "default")
    fields.finish()


def _messages(value: object) -> Chat:
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not isinstance(value, list) or not value:
        raise wrong("input", value, "is no input", 'give a string, or [{"role": "user", "content": "..."}]')
    made: Chat = []
    for i, item in enumerate(value):
        message = _message(f"input[{i}]", item)
        if made and "tool_calls" in message and "tool_calls" in made[-1]:
            made[-1]["tool_calls"] += message["tool_calls"]  # calls of one answer are one message
        else:
            made.append(message)
    return made


def _message(where: str, item: object) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise wrong(where, item, "is no item", 'give {"role": "user", "content": "..."}')
    fields = Fields(item, f"{where}.")
    kind = fields.take("type", "message")
    fields.labels("id", "status")
    if kind == "message":
        message: dict[str, Any] = {"role": fields.text("role"), "content": _content(fields, "content")}
    elif kind == "function_call":
        function = {"name": fields.text("name"), "arguments": fields.text("arguments")}
        call = {"id": fields.text("call_id"), "type": "function", "function": function}
        message = {"role": "assistant", "tool_calls": [call]}
    elif kind == "function_call_output":
        message = {"role": "tool", "tool_call_id": fields.text("call_id"), "content": _content(fields, "output")}
    else:
        raise fields.wrong("type", kind, "is unknown", "give message, function_call or function_call_output")
    fields.finish()
    return message


def _content(fields: Fields, name: str) -> str:
    value = fields.take(name)
    parts = [{"type": "text", "text": value}] if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(map(_is_text, parts)):
        cure = "give a string, or parts of type input_text: this model reads text only"
        raise fields.wrong(name, value, "is no text", cure)
    return "".join(part["text"] for part in parts)


def _is_text(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") in TEXT_PARTS and isinstance(part.get("text"), str)


def _tool(tool: Any) -> Any:
    """A function, or the choice of one, with its fields in one object of their own, as chats have it."""
    if not isinstance(tool, dict) or "type" not in tool:
        return tool
    return {"type": tool["type"], "function": {key: value for key, value in tool.items() if key != "type"}}


def _format(text: object) -> object:
    if not isinstance(text, dict) or any(text[key] is not None for key in text if key != "format"):
        raise wrong("text", text, "is no form of a text", 'give {"format": {...}}')
    given = text.get("format")
    if isinstance(given, dict) and given.get("type") == "json_schema":
        return {"type": "json_schema", "json_schema": {key: value for key, value in given.items() if key != "type"}}
    return given

"""The forms of requests and replies, as JSON schemas for the OpenAPI document.

The one idea: a request's form is closed, since what is not known is refused (null is nothing, and taken); a reply's
names what is promised, and there may be more.
"""

from typing import Any

from nexus.living.journal import MAX_TEXT
from nexus.serving.fields import LABEL
from nexus.serving.memory_api import LAST, PREFIX
from nexus.serving.memory_api import NAME as NAME_LENGTH
from nexus.serving.requests import ALTERNATIVES, CHOICES, SEEDS, STOP_LENGTH, STOPS
from nexus.serving.tools import MOST_TOOLS, NAME

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
LABELS: Schema = {"type": "string", "maxLength": LABEL}
FREE: Schema = {"type": "object"}
FUNCTION_NAME: Schema = {"type": "string", "pattern": f"^{NAME.pattern}$"}


def whole(low: int, high: int) -> Schema:
    """A whole number within bounds."""
    return {"type": "integer", "minimum": low, "maximum": high}


def number(low: float, high: float) -> Schema:
    """A number within bounds."""
    return {"type": "number", "minimum": low, "maximum": high}


def or_null(schema: Schema) -> Schema:
    """The same, or null, which counts as not given."""
    return {"anyOf": [schema, {"type": "null"}]}


def array(items: Schema, least: int = 0, most: int | None = None) -> Schema:
    """A list."""
    return {"type": "array", "items": items, "minItems": least, **({} if most is None else {"maxItems": most})}


def obj(properties: Schema, *required: str, **more: Any) -> Schema:
    """An object with these fields and no others; null counts as not given, under whatever name."""
    made = {"type": "object", "properties": properties, "required": list(required)}
    return {**made, "additionalProperties": {"type": "null"}, **more}


def only_with(field: str, flag: str) -> Schema:
    """What holds if a field makes sense only where a flag is true."""
    on = {"properties": {flag: {"const": True}}, "required": [flag]}
    return {"anyOf": [on, {"properties": {field: {"type": "null"}}}]}


ERROR = obj(
    {"message": TEXT, "type": TEXT, "param": or_null(TEXT), "code": or_null(TEXT)},
    "message",
    "type",
    additionalProperties=False,
)
STOP = {"type": "string", "minLength": 1, "maxLength": STOP_LENGTH}
CHANCE: Schema = {
    "temperature": or_null(number(0, 2)),
    "top_p": or_null(number(0, 1)),
    "top_k": or_null(whole(0, SEEDS)),
    "min_p": or_null(number(0, 1)),
    "seed": or_null(whole(-SEEDS, SEEDS)),
    **{label: or_null(LABELS) for label in ("user", "safety_identifier", "prompt_cache_key")},
}
SAMPLING: Schema = {
    **CHANCE,
    "stop": or_null({"anyOf": [STOP, array(STOP, 0, STOPS)]}),
    "stream_options": or_null(obj({"include_usage": or_null(FLAG), "include_obfuscation": {"enum": [None, False]}})),
    "n": or_null(whole(1, CHOICES)),
    "store": {"enum": [None, False]},
    "presence_penalty": {"enum": [None, 0]},
    "frequency_penalty": {"enum": [None, 0]},
    "logit_bias": or_null({"type": "object", "maxProperties": 0}),
}
PART = obj({"type": {"const": "text"}, "text": TEXT}, "type", "text")
CONTENT: Schema = {"anyOf": [TEXT, array(PART)]}
CALL = obj(
    {"id": TEXT, "type": {"enum": [None, "function"]}, "function": obj({"name": FUNCTION_NAME, "arguments": TEXT},
     "name", "arguments")}, "id", "function")  # fmt: skip
SAID = obj({"role": {"enum": ["system", "developer", "user", "assistant"]}, "content": CONTENT}, "role", "content")
CALLED = obj(
    {"role": {"const": "assistant"}, "content": or_null(CONTENT), "tool_calls": array(CALL, 1)}, "role", "tool_calls"
)
RESULT = obj({"role": {"const": "tool"}, "tool_call_id": TEXT, "content": CONTENT}, "role", "tool_call_id", "content")
FUNCTION = obj(
    {"name": FUNCTION_NAME, "description": or_null(TEXT), "parameters": or_null(FREE), "strict": or_null(FLAG)},
    "name",
)
TOOL = obj({"type": {"const": "function"}, "function": FUNCTION}, "type", "function")
CHOSEN = obj({"type": {"const": "function"}, "function": obj({"name": FUNCTION_NAME}, "name")}, "type", "function")
CALLABLE: Schema = {
    "anyOf": [
        {"properties": {"tool_choice": {"enum": [None, "none", "auto"]}}},
        {"properties": {"tools": {"type": "array", "minItems": 1}}, "required": ["tools"]},
    ]
}
JSON_SCHEMA = obj(
    {"name": TEXT, "description": or_null(TEXT), "schema": FREE, "strict": or_null(FLAG)}, "name", "schema"
)
FORMAT: Schema = {
    "anyOf": [
        obj({"type": {"enum": ["text", "json_object"]}}, "type"),
        obj({"type": {"const": "json_schema"}, "json_schema": JSON_SCHEMA}, "type", "json_schema"),
    ]
}
CHAT: Schema = {
    "messages": array({"anyOf": [SAID, CALLED, RESULT]}, 1),
    "tools": or_null(array(TOOL, 0, MOST_TOOLS)),
    "tool_choice": or_null({"anyOf": [{"enum": ["none", "auto", "required"]}, CHOSEN]}),
    "parallel_tool_calls": or_null(FLAG),
    "response_format": or_null(FORMAT),
    "modalities": {"enum": [None, ["text"]]},
    "logprobs": or_null(FLAG),
    "top_logprobs": or_null(whole(0, ALTERNATIVES)),
}
COMPLETION: Schema = {
    "logprobs": or_null(whole(0, ALTERNATIVES)),
    "echo": {"enum": [None, False]},
    "best_of": {"enum": [None, 1]},
    "suffix": {"enum": [None, ""]},
}
ITEM_TEXT: Schema = {"anyOf": [TEXT, array({
    "type": "object", "properties": {"type": {"enum": ["input_text", "output_text", "text"]}, "text": TEXT},
    "required": ["type", "text"]})]}  # fmt: skip
OF_ITEM: Schema = {"id": or_null(LABELS), "status": or_null(LABELS)}
ITEM: Schema = {
    "anyOf": [
        obj({**OF_ITEM, "type": {"enum": [None, "message"]}, "content": ITEM_TEXT,
                 "role": SAID["properties"]["role"]}, "role", "content"),
        obj({**OF_ITEM, "type": {"const": "function_call"}, "call_id": TEXT, "name": FUNCTION_NAME,
                 "arguments": TEXT}, "type", "call_id", "name", "arguments"),
        obj({**OF_ITEM, "type": {"const": "function_call_output"}, "call_id": TEXT, "output": ITEM_TEXT},
                "type", "call_id", "output"),
    ]
}  # fmt: skip
FLAT_TOOL = obj({"type": {"const": "function"}, **FUNCTION["properties"]}, "type", "name")
FLAT_FORMAT = obj({"type": {"const": "json_schema"}, **JSON_SCHEMA["properties"]}, "type", "name", "schema")
RESPONSE: Schema = {
    **CHANCE,
    "input": {"anyOf": [TEXT, array(ITEM, 1)]},
    "instructions": or_null(TEXT),
    "metadata": or_null(FREE),
    "previous_response_id": or_null(TEXT),
    "store": or_null(FLAG),
    "tools": or_null(array(FLAT_TOOL, 0, MOST_TOOLS)),
    "tool_choice": or_null({"anyOf": [{"enum": ["none", "auto", "required"]},
                             obj({"type": {"const": "function"}, "name": FUNCTION_NAME}, "type", "name")]}),
    "parallel_tool_calls": or_null(FLAG),
    "text": or_null(obj({"format": or_null({"anyOf": [FORMAT["anyOf"][0], FLAT_FORMAT]})})),
    "include": {"enum": [None, [], ["message.output_text.logprobs"]]},
    "truncation": {"enum": [None, "disabled"]},
    "background": {"enum": [None, False]},
    "service_tier": {"enum": [None, "auto", "default"]},
}  # fmt: skip


def reply_of(kind: str, **fields: Schema) -> Schema:
    """What is promised of a reply: these fields; there may be more."""
    properties = {"object": {"const": kind}, **fields}
    return {"type": "object", "properties": properties, "required": list(properties)}


COUNT: Schema = {"type": "integer", "minimum": 0}
USAGE: Schema = dict.fromkeys(("prompt_tokens", "total_tokens"), COUNT)
CHOICE: Schema = {
    "type": "object",
    "properties": {"index": COUNT, "finish_reason": {"enum": ["stop", "length", "tool_calls"]}},
    "required": ["index", "finish_reason", "logprobs"],
}
COMPLETIONS: Schema = {
    "anyOf": [
        reply_of(kind, id=TEXT, created=COUNT, model=TEXT, choices=array(CHOICE, 1),
               usage={"type": "object", "properties": {**USAGE, "completion_tokens": COUNT},
                      "required": [*USAGE, "completion_tokens"]})
        for kind in ("chat.completion", "text_completion")
    ]
}  # fmt: skip
VECTOR = reply_of("embedding", index=COUNT, embedding={"anyOf": [TEXT, array({"type": "number"}, 1)]})
EMBEDDINGS = reply_of("list", model=TEXT, data=array(VECTOR, 1), usage={"type": "object", "properties": USAGE})
RESPONSES = reply_of("response", id=TEXT, created_at=COUNT, model=TEXT, output=array(FREE),
                   status={"enum": ["completed", "incomplete"]}, usage=FREE)  # fmt: skip
TAUGHT: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT, "pattern": r"\S"}
ABOUT: Schema = {"type": "string", "maxLength": NAME_LENGTH}
EVENT = whole(1, LAST)
MEMORY_BODIES: dict[str, Schema] = {
    f"{PREFIX}/teach": obj({"text": TAUGHT, "source": or_null(ABOUT)}, "text"),
    f"{PREFIX}/correct": obj({"fact": EVENT, "text": TAUGHT}, "fact", "text"),
    f"{PREFIX}/forget": obj({"fact": EVENT}, "fact"),
    f"{PREFIX}/feedback": obj({"right": FLAG, "about": or_null(ABOUT)}, "right"),
    f"{PREFIX}/rollback": obj({"version": whole(0, LAST)}, "version"),
}

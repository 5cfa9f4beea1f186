"""The messages of a chat, as the model's template can read them: a role and a text each.

The one idea: templates of small models know three roles and no calls, so calls of functions and what these gave are
written into the texts, in the one form that the model is told (nexus/serving/tools.py).
"""

from nexus.serving.errors import wrong
from nexus.serving.fields import Fields
from nexus.serving.tools import NAME, Tools, call_text, result_text

Messages = list[dict[str, str]]
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}


def read_messages(value: object) -> Messages:
    """The messages of a request, checked.

    Raises:
        ApiError: 400 for what is no message.
    """
    if not isinstance(value, list) or not value:
        raise wrong("messages", value, "is no list of messages", 'give [{"role": "user", "content": "..."}]')
    return _results_as_user([_message(f"messages[{i}]", message) for i, message in enumerate(value)])


def introduce(messages: Messages, system: str | None, tools: Tools | None) -> Messages:
    """The messages behind what the model is told first: the release's own word, if none is given, and the tools."""
    first = messages[0]["content"] if messages[0]["role"] == "system" else system
    rest = messages[1:] if messages[0]["role"] == "system" else messages
    told = [text for text in (first, None if tools is None else tools.introduction()) if text is not None]
    return [{"role": "system", "content": "\n\n".join(told)}, *rest] if told else messages


def _message(where: str, value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise wrong(where, value, "is no message", 'give {"role": "user", "content": "..."}')
    fields = Fields(value, f"{where}.")
    role = fields.text("role")
    if role not in ROLES:
        raise fields.wrong("role", role, "is unknown", f"give one of {', '.join(ROLES)}")
    called = _calls(fields, where) if role == "assistant" else []
    if role == "tool":
        fields.text("tool_call_id")  # results stand behind their calls, so the model needs no numbers
    content = _content(fields, where, optional=bool(called))
    if role == "assistant":
        fields.only("annotations", [])  # what answers come with and clients send back
    fields.finish()
    return {"role": ROLES[role], "content": "\n".join([content] * bool(content or not called) + called)}


def _content(fields: Fields, where: str, optional: bool) -> str:
    content = fields.take("content", "" if optional else None)
    if isinstance(content, list):
        content = "".join(_part(f"{where}.content[{i}]", part) for i, part in enumerate(content))
    if not isinstance(content, str):
        raise fields.wrong("content", content, "is no text", "give a string, or parts of type text")
    return content


def _part(where: str, value: object) -> str:
    if not isinstance(value, dict) or value.get("type") != "text":
        raise wrong(where, value, "is no text", 'give {"type": "text", "text": "..."}: this model reads text only')
    fields = Fields(value, f"{where}.")
    fields.take("type")
    text = fields.text("text")
    fields.finish()
    return text


def _calls(fields: Fields, where: str) -> list[str]:
    """Calls that the assistant made, as texts."""
    given = fields.take("tool_calls", [])
    if not isinstance(given, list):
        raise fields.wrong("tool_calls", given, "is no list of calls", "give those of an answer")
    return [_call(f"{where}.tool_calls[{i}]", call) for i, call in enumerate(given)]


def _call(where: str, call: object) -> str:
    cure = 'give {"id": "...", "type": "function", "function": {"name": "...", "arguments": "{...}"}}'
    if not isinstance(call, dict) or not isinstance(call.get("function"), dict):
        raise wrong(where, call, "is no call", cure)
    outer, inside = Fields(call, f"{where}."), Fields(call["function"], f"{where}.function.")
    outer.text("id")
    outer.only("type", "function")
    outer.take("function")
    outer.finish()
    name, arguments = inside.text("name"), inside.text("arguments")
    inside.finish()
    if not NAME.fullmatch(name):
        raise inside.wrong("name", name, "is no name", "give 1 to 64 letters, digits, _ or -")
    return call_text(name, arguments)


def _results_as_user(messages: Messages) -> Messages:
    """What functions gave is told by the user; several results that follow each other in one message."""
    made: Messages = []
    before = ""
    for message in messages:
        role, content = message["role"], message["content"]
        if role == "tool" and before == "tool":
            made[-1]["content"] += "\n" + result_text(content)
        else:
            made.append({"role": "user", "content": result_text(content)} if role == "tool" else message)
        before = role
    return made

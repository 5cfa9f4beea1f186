"""Functions that a model may call: how they are told to it, and what form its calls must have.

The one idea: one form for every model, told in the system message and held by a grammar. A call is
``<tool_call>{"name": "...", "arguments": {...}}</tool_call>``, the arguments follow the function's own schema, and a
text that begins like a call is one. The form is that of Hermes and Qwen: https://github.com/NousResearch/Hermes-Function-Calling.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from nexus.serving.errors import wrong
from nexus.serving.fields import Fields
from nexus.serving.structured import json_rule

OPEN, CLOSE = "<tool_call>", "</tool_call>"
MOST_TOOLS, MOST_CALLS = 128, 16
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_TEXT = f"text: TEXT\nTEXT: /(?s:.*)/ & ~/(?s:{OPEN}.*)/"
_INTRODUCTION = f"""You may call functions. To call one, write nothing but
{OPEN}{{"name": "...", "arguments": {{...}}}}{CLOSE}
Its result comes in the next message. The functions, one a line:
"""


@dataclass(frozen=True)
class Function:
    """A function that the client has; ``parameters`` is the JSON schema of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any]

    def line(self) -> str:
        """How it is told to the model."""
        told = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return json.dumps({key: value for key, value in told.items() if value}, ensure_ascii=False)


@dataclass(frozen=True)
class Tools:
    """The functions of one request, and whether they must be called.

    Attributes:
        functions: those that may be called.
        must: whether the answer has to be a call.
        parallel: whether it may be several.
    """

    functions: tuple[Function, ...]
    must: bool
    parallel: bool

    def introduction(self) -> str:
        """What the system message says of them."""
        return _INTRODUCTION + "\n".join(function.line() for function in self.functions)

    def grammar(self, schema: dict[str, Any] | None = None) -> str:
        """What the answer has to follow, in llguidance's dialect of Lark; ``schema`` holds for one that is no call."""
        text = _TEXT if schema is None else f"text: {json_rule(schema)}"
        more = f' ("\\n" call){{0,{MOST_CALLS - 1}}}' if self.parallel else ""
        rules = ["start: calls" if self.must else f"start: text | calls\n{text}", f"calls: call{more}"]
        rules.append("call: " + " | ".join(f"call_{i}" for i in range(len(self.functions))))
        for i, function in enumerate(self.functions):
            head, tail = json.dumps(_head(function.name)), json.dumps("}" + CLOSE)
            rules.append(f"call_{i}: {head} {json_rule(function.parameters)} {tail}")
        return "\n".join(rules)


def read_tools(fields: Fields, name: str = "tools") -> Tools | None:
    """The fields ``tools``, ``tool_choice`` and ``parallel_tool_calls``; None if no function may be called.

    Raises:
        ApiError: 400 for what is no function, or a choice that is none.
    """
    given, choice = fields.take("tools", []), fields.take("tool_choice")
    parallel = fields.flag("parallel_tool_calls", True)
    if not isinstance(given, list) or len(given) > MOST_TOOLS:
        raise wrong(name, given, "is no list of tools", f"give at most {MOST_TOOLS}")
    functions = [_function(f"{name}[{i}]", tool) for i, tool in enumerate(given)]
    if len({function.name for function in functions}) < len(functions):
        raise wrong(name, given, "names a function twice", "give each a name of its own")
    if choice is None or choice in ("none", "auto"):
        return Tools(tuple(functions), False, parallel) if functions and choice != "none" else None
    if not functions:
        raise wrong("tool_choice", choice, "needs tools", "give tools, or leave it out")
    if choice == "required":
        return Tools(tuple(functions), True, parallel)
    chosen = [function for function in functions if function.name == _chosen(choice)]
    if not chosen:
        cure = (
            'give "none", "auto", "required", or a function of tools: {"type": "function", "function": {"name": ...}}'
        )
        raise wrong("tool_choice", choice, "is no choice among the tools", cure)
    return Tools(tuple(chosen), True, False)


def call_text(name: str, arguments: str) -> str:
    """A call in the form in which the model writes it."""
    return f"{_head(name)}{arguments}}}{CLOSE}"


def result_text(content: str) -> str:
    """What a function gave, in the form in which the model reads it."""
    return f"<tool_response>{content}</tool_response>"


def _head(name: str) -> str:
    return f'{OPEN}{{"name": "{name}", "arguments": '


def _function(where: str, tool: object) -> Function:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        raise wrong(where, tool, "is no function", 'give {"type": "function", "function": {"name": "..."}}')
    outer = Fields(tool, f"{where}.")
    outer.take("type")
    inside = outer.take("function")
    if not isinstance(inside, dict):
        raise outer.wrong("function", inside, "is no function", 'give {"name": "...", "parameters": {...}}')
    outer.finish()
    fields = Fields(inside, f"{where}.function.")
    name, description = fields.text("name"), fields.text_or("description", "")
    if not NAME.fullmatch(name):
        raise fields.wrong("name", name, "is no name", "give 1 to 64 letters, digits, _ or -")
    parameters = fields.take("parameters", {})
    if not isinstance(parameters, dict) or parameters.get("type", "object") != "object":
        raise fields.wrong("parameters", parameters, "is no schema of an object", 'give {"type": "object", ...}')
    fields.flag("strict")  # arguments follow the schema in any case
    fields.finish()
    return Function(name, description, {"type": "object", **parameters})


def _chosen(choice: object) -> object:
    inside = choice.get("function") if isinstance(choice, dict) and choice.get("type") == "function" else None
    return inside.get("name") if isinstance(inside, dict) else None

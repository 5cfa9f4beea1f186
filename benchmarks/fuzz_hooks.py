"""What the OpenAPI document cannot say, for Schemathesis: run by benchmarks/fuzz_server.py.

Answers are kept short, so that more is tried; a schema inside a request is replaced by one that means something; a
function that is to be called is one of those that were given; every second fact that is to be corrected or forgotten
is one that was taught. Wrong values stay wrong: only right ones are changed.
"""

from importlib import import_module
from itertools import count

schemathesis = import_module("schemathesis")  # of an environment of its own

LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
OWN = {"/v1/responses": "max_output_tokens", "/v1/completions": "max_tokens", "/v1/chat/completions": "max_tokens"}
MOST, ROOM, SHORT, WITH_TOOLS = 4_096, 200, 12, 400
LAST = 2**62  # of all numbers of events
GOOD = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TAUGHT, OF_FACTS, turn = [], ("/v1/nexus/correct", "/v1/nexus/forget"), count()  # facts that hold now


@schemathesis.hook
def before_call(context, case, kwargs):  # not map_body, which passes over the cases of the coverage phase
    if isinstance(case.body, dict):
        _body(case.operation.path, case.body)


@schemathesis.hook
def after_call(context, case, response):
    if case.operation.path == "/v1/nexus/teach" and response.status_code == 200:
        TAUGHT.append(response.json()["fact"])


def _body(path, body):
    if path in OF_FACTS and _whole(body.get("fact"), 1, LAST) and TAUGHT and next(turn) % 2:
        body["fact"] = TAUGHT.pop()
    if _whole(body.get("version"), 1, LAST):
        body["version"] = 0  # there is no later one
    if "prompt" in body:
        body["prompt"] = _room(body["prompt"])
    if isinstance(body.get("tools"), list):
        _tools(body)
    for form in (body.get("response_format"), body.get("text")):
        _schema(form)
    most = WITH_TOOLS if body.get("tools") else SHORT
    if "format" in str(body.get("text")) or body.get("response_format"):
        most = max(most, 40)
    for field in LENGTHS:
        if type(body.get(field)) is int and 1 <= body[field] <= MOST:
            body[field] = most
    own = OWN.get(path)
    if own and all(body.get(field) is None for field in LENGTHS):
        body[own] = most


def _whole(value, low, high):
    """Whether it is a whole number within bounds. Not `in range(...)`: for 1.0 that counts up, for ever."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and low <= value <= high and value == int(value)


def _room(ids):
    """A prompt of ids that leaves room for an answer."""
    if isinstance(ids, list) and len(ids) == 1 and isinstance(ids[0], list):
        return [_room(ids[0])]
    return ids[:ROOM] if isinstance(ids, list) and len(ids) < MOST else ids


def _tools(body):
    """One function, so that no name comes twice, with good parameters; the choice is that one."""
    body["tools"] = body["tools"][:1]
    for tool in body["tools"]:
        inside = tool.get("function", tool) if isinstance(tool, dict) else None
        if isinstance(inside, dict) and isinstance(inside.get("parameters"), dict):
            inside["parameters"] = GOOD
    choice, first = body.get("tool_choice"), body["tools"][0] if body["tools"] else None
    if isinstance(choice, dict) and isinstance(first, dict):
        name = first.get("function", first).get("name") if isinstance(first.get("function", first), dict) else None
        inside = choice.get("function", choice)
        if isinstance(inside, dict) and isinstance(inside.get("name"), str) and isinstance(name, str):
            inside["name"] = name


def _schema(form):
    """Schemas, wherever they are, become one that can be followed."""
    if isinstance(form, dict):
        for key, value in form.items():
            if key == "schema" and isinstance(value, dict):
                form[key] = GOOD
            else:
                _schema(value)

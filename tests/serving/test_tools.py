"""Functions over HTTP: told to the model, called in form, with arguments after their schemas."""

import json

import jsonschema
import pytest

from nexus.serving.fields import Fields
from nexus.serving.tools import read_tools
from tests.serving.small import free_release, served

WEATHER = {
    "name": "get_weather",
    "description": "The weather of a place",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 12},
            "days": {"type": "integer", "minimum": 1, "maximum": 9},
        },
        "required": ["city", "days"],
        "additionalProperties": False,
    },
}
ADD = {
    "name": "add",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
}
TOOLS = [{"type": "function", "function": function} for function in (WEATHER, ADD)]
CHAT = {"model": "nexus", "messages": [{"role": "user", "content": "How is the weather?"}], "max_tokens": 200}


@pytest.fixture(scope="module")
def client():
    with served(free_release()) as client:
        yield client


def ask(client, **fields):
    response = client.post("/v1/chat/completions", json={**CHAT, "tools": TOOLS, **fields})
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]


def check(calls):
    known = {function["name"]: function["parameters"] for function in (WEATHER, ADD)}
    for call in calls:
        assert call["type"] == "function"
        jsonschema.validate(json.loads(call["function"]["arguments"]), known[call["function"]["name"]])
    assert len({call["id"] for call in calls}) == len(calls)


def test_required_calls_something(client):
    names = set()
    for seed in range(4):
        choice = ask(client, tool_choice="required", temperature=1.5, seed=seed)
        message = choice["message"]
        assert (choice["finish_reason"], message["content"]) == ("tool_calls", None)
        check(message["tool_calls"])
        names |= {call["function"]["name"] for call in message["tool_calls"]}
    assert names <= {"get_weather", "add"}


def test_a_named_function_is_called_once(client):
    choice = ask(client, tool_choice={"type": "function", "function": {"name": "add"}})
    assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == ["add"]
    check(choice["message"]["tool_calls"])


def test_one_at_a_time_if_asked(client):
    for seed in range(4):
        choice = ask(client, tool_choice="required", parallel_tool_calls=False, temperature=1.5, seed=seed)
        assert len(choice["message"]["tool_calls"]) == 1


def test_auto_lets_the_model_speak(client):
    message = ask(client, tool_choice="auto", max_tokens=20)["message"]
    assert message["content"]
    assert "tool_calls" not in message


def test_none_hides_the_functions(client):
    plain = client.post("/v1/chat/completions", json={**CHAT, "max_tokens": 12}).json()
    hidden = client.post("/v1/chat/completions", json={**CHAT, "max_tokens": 12, "tools": TOOLS, "tool_choice": "none"})
    assert hidden.json()["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"]
    assert hidden.json()["choices"][0]["message"]["content"] == plain["choices"][0]["message"]["content"]


def test_a_stream_builds_the_same_call(client):
    body = {**CHAT, "tools": TOOLS, "tool_choice": "required"}
    whole = client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["tool_calls"]
    lines = client.post("/v1/chat/completions", json={**body, "stream": True}).text.split("\n\n")
    chunks = [json.loads(line.removeprefix("data: "))["choices"][0] for line in lines if line.startswith("data: {")]
    calls = []
    for chunk in chunks:
        for part in chunk["delta"].get("tool_calls", []):
            if "id" in part:
                calls.append({"name": part["function"]["name"], "arguments": ""})
            calls[part["index"]]["arguments"] += part["function"]["arguments"]
    assert calls == [call["function"] for call in whole]
    assert chunks[-1]["finish_reason"] == "tool_calls"


def test_the_conversation_goes_on_with_what_a_function_gave(client):
    called = ask(client, tool_choice={"type": "function", "function": {"name": "add"}})["message"]
    messages = [
        *CHAT["messages"],
        called,
        {"role": "tool", "tool_call_id": called["tool_calls"][0]["id"], "content": "3"},
    ]
    assert ask(client, messages=messages, max_tokens=10)["message"]["content"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [TOOLS[0], TOOLS[0]]}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice"),
        ({"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "array"}}}]},
         "tools[0].function.parameters"),
        ({"tools": [{"type": "function", "function": {"name": "a", "parameters": {"properties": 5}}}]}, "tools"),
        ({"max_tokens": 5, "tool_choice": "required"}, "tools"),
    ],
)  # fmt: skip
def test_what_is_no_function_is_refused_by_name(client, fields, param):
    response = client.post("/v1/chat/completions", json={**CHAT, "tools": TOOLS, **fields})
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_the_model_is_told_names_descriptions_and_parameters():
    told = read_tools(Fields({"tools": TOOLS})).introduction()
    assert json.loads(told.splitlines()[-2]) == WEATHER
    assert json.loads(told.splitlines()[-1]) == ADD

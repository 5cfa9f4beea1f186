"""Messages as the template reads them: three roles, with calls and their results as texts."""

from nexus.serving.fields import Fields
from nexus.serving.messages import introduce, read_messages
from nexus.serving.tools import read_tools

CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
TOOLS = read_tools(Fields({"tools": [{"type": "function", "function": {"name": "add"}}]}))


def test_calls_and_results_become_texts():
    results = [{"role": "tool", "tool_call_id": "call_1", "content": text} for text in ("3", "4")]
    asked = [{"role": "user", "content": "?"}, {"role": "assistant", "content": None, "tool_calls": [CALL, CALL]}]
    text = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
    assert read_messages([*asked, *results]) == [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": f"{text}\n{text}"},
        {"role": "user", "content": "<tool_response>3</tool_response>\n<tool_response>4</tool_response>"},
    ]


def test_text_before_a_call_stays():
    said = {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL]}
    assert read_messages([said])[0]["content"].startswith("Let me see.\n<tool_call>")


def test_tools_are_told_behind_the_system_message():
    chat = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "?"}]
    told = introduce(chat, "the release's own", TOOLS)
    assert told[0]["content"].startswith("Be kind.\n\nYou may call functions.")
    assert [message["role"] for message in told] == ["system", "user"]
    assert introduce(chat[1:], "the release's own", None)[0] == {"role": "system", "content": "the release's own"}
    assert introduce(chat[1:], None, None) == chat[1:]

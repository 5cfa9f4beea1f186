"""`/v1/responses`: the same answers as a chat's, as items and events, and conversations that go on by id."""

import json

import jsonschema
import pytest

from nexus.serving.response_store import ResponseStore
from tests.serving.small import free_release, release_of, served
from tests.serving.test_tools import ADD

PATH = "/v1/responses"
BODY = {"model": "nexus", "input": "Hello", "max_output_tokens": 10}
TOOL = {"type": "function", **ADD}
KEY, OTHER = "k" * 32, "o" * 32


@pytest.fixture(scope="module")
def client():
    with served() as client:
        yield client


@pytest.fixture(scope="module")
def free():
    with served(free_release()) as client:
        yield client


def post(client, **fields):
    response = client.post(PATH, json={**BODY, **fields})
    assert response.status_code == 200, response.text
    return response.json()


def events(client, **fields):
    text = client.post(PATH, json={**BODY, **fields, "stream": True}).text
    blocks = [block.split("\n") for block in text.split("\n\n") if block]
    made = [json.loads(data.removeprefix("data: ")) for _, data in blocks]
    assert [name.removeprefix("event: ") for name, _ in blocks] == [event["type"] for event in made]
    assert [event["sequence_number"] for event in made] == list(range(len(made)))
    return made


def chat(client, messages):
    body = {"model": "nexus", "messages": messages, "max_tokens": 10}
    return client.post("/v1/chat/completions", json=body).json()


def test_a_reply_says_what_the_chat_says(client):
    reply, said = post(client), chat(client, [{"role": "user", "content": "Hello"}])
    (item,) = reply["output"]
    assert item["content"][0]["text"] == said["choices"][0]["message"]["content"] != ""
    assert (reply["status"], reply["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert reply["usage"]["input_tokens"] == said["usage"]["prompt_tokens"]
    assert reply["usage"]["output_tokens"] == 10


def test_instructions_are_the_system_message(client):
    messages = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hello"}]
    parts = [{"role": "user", "content": [{"type": "input_text", "text": "Hello"}]}]
    reply = post(client, instructions="Be brief", input=parts)
    assert reply["output"][0]["content"][0]["text"] == chat(client, messages)["choices"][0]["message"]["content"]


def test_events_amount_to_the_reply(client):
    made, whole = events(client), post(client)
    kinds = [event["type"].removeprefix("response.") for event in made]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert kinds[-4:] == ["output_text.done", "content_part.done", "output_item.done", "incomplete"]
    deltas = "".join(event["delta"] for event in made if event["type"] == "response.output_text.delta")
    assert deltas == made[-4]["text"] == whole["output"][0]["content"][0]["text"]
    assert made[0]["response"]["status"] == "in_progress"
    assert made[0]["response"]["output"] == []
    assert {event["item_id"] for event in made if "item_id" in event} == {made[-1]["response"]["output"][0]["id"]}


def test_a_conversation_goes_on_by_id(client):
    first = post(client)
    second = post(client, input="More", previous_response_id=first["id"])
    said = first["output"][0]["content"][0]["text"]
    messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": said}]
    expected = chat(client, [*messages, {"role": "user", "content": "More"}])
    assert second["output"][0]["content"][0]["text"] == expected["choices"][0]["message"]["content"]
    assert second["usage"]["input_tokens_details"]["cached_tokens"] > 0
    third = post(client, input="And?", previous_response_id=second["id"])
    assert third["usage"]["input_tokens"] > second["usage"]["input_tokens"]


def test_replies_are_kept_until_they_are_dropped(client):
    reply = post(client)
    assert client.get(f"{PATH}/{reply['id']}").json() == reply
    assert client.delete(f"{PATH}/{reply['id']}").json()["deleted"] is True
    for gone in (client.get(f"{PATH}/{reply['id']}"), client.delete(f"{PATH}/{reply['id']}")):
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "response_not_found")
    lost = client.post(PATH, json={**BODY, "previous_response_id": reply["id"]})
    assert (lost.status_code, lost.json()["error"]["param"]) == (404, "previous_response_id")
    unkept = post(client, store=False)
    assert client.get(f"{PATH}/{unkept['id']}").status_code == 404


def test_replies_of_others_do_not_exist():
    with served(keys=[KEY, OTHER]) as client:
        mine, theirs = ({"Authorization": f"Bearer {key}"} for key in (KEY, OTHER))
        ident = client.post(PATH, json=BODY, headers=mine).json()["id"]
        assert client.get(f"{PATH}/{ident}", headers=mine).status_code == 200
        assert client.get(f"{PATH}/{ident}", headers=theirs).status_code == 404
        assert client.delete(f"{PATH}/{ident}", headers=theirs).status_code == 404
        body = {**BODY, "previous_response_id": ident}
        assert client.post(PATH, json=body, headers=theirs).status_code == 404


def test_the_store_keeps_its_bounds():
    store = ResponseStore(number=3, nbytes=10_000)
    for i in range(5):
        store.put("a", {"id": str(i)}, [])
    assert [ident for _, ident in store._kept] == ["2", "3", "4"]
    store.put("a", {"id": "large", "text": "x" * 9_960}, [])
    assert [ident for _, ident in store._kept] == ["large"]
    store.drop("a", "large")
    assert (len(store), store.nbytes) == (0, 0)


def test_what_the_store_keeps_is_what_was_said():
    store, body, said = ResponseStore(), {"id": "1", "text": "Grüße 😀"}, [{"role": "user", "content": "ä"}]
    store.put("a", body, said)
    kept = store.get("a", "1", "response_id")
    assert (kept.body, kept.messages) == (body, said)
    assert store.nbytes == sum(map(len, store._kept.values()))


def test_functions_are_items(free):
    made = events(free, tools=[TOOL], tool_choice="required", max_output_tokens=300)
    reply = made[-1]["response"]
    assert reply["status"] == "completed"
    for item in reply["output"]:
        assert (item["type"], item["name"], item["status"]) == ("function_call", "add", "completed")
        jsonschema.validate(json.loads(item["arguments"]), ADD["parameters"])
        deltas = [e["delta"] for e in made if e.get("item_id") == item["id"] and e["type"].endswith("arguments.delta")]
        assert "".join(deltas) == item["arguments"]
    call = reply["output"][0]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "3"}
    assert post(free, input=[result], previous_response_id=reply["id"])["output"][0]["type"] == "message"
    assert post(free, input=[{"role": "user", "content": "?"}, *reply["output"], result])["output"]


def test_a_format_is_followed(free):
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "name": "n", "schema": schema, "strict": True}
    reply = post(free, text={"format": form}, max_output_tokens=60)
    jsonschema.validate(json.loads(reply["output"][0]["content"][0]["text"]), schema)
    assert reply["status"] == "completed"


def test_logprobs_are_told_where_asked(client):
    reply = post(client, include=["message.output_text.logprobs"], top_logprobs=2)
    told = reply["output"][0]["content"][0]["logprobs"]
    assert "".join(entry["token"] for entry in told) == reply["output"][0]["content"][0]["text"]
    assert all(len(entry["top_logprobs"]) == 2 for entry in told)


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"input": []}, 400, "input"),
        ({"input": [{"type": "reasoning"}]}, 400, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, 400, "input[0].content"),
        ({"input": "x" * 4_096}, 400, "input"),
        ({"input": [{"role": "robot", "content": ""}]}, 400, "input[0].role"),
        ({"text": {"format": {"type": "xml"}}}, 400, "text.format"),
        ({"previous_response_id": "resp_none"}, 404, "previous_response_id"),
        ({"previous_response_id": 5}, 400, "previous_response_id"),
        ({"background": True}, 400, "background"),
        ({"include": ["reasoning.encrypted_content"]}, 400, "include"),
        ({"messages": []}, 400, "messages"),
        ({"temperature": 9}, 400, "temperature"),
        ({"max_output_tokens": 0}, 400, "max_output_tokens"),
        ({"model": "other"}, 404, "model"),
    ],
)
def test_what_is_wrong_is_refused_under_the_name_that_the_client_used(client, change, status, param):
    response = client.post(PATH, json={**BODY, **change})
    assert (response.status_code, response.json()["error"]["param"]) == (status, param)


def test_a_model_that_fails_is_reported():
    release = release_of()
    with served(release) as client:

        def broken(_module, _args):
            raise ArithmeticError("secret detail")

        handle = release.model.register_forward_pre_hook(broken)
        whole, last = client.post(PATH, json=BODY), events(client)[-1]
        handle.remove()
    assert (whole.status_code, whole.json()["error"]["code"]) == (500, "model_failed")
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert "secret detail" not in whole.text + json.dumps(last)


def test_a_call_has_no_place_for_probabilities(free):
    chosen = {"type": "function", "name": TOOL["name"]}
    fields = {"include": ["message.output_text.logprobs"], "tools": [TOOL], "tool_choice": chosen}
    output = post(free, **fields, max_output_tokens=200, temperature=0)["output"]
    assert [item["type"] for item in output] == ["function_call"]

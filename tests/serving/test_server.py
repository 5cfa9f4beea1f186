"""The real thing: `nexus serve` in a process of its own, asked by OpenAI's client, stopped by SIGTERM."""

import re
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import openai
import pydantic
import pytest

from nexus.cli import main
from nexus.serving.guard import is_loopback, read_keys
from nexus.serving.server import bind, check_versions
from tests.serving.small import release_of
from tests.serving.test_weights import add_version
from tests.tiny_release import never_end, tiny_model, write_release

KEY = "0123456789abcdef0123"


@pytest.fixture
def server(tmp_path):
    """A server on a port of its own, and its address."""
    folder = write_release(tmp_path / "tiny", never_end(tiny_model(tie_embeddings=False)))
    keys = tmp_path / "keys"
    keys.write_text(f"# ours\n{KEY}\n")
    command = [sys.executable, "-m", "nexus.cli", "serve", folder, "--raw", "--port", "0", "--api-key-file", keys]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    lines = []
    for line in process.stderr:
        lines.append(line)
        if found := re.search(r"http://\S+", line):
            break
    assert found, lines
    rest = threading.Thread(target=lambda: lines.extend(process.stderr))
    rest.start()
    process.lines = lines
    yield process, found[0]
    process.kill()
    process.wait()
    rest.join()
    process.stderr.close()


def test_the_official_client_is_served_until_the_server_is_told_to_stop(server):
    process, url = server
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=60) as client:
        assert [model.id for model in client.models.list()] == ["tiny"]
        asked = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 12}
        whole = client.chat.completions.create(**asked)
        parts = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
        assert "".join(p.choices[0].delta.content or "" for p in parts[:-1]) == whole.choices[0].message.content != ""
        assert parts[-1].usage.completion_tokens == 12
        assert client.completions.create(model="tiny", prompt="Hello", max_tokens=3).usage.completion_tokens == 3
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**asked, n=99)
        assert caught.value.param == "n"

        long = client.chat.completions.create(**{**asked, "max_tokens": 300}, stream=True)
        next(iter(long))
        process.send_signal(signal.SIGTERM)
        reasons = [part.choices[0].finish_reason for part in long]
        assert reasons[-1] == "length", "an answer under way is finished"
    assert process.wait(30) == 0
    assert KEY not in "".join(process.lines)


def test_an_answer_does_not_wait_for_the_receipt_of_its_head():
    _, listening = bind(None, "127.0.0.1", 0)
    with listening, socket.create_connection(listening.getsockname()):
        taken, _ = listening.accept()
        with taken:
            assert taken.proto == socket.IPPROTO_TCP, "else asyncio leaves the option alone"
            assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


class City(pydantic.BaseModel):
    """What is asked for."""

    name: str
    people: int


def test_the_official_client_is_served_by_every_endpoint(server):
    _, url = server
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=60) as client:
        assert client.models.retrieve("tiny").id == "tiny"
        vectors = client.embeddings.create(model="tiny", input=["one", "two"]).data  # the client asks for base64
        assert [len(vector.embedding) for vector in vectors] == [tiny_model().config.d_model] * 2
        check_chats(client)
        check_responses(client)


def check_chats(client):
    chat = {"model": "tiny", "messages": [{"role": "user", "content": "A city?"}]}
    some = client.chat.completions.create(
        **chat, max_tokens=5, n=2, temperature=1, seed=1, logprobs=True, top_logprobs=2
    )
    assert [len(choice.logprobs.content) for choice in some.choices] == [5, 5]
    parsed = client.chat.completions.parse(**chat, max_tokens=120, response_format=City).choices[0].message.parsed
    assert isinstance(parsed, City)
    tool = openai.pydantic_function_tool(City, name="look_up")
    called = client.chat.completions.create(**chat, max_tokens=200, tools=[tool], tool_choice="required").choices[0]
    assert called.finish_reason == "tool_calls"
    for call in called.message.tool_calls:
        City.model_validate_json(call.function.arguments)
    with client.chat.completions.stream(**chat, max_tokens=120, response_format=City) as stream:
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, City)


def check_responses(client):
    first = client.responses.create(model="tiny", input="Hello", max_output_tokens=8)
    assert (first.status, first.usage.output_tokens) == ("incomplete", 8)
    assert client.responses.retrieve(first.id).output_text == first.output_text != ""
    more = {"model": "tiny", "input": "More", "max_output_tokens": 8, "previous_response_id": first.id}
    with client.responses.stream(**more) as stream:
        events = list(stream)
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == events[-1].response.output_text != ""
    assert isinstance(client.responses.parse(model="tiny", input="?", text_format=City).output_parsed, City)
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError, match="previous_response_id"):
        client.responses.create(**more)


def test_a_client_that_goes_away_stops_its_answer(server):
    _, url = server
    headers = {"Authorization": f"Bearer {KEY}"}
    body = {"model": "tiny", "prompt": "Hello", "max_tokens": 3_000}
    for stream in (True, False):
        with httpx.Client(headers=headers, timeout=1.0 if not stream else 30.0) as client:
            if stream:
                with client.stream("POST", f"{url}/completions", json={**body, "stream": True}) as response:
                    next(response.iter_lines())
            else:
                with pytest.raises(httpx.ReadTimeout):
                    client.post(f"{url}/completions", json=body)
    with httpx.Client(headers=headers, timeout=30.0) as client:
        wait_for(client, url, "nexus_cancelled_total 2.0")
        wait_for(client, url, "nexus_running 0.0")


def test_a_client_that_goes_away_within_its_request_is_no_failure(server):
    process, url = server
    port = int(re.search(r":(\d+)/", url)[1])
    head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n"
    with socket.create_connection(("127.0.0.1", port)) as plug:
        plug.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
    with httpx.Client(headers={"Authorization": f"Bearer {KEY}"}, timeout=30.0) as client:
        wait_for(client, url, 'nexus_requests_total{path="/v1/completions",status="499"} 1.0')
    assert not any("Traceback" in line for line in process.lines)


def wait_for(client, url, line):
    """Until the server's metrics have a line; a minute at most."""
    for _ in range(600):
        text = client.get(url.replace("/v1", "/metrics")).text
        if line in text:
            return
        time.sleep(0.1)
    raise AssertionError(f"{line} never came:\n{text}")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "--api-key-file"),
        (["--port", "70000"], "--port"),
        (["--api-key-file", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(tmp_path, capsys, options, said):
    assert main(["serve", str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert error.count("\n") == 1


def test_versions_that_passed_their_gates_in_full_precision_do_not_speak_in_eight_bits(tmp_path, capsys):
    release = release_of(plan="MWA")
    add_version(release, tmp_path / "weights", 1, speaks=False)
    check_versions(tmp_path / "weights")
    add_version(release, tmp_path / "weights", 2, owner="ann")
    assert main(["serve", str(tmp_path), "--int8", "--weights", str(tmp_path / "weights")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --int8: 1 owner(s) speak from versions in ")
    assert "cure: leave --int8 out, or name another folder with --weights" in error
    assert error.count("\n") == 1


def test_short_keys_are_refused_without_showing_them(tmp_path):
    path = tmp_path / "keys"
    path.write_text("hunter2\n")
    with pytest.raises(ValueError, match="16 characters") as caught:
        read_keys(path)
    assert "hunter2" not in str(caught.value)


def test_addresses():
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.1", "example.org")))

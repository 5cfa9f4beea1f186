"""Log-probabilities: those of the model itself, one for each token that is shown."""

import json
import math

import pytest
import torch

from nexus.serving.logprobs import Names
from tests.serving.small import release_of, served
from tests.tiny_release import text_tokenizer

CHAT = {"model": "nexus", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}
TEXT = {"model": "nexus", "prompt": "Hello", "max_tokens": 8}


@pytest.fixture(scope="module")
def client():
    with served() as client:
        yield client


def expected(client, ids, said):
    """Log-probabilities of the tokens ``said`` after the prompt ``ids``, by one pass over everything."""
    with torch.inference_mode():
        logits = client.engine.release.model(torch.tensor([[*ids, *said]])).logits[0, len(ids) - 1 : -1]
    return logits.log_softmax(-1)


def test_a_chat_tells_of_every_token(client):
    choice = client.post("/v1/chat/completions", json={**CHAT, "logprobs": True, "top_logprobs": 3}).json()["choices"][
        0
    ]
    tokenizer = client.engine.release.tokenizer
    said = tokenizer.encode(choice["message"]["content"])
    table = expected(client, tokenizer.chat_ids(CHAT["messages"]), said)
    told = choice["logprobs"]["content"]
    assert [entry["token"] for entry in told] == [tokenizer.decode([token]) for token in said]
    for entry, token, row in zip(told, said, table, strict=True):
        assert entry["logprob"] == pytest.approx(float(row[token]), abs=1e-9)
        values, ids = row.topk(3)
        assert [other["token"] for other in entry["top_logprobs"]] == [tokenizer.decode([i]) for i in ids.tolist()]
        assert [other["logprob"] for other in entry["top_logprobs"]] == pytest.approx(values.tolist(), abs=1e-9)
        assert bytes(entry["bytes"]).decode() == entry["token"]


def test_chance_does_not_change_what_is_told(client):
    hot = {**TEXT, "temperature": 1.7, "top_p": 0.5, "seed": 1, "logprobs": 0}
    choice = client.post("/v1/completions", json=hot).json()["choices"][0]
    tokenizer = client.engine.release.tokenizer
    said = tokenizer.encode(choice["text"])
    table = expected(client, tokenizer.encode(TEXT["prompt"]), said)
    assert choice["logprobs"]["token_logprobs"] == pytest.approx(
        [float(r[t]) for r, t in zip(table, said, strict=True)]
    )


def test_a_completion_has_offsets_into_its_text(client):
    choice = client.post("/v1/completions", json={**TEXT, "logprobs": 2}).json()["choices"][0]
    told = choice["logprobs"]
    assert "".join(told["tokens"]) == choice["text"]
    assert [choice["text"][at] for at in told["text_offset"]] == [token[0] for token in told["tokens"]]
    assert all(len(row) == 2 for row in told["top_logprobs"])


@pytest.mark.parametrize("stop", [None, 3])
def test_a_stream_tells_the_same_and_nothing_of_what_is_cut_off(client, stop):
    whole = client.post("/v1/completions", json={**TEXT, "logprobs": 1}).json()["choices"][0]
    body = {**TEXT, "logprobs": 1, "stop": stop and whole["text"][stop : stop + 2]}
    lines = client.post("/v1/completions", json={**body, "stream": True}).text.split("\n\n")
    chunks = [json.loads(line.removeprefix("data: "))["choices"][0] for line in lines if line.startswith("data: {")]
    told = [entry for chunk in chunks if chunk["logprobs"] for entry in chunk["logprobs"]["token_logprobs"]]
    offsets = [at for chunk in chunks if chunk["logprobs"] for at in chunk["logprobs"]["text_offset"]]
    cut = client.post("/v1/completions", json=body).json()["choices"][0]
    assert told == cut["logprobs"]["token_logprobs"] == whole["logprobs"]["token_logprobs"][: len(told)]
    assert offsets == cut["logprobs"]["text_offset"]
    assert len(told) == len(cut["text"])


def test_nothing_is_told_unless_asked(client):
    assert client.post("/v1/chat/completions", json=CHAT).json()["choices"][0]["logprobs"] is None


def test_a_part_of_a_character_has_its_byte():
    names, tokenizer = Names(text_tokenizer()), text_tokenizer()
    ids = tokenizer.encode("é\n")
    assert [names.raw(token) for token in ids] == [[0xC3], [0xA9], [0x0A]]
    assert names.raw(258) == list(b"<|im_end|>")


def test_impossible_tokens_are_told_as_json_can():
    with served(release_of()) as client:
        body = {**TEXT, "logprobs": 20, "max_tokens": 1}
        top = client.post("/v1/completions", json=body).json()["choices"][0]["logprobs"]["top_logprobs"][0]
    assert all(math.isfinite(value) for value in top.values())

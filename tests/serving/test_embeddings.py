"""Embeddings: the mean of the model's own hidden states, the same alone and among others."""

import base64

import numpy as np
import pytest
import torch

from nexus.serving.embeddings import embed_ids
from nexus.serving.work import Work
from tests.serving.small import release_of, served

BODY = {"model": "nexus", "input": ["Hello", "A longer text than the other"]}


@pytest.fixture(scope="module")
def client():
    with served() as client:
        yield client


def test_vectors_are_means_of_hidden_states_of_length_one(client):
    answer = client.post("/v1/embeddings", json=BODY).json()
    release = client.engine.release
    assert [entry["index"] for entry in answer["data"]] == [0, 1]
    for entry, text in zip(answer["data"], BODY["input"], strict=True):
        with torch.inference_mode():
            mean = release.model(torch.tensor([release.tokenizer.encode(text)])).hidden[0].mean(0)
        np.testing.assert_allclose(entry["embedding"], mean / mean.norm(), atol=1e-6)
    tokens = sum(len(release.tokenizer.encode(text)) for text in BODY["input"])
    assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_a_text_that_is_read_in_parts_gives_the_same(client, monkeypatch):
    whole = client.post("/v1/embeddings", json=BODY).json()["data"][1]["embedding"]
    monkeypatch.setattr("nexus.serving.embeddings.PART", 5)
    parts = client.post("/v1/embeddings", json=BODY).json()["data"][1]["embedding"]
    np.testing.assert_allclose(parts, whole, atol=1e-6)


def test_forms_of_input_and_output_agree(client):
    ids = client.engine.release.tokenizer.encode("Hello")
    first = client.post("/v1/embeddings", json={**BODY, "input": "Hello"}).json()["data"][0]["embedding"]
    for given in (["Hello"], ids, [ids]):
        assert client.post("/v1/embeddings", json={**BODY, "input": given}).json()["data"][0]["embedding"] == first
    packed = client.post("/v1/embeddings", json={**BODY, "input": "Hello", "encoding_format": "base64"}).json()
    assert np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), "<f4").tolist() == first


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ""}, "input[0]"),
        ({"input": [[]]}, "input"),
        ({"input": [999]}, "input[0]"),
        ({"input": ["a", 5]}, "input"),
        ({"input": ["a"] * 257}, "input"),
        ({"input": "x" * 4_097}, "input"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 7}, "dimensions"),
        ({"size": 7}, "size"),
    ],
)
def test_what_is_wrong_is_refused_by_name(client, change, param):
    response = client.post("/v1/embeddings", json={**BODY, **change})
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_work_that_nobody_waits_for_ends_between_two_steps():
    steps = embed_ids(release_of().model, [[1, 2], [3], [4]])
    work = Work(steps)
    assert not work.step()
    work.drop()
    assert work.step()
    assert work.result.exception().code == "cancelled"

"""The audit log: who, when, what and how much; never a text or a key."""

import json
import os
from datetime import datetime

import pytest

from nexus.serving.audit import Audit
from nexus.serving.limits import Spent
from tests.serving.small import served

KEY = "k" * 32
TEXT = {"model": "nexus", "prompt": "a private thing", "max_tokens": 10}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_request_leaves_a_line_without_its_texts(tmp_path):
    path = tmp_path / "audit.jsonl"
    good = {"Authorization": f"Bearer {KEY}"}
    with served(keys=[KEY], audit=Audit(path)) as client:
        whole = client.post("/v1/completions", json=TEXT, headers=good)
        client.post("/v1/completions", json={**TEXT, "stream": True}, headers=good)
        client.post("/v1/embeddings", json={"model": "nexus", "input": "secret"}, headers=good)
        client.post("/v1/completions", json=TEXT, headers={"Authorization": "Bearer wrong"})
        client.get("/nowhere/secret", headers=good)
    written = lines(path)
    routes = [(line["method"], line["route"], line["status"]) for line in written]
    assert routes == [
        ("POST", "/v1/completions", 200),
        ("POST", "/v1/completions", 200),
        ("POST", "/v1/embeddings", 200),
        ("POST", "/v1/completions", 401) if written[3]["route"] != "other" else ("POST", "other", 401),
        ("GET", "other", 404),
    ]
    usage = whole.json()["usage"]
    for line in written[:2]:
        assert (line["prompt_tokens"], line["answer_tokens"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert (written[2]["prompt_tokens"], written[2]["answer_tokens"]) == (6, 0)
    assert written[3]["who"] == "unknown"
    assert len({line["who"] for line in written}) == 2
    assert all(datetime.fromisoformat(line["at"]).tzinfo for line in written)
    assert not any(secret in path.read_text() for secret in (KEY, "private", "secret"))
    assert os.stat(path).st_mode & 0o077 == 0


def test_a_file_that_is_moved_away_is_begun_anew(tmp_path):
    path = tmp_path / "audit.jsonl"
    audit = Audit(path)
    audit.note("", "GET", "/v1/models", 200, 0.1, Spent())
    path.rename(tmp_path / "old.jsonl")
    audit.note("", "GET", "/v1/models", 200, 0.1, Spent())
    audit.close()
    assert len(lines(path)) == len(lines(tmp_path / "old.jsonl")) == 1
    assert lines(path)[0]["who"] == "local"


def test_a_file_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(ValueError, match="--audit"):
        Audit(tmp_path / "nowhere" / "audit.jsonl")

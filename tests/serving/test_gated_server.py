"""`nexus serve` as it is typed: gated unless it is told `--raw`, and what was taught beside it is answered at once."""

import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from nexus.living.journal import Journal
from tests.tiny_release import never_end, tiny_model, write_release

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def serving(*options):
    command = [sys.executable, "-m", "nexus.cli", "serve", *map(str, options), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            found = next(url for line in process.stderr if (url := re.search(r"http://\S+", line)))
            with httpx.Client(base_url=found[0], timeout=60) as client:
                yield client
        finally:
            process.kill()


def ask(client, text):
    body = {"model": "tiny", "messages": [{"role": "user", "content": text}], "max_tokens": 5}
    return client.post("/chat/completions", json=body).json()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("a") / "tiny", never_end(tiny_model(tie_embeddings=False)))


def test_it_is_gated_and_reads_what_is_taught_meanwhile(folder, tmp_path):
    memory = tmp_path / "memory.db"
    with serving(folder, "--memory", memory) as client:
        refused = ask(client, "When does the shop open?")
        assert "nexus certify" in refused["choices"][0]["message"]["content"]
        assert refused["nexus"]["answered"] is False
        with Journal(memory) as journal:
            journal.teach("me", "The shop opens at nine.")
        assert ask(client, "When does the shop open?")["nexus"]["channel"] == "memory"
        assert client.post("/nexus/teach", json={"text": "The mayor is Ann Lee."}).json()["fact"] == 2
        assert ask(client, "Who is the mayor?")["nexus"]["citations"][0]["fact"] == 2
        assert "<title>Nexus</title>" in client.get(client.base_url.join("/")).text


def test_raw_is_the_model_alone(folder):
    with serving(folder, "--raw") as client:
        said = ask(client, "When does the shop open?")
        assert client.post("/nexus/teach", json={"text": "In vain."}).status_code == 404
    assert "nexus" not in said
    assert len(said["choices"][0]["message"]["content"]) == 5

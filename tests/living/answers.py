"""What the tests of the gate share: answers with made-up numbers, and a tiny release that knows some questions."""

import atexit
import functools
import json
import tempfile
from pathlib import Path

import numpy as np

from nexus.cli import main
from nexus.inference.release import load_release
from nexus.living.speaking import Voice
from nexus.living.trace import Said
from tests.tiny_release import never_end, tiny_model, write_release

TOKENS = 6


def said(text="yes", logprobs=(-0.1,), width=4, samples=(), shift=0.0, seed=0):
    """An answer with these log-probabilities."""
    rng = np.random.default_rng(seed)
    logs = np.array(logprobs)
    return Said(
        text=text,
        tokens=len(logs),
        ended=True,
        logprobs=logs,
        entropies=-logs,
        question=rng.normal(size=width) + shift,
        answer=rng.normal(size=width) + shift,
        samples=tuple(samples),
        sample_logprobs=tuple(-1.0 for _ in samples),
    )


def crowd(n=400, seed=0, skill=3.0):
    """Answers of which the likelier ones and those with a larger first state are more often right, and outcomes."""
    rng = np.random.default_rng(seed)
    made, right = [], []
    for number in range(n):
        sure, state = rng.normal(size=2)
        right.append(rng.random() < 1 / (1 + np.exp(-skill * (sure + state))))
        one = said(logprobs=(-np.exp(-sure),), seed=seed * n + number)
        one.question[0] = state
        made.append(one)
    return made, np.array(right)


def knowing_release(folder, n=200):
    """A release that talks nonsense, and a file of n questions to which its surest nonsense is held right."""
    release = load_release(write_release(folder, never_end(tiny_model(tie_embeddings=False))))
    texts = [f"What is number {i}, {'and ' * (i % 5)}why?" for i in range(2 * n)]
    asked = [pair for pair in zip(texts, Voice(release, TOKENS).say_all(texts), strict=True) if _has_words(pair[1])]
    asked.sort(key=lambda pair: pair[1].logprobs.mean())
    least, most = asked[: n // 2], asked[-(n - n // 2) :]  # with a gap between them, so that a score can tell
    lines = [{"question": text, "answer": "xyzzy", "kind": "unknown"} for text, _ in least]
    lines += [{"question": text, "answer": one.text, "kind": "known"} for text, one in most]
    data = folder / "questions.jsonl.txt"
    data.write_text("\n".join(map(json.dumps, lines)))
    return release, data


def _has_words(one):
    return any(letter.isalnum() for letter in one.text)


@functools.cache
def certified_release(samples=0):
    """Such a release with the certificate that the command has made for it, its questions' file, and their texts.

    Made once for all tests of a process; whoever changes the folder works on a copy.
    """
    home = tempfile.TemporaryDirectory()
    atexit.register(home.cleanup)
    folder = Path(home.name)
    _, data = knowing_release(folder)
    call = ["certify", "--release", str(folder), "--data", str(data), "--alpha", "0.3", "--tokens", str(TOKENS)]
    assert main([*call, "--samples", str(samples)]) == 0
    texts = [json.loads(line)["question"] for line in data.read_text().splitlines()]
    return load_release(folder), data, [text for pair in zip(texts[:100], texts[100:], strict=True) for text in pair]

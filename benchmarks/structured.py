"""Schema requests over HTTP: how many answers are valid, and what the grammar costs.

    python benchmarks/structured.py --number 1000
    python benchmarks/structured.py --number 100 --release nexus-release-v1

Each request has a schema of its own, drawn by chance (tests/serving/random_schemas.py), temperature 1, a seed, and 40
tokens more than the shortest answer needs, so most answers have to be brought to their end.
Answers are judged by the jsonschema package. Without --release a tiny model with random weights answers: the harder
case, since it never means to write JSON. Prints one JSON line and writes it to benchmarks/results/structured.json.
"""

import argparse
import json
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema
import torch

from nexus.inference.release import load_release
from nexus.serving.structured import Grammar, json_rule, vocabulary
from tests.serving.random_schemas import draw
from tests.serving.small import free_release, served

ROOM, CLIENTS = 40, 8  # tokens beyond the shortest answer; requests at once
NEEDS = re.compile(r"needs an answer of (\d+) tokens")
JUDGE = jsonschema.Draft202012Validator


def judge(schema, choice):
    """valid, invalid, or why the answer ended otherwise."""
    if choice["finish_reason"] != "stop":
        return choice["finish_reason"]
    try:
        JUDGE(schema, format_checker=JUDGE.FORMAT_CHECKER).validate(json.loads(choice["message"]["content"]))
    except (ValueError, jsonschema.ValidationError):
        return "invalid"
    return "valid"


def ask(client, number, schema):
    form = {"type": "json_schema", "json_schema": {"name": "drawn", "schema": schema}}
    chat = [{"role": "user", "content": "Write JSON about a thing that you like."}]
    body = {"model": client.name, "messages": chat, "temperature": 1, "seed": number, "max_tokens": ROOM}
    body |= {"response_format": form} if schema else {}
    response = client.post("/v1/chat/completions", json=body)
    if needed := NEEDS.search(response.text):  # as the refusal says; then it must do
        response = client.post("/v1/chat/completions", json={**body, "max_tokens": int(needed[1]) + ROOM})
    if response.status_code != 200:
        return f"refused: {response.json()['error']['message'][:120]}", 0
    answer = response.json()
    verdict = judge(schema, answer["choices"][0]) if schema else "free"
    return verdict, answer["usage"]["completion_tokens"]


def run(client, schemas, first=0):
    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda pair: ask(client, *pair), enumerate(schemas, first)))
    seconds, tokens = time.perf_counter() - began, sum(count for _, count in answers)
    return Counter(verdict for verdict, _ in answers), tokens, tokens / seconds


def grammar_cost(release, schemas):
    """Milliseconds to make a grammar, and to choose a token by it beside the model's own step."""
    logits = torch.randn(1, release.model.config.vocab_size, generator=torch.Generator().manual_seed(0))
    vocabulary(release)
    made, took, steps = 0.0, 0.0, 0
    for schema in schemas:
        began = time.perf_counter()
        guide = Grammar(release, f"start: {json_rule(schema)}", "schema").guide()
        made += time.perf_counter() - began
        for left in range(256, 0, -1):
            began = time.perf_counter()
            allowed = guide.limit(logits.roll(left, 1))
            token = int(allowed.softmax(-1).multinomial(1))
            guide.take(token, left - 1)
            took, steps = took + time.perf_counter() - began, steps + 1
            if guide.done or token in vocabulary(release).ends:
                break
    return {"grammar_ms": 1e3 * made / len(schemas), "token_ms": 1e3 * took / steps}


def measure(first, number, folder):
    torch.manual_seed(0)
    release = load_release(folder) if folder else free_release()
    schemas = [draw(i) for i in range(first, first + number)]
    with served(release) as client:
        client.name = client.get("/v1/models").json()["data"][0]["id"]
        verdicts, tokens, speed = run(client, schemas, first)
        _, _, free = run(client, [None] * min(number, 16))
    return {
        "release": folder or "random weights",
        "first": first,
        "requests": number,
        "verdicts": dict(verdicts.most_common()),
        "tokens": tokens,
        "tokens_per_second": round(speed, 1),
        "tokens_per_second_without_schema": round(free, 1),
        **grammar_cost(release, schemas[:10]),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first schema")
    parser.add_argument("--release", help="a folder (default: a tiny model with random weights)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = json.dumps(measure(arguments.first, arguments.number, arguments.release))
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "structured.json").write_text(result + "\n")
    print(result)

"""A server under load for a long time, with clients that are slow or go away: does its memory grow?

    python benchmarks/soak.py --minutes 30

Clients of seven kinds ask a tiny model over HTTP again and again. Every few seconds the server is asked what it takes:
in RAM, of the heap (held by somebody, and free but not given back), and in each of its bounded stores. The first half
fills these stores; over the second one a line is fitted, and nothing should grow. Prints a table by eighths of the
time and one JSON line, which is written to benchmarks/results/soak.json too.
"""

import argparse
import json
import random
import socket
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import psutil

from benchmarks.live_server import Server, tiny_folder

CACHE_MIB, EVERY, PARTS = 16, 5.0, 8
MIB = 2**20
LOOKED_AT = {  # columns of the table: metrics of the server, and in what they are told
    "resident_bytes": MIB, "heap_used_bytes": MIB, "heap_free_bytes": MIB, "prefix_cache_bytes": MIB,
    "prefix_cache_states": 1, "kept_response_bytes": MIB, "kept_responses": 1, "running": 1, "waiting": 1,
}  # fmt: skip
TEXT = {"model": "tiny", "max_tokens": 60}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["a", "b"]}
FORM = {"type": "json_schema", "json_schema": {"name": "pair", "schema": SCHEMA}}


def whole(client, chance):
    body = {**TEXT, "prompt": words(chance), "n": chance.randint(1, 2), "logprobs": chance.choice((None, 3))}
    return client.post("/v1/completions", json=body).status_code


def stream(client, chance):
    with client.stream("POST", "/v1/completions", json={**TEXT, "prompt": words(chance), "stream": True}) as response:
        return response.status_code if list(response.iter_lines()) else 0


def slow_reader(client, chance):
    body = {**TEXT, "prompt": words(chance), "stream": True, "logprobs": 5}
    with client.stream("POST", "/v1/completions", json=body) as response:
        for _line in response.iter_lines():
            time.sleep(0.05)
        return response.status_code


def leaver(client, chance):
    body = {**TEXT, "prompt": words(chance), "stream": True, "max_tokens": 2_000}
    with client.stream("POST", "/v1/completions", json=body) as response:
        for number, _line in enumerate(response.iter_lines()):
            if number > chance.randint(0, 30):
                return 499
    return response.status_code


def silent(client, chance):
    """Asks, and goes away without ever reading; at times in the middle of the request."""
    body = json.dumps({**TEXT, "prompt": words(chance), "max_tokens": 2_000}).encode()
    head = "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json"
    with socket.create_connection((client.base_url.host, client.base_url.port)) as plug:
        plug.sendall(
            f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body[: chance.choice((len(body), len(body) // 2))]
        )
        time.sleep(chance.uniform(0, 0.5))
    return 499


def structured(client, chance):
    chat = [{"role": "user", "content": words(chance)}]
    body = {"model": "tiny", "messages": chat, "max_tokens": 60, "response_format": FORM}
    return client.post("/v1/chat/completions", json=body).status_code


def other(client, chance):
    if chance.random() < 0.5:
        return client.post("/v1/embeddings", json={"model": "tiny", "input": [words(chance)] * 3}).status_code
    body = {"model": "tiny", "input": words(chance), "max_output_tokens": 30}
    return client.post("/v1/responses", json=body).status_code


KINDS = (whole, stream, slow_reader, leaver, silent, structured, other)


def words(chance):
    return " ".join(chance.choices(("one", "two", "three", "green", "stone", "of", "why"), k=chance.randint(2, 80)))


def keep_asking(url, number, pause, until, seen):
    chance, kind = random.Random(number), KINDS[number % len(KINDS)]
    with httpx.Client(base_url=url, timeout=60) as client:
        while time.monotonic() < until:
            try:
                status = kind(client, chance)
            except httpx.HTTPError as error:
                status = type(error).__name__
            seen[f"{kind.__name__} {status}"] += 1
            time.sleep(chance.uniform(0, 2 * pause))


def look(url):
    """What the server takes now, in the units of the table."""
    text = httpx.get(f"{url}/metrics", timeout=60).text
    told = dict(line.split() for line in text.splitlines() if line.startswith("nexus_") and "{" not in line)
    return {name: float(told.get(f"nexus_{name}", "nan")) / unit for name, unit in LOOKED_AT.items()}, told


def watch(server, seconds):
    """Minutes, and what the server takes at each."""
    began, times, rows = time.monotonic(), [], []
    while time.monotonic() - began < seconds:
        times.append((time.monotonic() - began) / 60)
        rows.append(look(server.url)[0])
        time.sleep(EVERY)
    return np.array(times), {name: np.array([row[name] for row in rows]) for name in LOOKED_AT}


def settled(url):
    """What is left once everybody has gone: the stores, and the counts of the whole run."""
    for _ in range(100):
        now, told = look(url)
        if not (now["running"] or now["waiting"]):
            break
        time.sleep(0.2)
    totals = ("answer_tokens_total", "cancelled_total", "refused_total", "failed_total")
    return {name: round(value, 2) for name, value in now.items()} | {
        name: float(told.get(f"nexus_{name}", 0)) for name in totals
    }


def growth(times, values):
    """What a line through the second half rises by from its beginning to its end, with the line's standard error.

    Neighbouring values are alike, so the error is that of a line through the medians of eighths of this half.
    """
    late = times > times[-1] / 2
    x, y = (np.array([np.median(part) for part in np.array_split(values_[late], PARTS)]) for values_ in (times, values))
    slope, offset = np.polyfit(x, y, 1)
    spread = np.sqrt(np.sum((y - slope * x - offset) ** 2) / (len(x) - 2) / np.sum((x - x.mean()) ** 2))
    span = times[-1] / 2
    return round(float(slope * span), 2), round(float(spread * span), 2)


def measure(minutes, clients, pause):
    seconds, seen = 60 * minutes, Counter()
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(tiny_folder(folder), "--raw", "--cache-mib", CACHE_MIB) as server,
    ):
        until = time.monotonic() + seconds
        arguments = [(server.url, number, pause, until, seen) for number in range(clients)]
        threads = [threading.Thread(target=keep_asking, args=one) for one in arguments]
        for thread in threads:
            thread.start()
        times, columns = watch(server, seconds)
        for thread in threads:
            thread.join()
        left = settled(server.url)
        process = psutil.Process(server.process.pid)
        handles, at_work = process.num_fds(), process.num_threads()
    eighths = {name: [round(float(np.median(p)), 2) for p in np.array_split(c, PARTS)] for name, c in columns.items()}
    memory = ("resident_bytes", "heap_used_bytes", "heap_free_bytes")
    return {
        "minutes": minutes,
        "requests": sum(seen.values()),
        "by_kind_and_status": dict(sorted(seen.items())),
        "by_eighth": eighths,
        "growth_of_second_half_mib_and_error": {name: growth(times, columns[name]) for name in memory},
        "at_the_end": {**left, "open_files": handles, "threads": at_work},
    }


def table(eighths):
    """Names and medians of each eighth of the time."""
    return "\n".join(f"{name:24}" + "".join(f"{value:10.1f}" for value in row) for name, row in eighths.items())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=14)
    parser.add_argument("--pause", type=float, default=0.2, help="mean seconds between a client's requests")
    arguments = parser.parse_args()
    found = measure(arguments.minutes, arguments.clients, arguments.pause)
    print(table(found["by_eighth"]))
    result = json.dumps(found)
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "soak.json").write_text(result + "\n")
    print(result)

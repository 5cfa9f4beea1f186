"""A server under load for a long time, with clients that are slow or go away: does its memory grow?

    python benchmarks/soak.py --minutes 30

Clients of seven kinds ask a tiny model over HTTP again and again. The server's resident memory is taken every few
seconds, and a line is fitted to the part after the warm-up (a quarter of the time, in which caches fill up to their
budget). Prints one JSON line and writes it to benchmarks/results/soak.json.
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

CACHE_MIB, EVERY, WARM = 16, 5.0, 0.25
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


def watch(server, seconds):
    """Minutes and MiB, every few seconds."""
    process, began, points = psutil.Process(server.process.pid), time.monotonic(), []
    while time.monotonic() - began < seconds:
        points.append(((time.monotonic() - began) / 60, process.memory_info().rss / 2**20))
        time.sleep(EVERY)
    return np.array(points)


def metric(text, name):
    return next((float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} ")), 0.0)


def settled(url):
    """What is left once everybody has gone."""
    for _ in range(100):
        text = httpx.get(f"{url}/metrics").text
        left = {name: metric(text, f"nexus_{name}") for name in ("running", "waiting")}
        if not any(left.values()):
            break
        time.sleep(0.2)
    totals = ("answer_tokens_total", "cancelled_total", "refused_total", "failed_total", "prefix_cache_bytes")
    return {**left, **{name: metric(text, f"nexus_{name}") for name in totals}}


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
        points = watch(server, seconds)
        for thread in threads:
            thread.join()
        left = settled(server.url)
        handles = psutil.Process(server.process.pid).num_fds()
    late = points[points[:, 0] > WARM * minutes]
    slope = float(np.polyfit(late[:, 0], late[:, 1], 1)[0])
    quarters = [round(float(np.median(part[:, 1])), 1) for part in np.array_split(points, 4)]
    return {
        "minutes": minutes,
        "requests": sum(seen.values()),
        "by_kind_and_status": dict(sorted(seen.items())),
        "rss_mib_by_quarter": quarters,
        "growth_mib_per_hour_after_warm_up": round(60 * slope, 2),
        "open_files_at_the_end": handles,
        **left,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=14)
    parser.add_argument("--pause", type=float, default=0.2, help="mean seconds between a client's requests")
    arguments = parser.parse_args()
    result = json.dumps(measure(arguments.minutes, arguments.clients, arguments.pause))
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "soak.json").write_text(result + "\n")
    print(result)

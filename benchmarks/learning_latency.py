"""Does learning slow the answers down? Latency while somebody teaches, beside the same requests while nobody does.

    python benchmarks/learning_latency.py                    400 requests of each kind (about three minutes)
    python benchmarks/learning_latency.py --requests 50

A real server over HTTP with the whole living service (gate, proofs, memory, dashboard's routes); blocks with and
without teaching take turns, so that a busy machine is unkind to both. The teacher commits a fact, and judges, five
times a second. Two kinds of requests: questions that memory answers, and, at a server without a gate beside it, answers
of the model (random weights: only times are looked at). Writes benchmarks/results/learning_latency.json.
"""

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path

import httpx
import numpy as np

from benchmarks.live_server import Server
from tests.tiny_release import never_end, tiny_model, write_release

RESULTS = Path(__file__).parent / "results" / "learning_latency.json"
BLOCK, PAUSE = 25, 0.2
MEMORY = {"model": "model", "messages": [{"role": "user", "content": "When does the shop open?"}]}
MODEL = {"model": "model", "prompt": "Once upon a time", "max_tokens": 24}


class Teacher:
    """Teaches in a thread of its own while it is told to."""

    def __init__(self, url: str) -> None:
        self.url, self.on, self.taught = url, threading.Event(), 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as client:
            while self.on.wait():
                fact = {"text": f"Box {self.taught} holds part {self.taught * 7}.", "source": "the store"}
                client.post("/v1/nexus/teach", json=fact).raise_for_status()
                client.post("/v1/nexus/feedback", json={"right": True, "about": "a test"}).raise_for_status()
                self.taught += 1
                time.sleep(PAUSE)


def measure(server: Server, path: str, body: dict[str, object], requests: int, teacher: Teacher) -> dict[str, float]:
    """Milliseconds of a request, on and off in turns."""
    took: dict[bool, list[float]] = {True: [], False: []}
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for block in range(2 * (requests // BLOCK) + 1):
            learning = block % 2 == 1
            (teacher.on.set if learning else teacher.on.clear)()
            for _ in range(BLOCK):
                start = time.perf_counter()
                client.post(path, json=body).raise_for_status()
                if block:  # the first is a warm-up
                    took[learning].append(1e3 * (time.perf_counter() - start))
    teacher.on.clear()
    row = {
        f"{name}_{q}": float(np.percentile(took[on], q))
        for on, name in ((False, "off"), (True, "on"))
        for q in (50, 99)
    }
    return row | {
        "ratio_50": row["on_50"] / row["off_50"],
        "ratio_99": row["on_99"] / row["off_99"],
        "n": len(took[True]),
    }


def main() -> None:
    """Measure, print, write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--requests", type=int, default=400)
    requests = options.parse_args().requests
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        sizes = {"tie_embeddings": False, "d_model": 128, "n_layers": 8}
        release = write_release(Path(folder) / "model", never_end(tiny_model(**sizes)))
        memory = Path(folder) / "memory.db"
        with (
            Server(release, "--memory", memory, "--embedder", "none") as server,
            httpx.Client(base_url=server.url) as client,
        ):
            client.post("/v1/nexus/teach", json={"text": "The shop opens at nine."}).raise_for_status()
            teacher = Teacher(server.url)
            rows["memory answers"] = measure(server, "/v1/chat/completions", MEMORY, requests, teacher)
            with Server(release, "--raw") as raw:  # the teacher writes to the first one, on the same cores
                rows["the model answers"] = measure(raw, "/v1/completions", MODEL, requests, teacher)
            rows["taught"] = teacher.taught
    print(json.dumps(rows, indent=1))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

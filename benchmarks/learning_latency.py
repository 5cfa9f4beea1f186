"""Does learning slow the answers down? Latency while somebody teaches, beside the same requests while nobody does.

    python benchmarks/learning_latency.py                    2,000 requests to memory, 400 to the model
    python benchmarks/learning_latency.py --requests 250

A real server over HTTP with the whole living service (gate, proofs, memory, dashboard's routes); blocks with and
without teaching take turns, so that a busy machine is unkind to both. The teacher is a process of its own, so that the
one who asks does not wait for it outside of the server; it commits a fact, and judges, five times a second. The same
with a consolidation, which trains all the time that it is let. Two kinds of requests: questions that memory answers,
and, at a server without a gate beside it, answers of the model (random weights: only times are looked at). The ratio of
the 99th percentiles has a 95 % interval (bootstrap over blocks). Writes benchmarks/results/learning_latency.json.
"""

import argparse
import json
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch

from benchmarks.live_server import Server
from nexus.inference.release import load_release
from nexus.living.consolidation import ConsolidationConfig, Consolidator, low_priority
from nexus.living.journal import OWNER, Journal
from tests.tiny_release import never_end, tiny_model, write_release

RESULTS = Path(__file__).parent / "results" / "learning_latency.json"
PAUSE, DRAWS = 0.2, 1_000
MEMORY = {"model": "model", "messages": [{"role": "user", "content": "When does the shop open?"}]}
MODEL = {"model": "model", "prompt": "Once upon a time", "max_tokens": 24}


class Teacher:
    """Teaches in a process of its own while it is told to."""

    def __init__(self, url: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.on, self._taught, ready = context.Event(), context.Value("i", 0), context.Event()
        self._process = context.Process(target=teach, args=(url, self.on, self._taught, ready), daemon=True)
        self._process.start()
        ready.wait(120)

    @property
    def taught(self) -> int:
        """How many facts."""
        return int(self._taught.value)

    def close(self) -> None:
        """Send it home."""
        self._process.terminate()
        self._process.join()


def teach(url: str, on: Any, taught: Any, ready: Any) -> None:
    """A fact and a judgement, and a pause."""
    with httpx.Client(base_url=url, timeout=60) as client:
        ready.set()
        while on.wait():
            fact = {"text": f"Box {taught.value} holds part {taught.value * 7}.", "source": "the store"}
            client.post("/v1/nexus/teach", json=fact).raise_for_status()
            client.post("/v1/nexus/feedback", json={"right": True, "about": "a test"}).raise_for_status()
            taught.value += 1
            time.sleep(PAUSE)


class Student:
    """Learns what was taught into weights, in a process of its own, while it is told to."""

    def __init__(self, release: Path, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        ready = context.Event()
        self._process = context.Process(target=consolidate, args=(release, folder, ready), daemon=True)
        self._process.start()
        ready.wait(300)
        self.on, self.set, self.clear = self, self._signal(signal.SIGCONT), self._signal(signal.SIGSTOP)
        self.clear()

    def _signal(self, number: signal.Signals) -> Callable[[], None]:
        assert self._process.pid is not None
        return partial(os.kill, self._process.pid, number)

    def close(self) -> None:
        """Send it home."""
        self._process.kill()
        self._process.join()


def consolidate(release: Path, folder: Path, ready: Any) -> None:
    """What `nexus weights consolidate` does, for longer than anybody waits."""
    torch.set_num_threads(1)
    config = ConsolidationConfig(steps=1_000_000, enough=0.0, save_every=50, replay_texts=8)
    made = Consolidator(load_release(release), folder / "weights", "r", config)
    made.examiner()
    low_priority()
    with Journal(folder / "learnt.db") as journal:
        for box in range(20):
            journal.teach(OWNER, f"The key of box {box} is number {box * 7}.")
        ready.set()
        made.run(journal, OWNER)


def measure(
    server: Server, path: str, body: dict[str, object], requests: int, block: int, learner: "Teacher | Student"
) -> dict[str, object]:
    """Milliseconds of a request, on and off in turns."""
    took: dict[bool, list[list[float]]] = {True: [], False: []}
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for turn in range(2 * (requests // block) + 1):
            learning, times = turn % 2 == 1, []
            (learner.on.set if learning else learner.on.clear)()
            for _ in range(block):
                start = time.perf_counter()
                client.post(path, json=body).raise_for_status()
                times.append(1e3 * (time.perf_counter() - start))
            if turn:  # the first is a warm-up
                took[learning].append(times)
    learner.on.clear()
    off, on = (np.array(took[learning]) for learning in (False, True))
    row: dict[str, object] = {
        f"{name}_{q}": round(float(np.percentile(times, q)), 2)
        for name, times in (("off", off), ("on", on))
        for q in (50, 95, 99)
    }
    ratios = {f"ratio_{q}": round(float(np.percentile(on, q) / np.percentile(off, q)), 3) for q in (50, 95, 99)}
    return {**row, **ratios, "ratio_99_between": between(off, on), "n": on.size}


def between(off: np.ndarray, on: np.ndarray) -> list[float]:
    """A 95 % interval of the ratio of the 99th percentiles, by drawing blocks anew."""
    draw = np.random.default_rng(0)
    ratios = []
    for _ in range(DRAWS):
        one, other = (np.percentile(t[draw.integers(len(t), size=len(t))], 99) for t in (on, off))
        ratios.append(one / other)
    return [round(float(q), 3) for q in np.percentile(ratios, (2.5, 97.5))]


def main() -> None:
    """Measure, print, write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--requests", type=int, default=2_000, help="to memory; a fifth of it to the model")
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
            rows["memory answers"] = measure(server, "/v1/chat/completions", MEMORY, requests, 125, teacher)
            with Server(release, "--raw") as raw:  # the teacher writes to the first one, on the same cores
                rows["the model answers"] = measure(raw, "/v1/completions", MODEL, requests // 5, 10, teacher)
            rows["taught"] = teacher.taught
            teacher.close()
            student = Student(release, Path(folder))
            beside = "beside a consolidation"
            rows[f"memory answers, {beside}"] = measure(server, "/v1/chat/completions", MEMORY, requests, 125, student)
            with Server(release, "--raw") as raw:
                rows[f"the model answers, {beside}"] = measure(
                    raw, "/v1/completions", MODEL, requests // 5, 10, student
                )
            student.close()
    print(json.dumps(rows, indent=1))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

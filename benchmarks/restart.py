"""Kills a server again and again while clients teach it: is anything that it acknowledged lost?

    python benchmarks/restart.py --kills 20

Clients teach over HTTP and note every acknowledged number. The server is killed (SIGKILL) at a random moment and
started anew on the same memory. At the end the journal must hold each acknowledged text under its number, its chain
must verify, and nothing may be in it that no client sent. Prints one JSON line and writes it to
benchmarks/results/restart.json.
"""

import argparse
import json
import random
import tempfile
import threading
import time
from pathlib import Path

import httpx

from benchmarks.live_server import Server, tiny_folder
from nexus.living.journal import OWNER, Journal


class Teacher(threading.Thread):
    """Teaches numbered texts until told to stop; goes on with the next one when the server is away."""

    def __init__(self, number, address):
        super().__init__(daemon=True)
        self.number, self.address, self.stop = number, address, threading.Event()
        self.sent, self.acknowledged = set(), {}

    def run(self):
        count = 0
        with httpx.Client(timeout=5) as client:
            while not self.stop.is_set():
                text = f"Teacher {self.number} says that thing {count} weighs {count * 7} grams."
                self.sent.add(text)
                count += 1
                try:
                    answer = client.post(f"{self.address[0]}/v1/nexus/teach", json={"text": text})
                    self.acknowledged[answer.raise_for_status().json()["fact"]] = text
                except httpx.HTTPError:
                    time.sleep(0.05)


def measure(kills, teachers):
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        memory, release, address = Path(folder) / "memory.db", tiny_folder(folder), [""]
        crowd = [Teacher(number, address) for number in range(teachers)]
        for round_number in range(kills):
            with Server(release, "--memory", memory) as server:
                address[0] = server.url
                if round_number == 0:
                    for teacher in crowd:
                        teacher.start()
                time.sleep(chance.uniform(0.2, 1.5))
                server.process.kill()
        for teacher in crowd:
            teacher.stop.set()
            teacher.join()
        with Journal(memory) as journal:
            events = journal.verify()
            held = {fact.seq: fact.text for fact in journal.facts(OWNER)}
    acknowledged = {seq: text for teacher in crowd for seq, text in teacher.acknowledged.items()}
    sent = set().union(*(teacher.sent for teacher in crowd))
    return {
        "kills": kills,
        "sent": len(sent),
        "acknowledged": len(acknowledged),
        "events": events,
        "lost": sum(held.get(seq) != text for seq, text in acknowledged.items()),
        "never_sent": sum(text not in sent for text in held.values()),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--teachers", type=int, default=4)
    arguments = parser.parse_args()
    result = json.dumps(measure(arguments.kills, arguments.teachers))
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "restart.json").write_text(result + "\n")
    print(result)

"""Processes for the fault tests: the toy pipeline, forked from an interpreter that has torch imported already.

They are real processes that get real signals and die real deaths; only the seconds of imports are saved.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TOY = Path(__file__).resolve().parent / "toy_pipeline.py"
PROJECT = TOY.parents[2]


def environment(**more: str) -> dict[str, str]:
    """For a fresh interpreter that finds the packages of this checkout."""
    kept = {key: value for key, value in os.environ.items() if key != "NEXUS_KILL_AT"}
    return {**kept, "PYTHONPATH": f"{PROJECT}{os.pathsep}{PROJECT / 'src'}", "OMP_NUM_THREADS": "1", **more}


class Run:
    """A started run of the toy pipeline."""

    def __init__(self, zygote: Zygote, pid: int, output: Path) -> None:
        self.zygote, self.pid, self.output = zygote, pid, output
        self._steps = 0

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self) -> int:
        """Wait for the end and return the exit code, negative for a signal."""
        return self.zygote.ask(op="wait", pid=self.pid)["status"]

    def text(self) -> str:
        return self.output.read_text()

    def errors(self) -> str:
        return self.output.with_suffix(".err").read_text()

    def step(self) -> int:
        """Wait until one more step was taken and return its number."""
        while True:
            lines = [line for line in self.text().splitlines(keepends=True) if line.startswith("step ")]
            done = [int(line.split()[1]) for line in lines if line.endswith("\n")]
            if len(done) > self._steps:
                self._steps = len(done)
                return done[-1]
            assert not self.zygote.ask(op="ended", pid=self.pid)["ended"], self.text() + self.errors()
            time.sleep(0.01)


class Zygote:
    """Forks runs on request."""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        command = [sys.executable, str(TOY), "--zygote"]
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment())
        self._runs = 0

    def ask(self, **request: object) -> dict:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(
        self, root: Path, *arguments: str, kill_at: str = "", sleep: float = 0, terminal: str = "", limit: int = 0
    ) -> Run:
        """Start a run in `root`; `terminal` is the name of one to use, `limit` the largest size a file may grow to."""
        root.mkdir(parents=True, exist_ok=True)
        self._runs += 1
        output = root.with_name(f"{root.name}-{self._runs}.out")
        output.touch()
        request = {"argv": ["--root", str(root), *arguments], "terminal": terminal, "limit": limit}
        env = {"NEXUS_KILL_AT": kill_at, "TOY_SLEEP": str(sleep)}
        answer = self.ask(op="start", env=env, output=str(output), errors=str(output.with_suffix(".err")), **request)
        return Run(self, answer["pid"], output)

    def run(self, root: Path, *arguments: str, **options) -> int:
        """Start a run, wait for its end and return the exit code, -9 for killed."""
        return self.start(root, *arguments, **options).end()

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@contextmanager
def running_zygote() -> Iterator[Zygote]:
    made = Zygote()
    try:
        yield made
    finally:
        made.close()

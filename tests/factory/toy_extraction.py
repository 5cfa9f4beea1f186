"""An extraction as a process of its own, for the fault tests.

    python toy_extraction.py        one JSON request a line: {"root", "teacher", "streamed", "kill_at"}; answers with
                                    the exit status (-9 for killed) and, from a run that ended, the tensors it read

Runs are forked from an interpreter that has torch imported and no thread: real processes that die real deaths.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from nexus.inference.bridge import load_hf_folder
from nexus_final.librarian import Librarian
from nexus_final.sli_integrator import SequentialLayerIntegrator

PROJECT = Path(__file__).resolve().parents[2]


def sequences() -> torch.Tensor:
    return torch.randint(0, 150, (7, 16), generator=torch.Generator().manual_seed(3))


def extract(root: Path, teacher: Path, streamed: bool) -> list[str]:
    """Three blocks: of 3, 3 and 1 sequences. Returns the names of the tensors that were streamed."""
    librarian = Librarian(root / "memory", k=3, samples=5, block_tokens=48)
    if not streamed:
        librarian.extract(load_hf_folder(teacher), sequences())
        return []
    source = SequentialLayerIntegrator(
        teacher, root / "work", batch_tokens=32, memory_bytes=0 if streamed == 2 else 2**20
    )
    librarian.extract(source, sequences())
    return sorted(source.files.reads)


def serve() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        root = Path(request["root"])
        root.mkdir(parents=True, exist_ok=True)
        child = os.fork()
        if child == 0:
            os.environ["NEXUS_KILL_AT"] = request["kill_at"]
            status = 1
            try:
                reads = extract(root, Path(request["teacher"]), request["streamed"])
                (root / "reads.json").write_text(json.dumps(reads))
                status = 0
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps(status), flush=True)


class Runs:
    """Starts extractions in the serving process."""

    def __init__(self, process: subprocess.Popen) -> None:
        self._process = process

    def run(self, root: Path, teacher: Path, streamed: int = 0, kill_at: str = "") -> int:
        """Extract below `root`; `streamed`: 0 resident, 1 streamed in memory, 2 streamed through the disk."""
        request = {"root": str(root), "teacher": str(teacher), "streamed": streamed, "kill_at": kill_at}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def extraction_process() -> Iterator[Runs]:
    paths = f"{PROJECT}{os.pathsep}{PROJECT / 'src'}"
    pipe = subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, __file__], stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        yield Runs(process)
        process.stdin.close()


def cache_bytes(root: Path) -> dict[str, bytes]:
    """Every file of the cache below `root`."""
    return {path.name: path.read_bytes() for path in sorted((root / "memory").iterdir())}


if __name__ == "__main__":
    torch.set_num_threads(1)
    serve()

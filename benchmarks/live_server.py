"""A server in a process of its own, for the benchmarks that need a real one: soak, fuzz and restart."""

import re
import subprocess
import sys
import threading
from pathlib import Path

from tests.tiny_release import never_end, tiny_model, write_release

ROOT = Path(__file__).parents[1]


def tiny_folder(folder):
    """A release with random weights; it answers in printable characters and ends by itself never."""
    return write_release(Path(folder) / "tiny", never_end(tiny_model(tie_embeddings=False)))


class Server:
    """`nexus serve` with these options, on a free port if none is among them.

    Attributes:
        url: http://127.0.0.1:PORT
        process: to be asked for its memory, or killed.
    """

    def __init__(self, *options):
        ports = () if "--port" in options else ("--port", "0")
        command = [sys.executable, "-m", "nexus.cli", "serve", *map(str, options), *ports]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        self.lines = []
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.search(r"(http://\S+)/v1", line):
                self.url = found[1]
                break
        else:
            raise RuntimeError("".join(self.lines))
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self):
        for _line in self.process.stderr:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()

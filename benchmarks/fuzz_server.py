"""The server under Schemathesis: requests by chance from its own OpenAPI document, right ones and wrong ones.

    python -m venv /tmp/fuzz && /tmp/fuzz/bin/pip install schemathesis==4.32.0      # not a dependency of Nexus
    python benchmarks/fuzz_server.py --schemathesis /tmp/fuzz/bin/schemathesis

All of its checks: no server errors, statuses, types and replies as described, what is described is taken, what is not
is refused. benchmarks/fuzz_hooks.py says what OpenAPI cannot. Writes benchmarks/results/fuzz_server.json.
"""

import argparse
import json
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.live_server import Server, tiny_folder

HERE = Path(__file__).parent
# A body that is too large is refused as such, which is not among the answers to wrong data that are known by default.
CONFIG = '[checks]\nnegative_data_rejection.expected-statuses = ["4XX"]\n'


def options(folder, gated):
    """With the gate there is a memory to be taught; without it the model itself answers."""
    return ("--memory", f"{folder}/memory.db") if gated else ("--raw",)


def measure(program, examples, seed, gated, minutes):
    """What it said and how it ended: its exit code, None if it did not end in time; and whether the server lives."""
    hooks = {**os.environ, "SCHEMATHESIS_HOOKS": str(HERE / "fuzz_hooks.py")}
    with tempfile.TemporaryDirectory() as folder, Server(tiny_folder(folder), *options(folder, gated)) as server:
        Path(folder, "schemathesis.toml").write_text(CONFIG)
        command = [program, "run", f"{server.url}/openapi.json", "--max-examples", str(examples), "--seed", str(seed)]
        command += ["--checks", "all", "--continue-on-failure", "--no-color", "--request-timeout", "30"]
        log = Path(folder, "log")
        with log.open("w") as out:
            run = subprocess.Popen(command, env=hooks, cwd=folder, stdout=out, stderr=subprocess.STDOUT)
            try:
                code = run.wait(60 * minutes)
            except subprocess.TimeoutExpired:
                run.kill()
                run.wait()
                code = None
        return code, log.read_text(errors="replace"), server.process.poll() is None


def counts(said):
    """Operations that were selected, all there are, and tested; cases that were generated, and that passed."""
    patterns = {
        "selected": r"Selected: (\d+)/", "operations": r"Selected: \d+/(\d+)", "tested": r"Tested: (\d+)",
        "generated": r"(\d+) generated", "passed": r"generated, (\d+) passed", "found": r"(\d+) unique failures",
    }  # fmt: skip
    return {name: int(match[1]) for name, pattern in patterns.items() if (match := re.search(pattern, said))}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schemathesis", default="schemathesis", help="the program (default: %(default)s)")
    parser.add_argument("--examples", type=int, default=100, help="of each operation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gated", action="store_true", help="with gate and memory")
    parser.add_argument("--minutes", type=float, default=10, help="after which it is stopped, and has not passed")
    arguments = parser.parse_args()
    began = time.monotonic()
    code, said, up = measure(
        arguments.schemathesis, arguments.examples, arguments.seed, arguments.gated, arguments.minutes
    )
    print(re.sub(r"(.{400}).*", r"\1 ...", said))  # bodies may be megabytes long
    found = {"exit_code": code, "server_alive": up, "minutes": round((time.monotonic() - began) / 60, 1)}
    result = json.dumps({**found, "examples": arguments.examples, "gated": arguments.gated, **counts(said)})
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / "fuzz_server.json").write_text(result + "\n")
    print(result)

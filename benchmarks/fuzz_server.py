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
from pathlib import Path

from benchmarks.live_server import Server, tiny_folder

HERE = Path(__file__).parent
# A body that is too large is refused as such, which is not among the answers to wrong data that are known by default.
CONFIG = '[checks]\nnegative_data_rejection.expected-statuses = ["4XX"]\n'


def options(folder, gated):
    """With the gate there is a memory to be taught; without it the model itself answers."""
    return ("--memory", f"{folder}/memory.db") if gated else ("--raw",)


def measure(program, examples, seed, gated):
    hooks = {**os.environ, "SCHEMATHESIS_HOOKS": str(HERE / "fuzz_hooks.py")}
    with tempfile.TemporaryDirectory() as folder, Server(tiny_folder(folder), *options(folder, gated)) as server:
        Path(folder, "schemathesis.toml").write_text(CONFIG)
        command = [program, "run", f"{server.url}/openapi.json", "--max-examples", str(examples), "--seed", str(seed)]
        command += ["--checks", "all", "--continue-on-failure", "--no-color", "--request-timeout", "30"]
        done = subprocess.run(command, env=hooks, cwd=folder, capture_output=True, text=True)
        alive = server.process.poll() is None
    return done.returncode, done.stdout + done.stderr, alive


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schemathesis", default="schemathesis", help="the program (default: %(default)s)")
    parser.add_argument("--examples", type=int, default=100, help="of each operation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gated", action="store_true", help="with gate and memory")
    arguments = parser.parse_args()
    code, said, up = measure(arguments.schemathesis, arguments.examples, arguments.seed, arguments.gated)
    print(said)
    counts = {name: int(number) for number, name in re.findall(r"(\d+) (generated|found|passed|failed|skipped)", said)}
    result = json.dumps(
        {"passed": code == 0, "server_alive": up, "examples": arguments.examples, "gated": arguments.gated, **counts}
    )
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / "fuzz_server.json").write_text(result + "\n")
    print(result)

"""Causality, measured: discovery, method choice, identification, estimates, counterfactuals, refuters; peers beside.

    python benchmarks/causality.py --peers peers/bin/python --sachs cyto_full_data.csv cyto_full_target.csv
    python benchmarks/causality.py --parts identification coverage      # some parts only

benchmarks/causality_peers.py says how the peers' environment is made. Without it their rows are left out, and the
table says so. The Sachs files are cdt/data/resources/cyto_full_*.csv of the wheel cdt 0.6.0. Prints a table and writes
benchmarks/results/causality_PART.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import causality_discovery
import causality_effects

RESULTS = Path(__file__).with_name("results")
PEERS = Path(__file__).with_name("causality_peers.py")


@dataclass
class Bench:
    """What a part may use: the options, a scratch folder, and the peers (None where they are not given)."""

    python: str | None
    sachs: list[str] | None
    scale: float
    slow: bool
    folder: Path

    def count(self, wanted: int) -> int:
        """A number of repetitions, scaled down for a trial run."""
        return max(2, round(wanted * self.scale))

    def peer(self, job: str, task: dict):
        """Let the peers do a job, or return None without them."""
        if self.python is None:
            return None
        given, out = self.folder / "task.json", self.folder / "answer.json"
        given.write_text(json.dumps(task))
        subprocess.run([self.python, str(PEERS), job, str(given), str(out)], check=True, timeout=3600,
                       env={**os.environ, "TQDM_DISABLE": "1"})  # fmt: skip
        return json.loads(out.read_text())


PARTS = {**causality_discovery.PARTS, **causality_effects.PARTS}


def show(part: str, rows: list[dict]) -> None:
    """Print a part's rows: what, figure, target, verdict."""
    print(f"\n== {part}")
    for row in rows:
        target = row.get("target", "")
        verdict = {True: "kept", False: "MISSED", None: ""}[row.get("kept")]
        print(f"  {row['what']:<62} {row['figure']!s:>16}  {target:<34} {verdict}")


def main() -> None:
    """Run the parts that were asked for."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--peers", metavar="PYTHON", help="the Python of the peers' environment")
    options.add_argument("--sachs", nargs=2, metavar=("DATA", "TARGET"), help="the two CSV files")
    options.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    options.add_argument("--scale", type=float, default=1.0, help="multiplies all numbers of repetitions")
    options.add_argument("--no-slow-peers", action="store_true", help="leave GES and DAGMA out")
    chosen = options.parse_args()
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(chosen.peers, chosen.sachs, chosen.scale, not chosen.no_slow_peers, Path(folder))
        versions = bench.peer("versions", {})
        print("peers:", versions or "none given (--peers)")
        for part in chosen.parts:
            start = time.perf_counter()
            rows = PARTS[part](bench)
            show(part, rows)
            print(f"  ({time.perf_counter() - start:.0f} s)", flush=True)
            result = {"part": part, "peers": versions, "scale": chosen.scale, "rows": rows}
            (RESULTS / f"causality_{part}.json").write_text(json.dumps(result, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()

"""Is it really linear? Time and memory against the length of a text, for three plans of one size.

    python benchmarks/length_curve.py                        512 to 32,768 tokens (about six minutes on two cores)
    python benchmarks/length_curve.py --longest 4096         a quick look
    python benchmarks/length_curve.py --picture docs/assets/length.png

Each model reads the text in pieces and carries its state; what grows beside the state is bounded by a piece. The
figures are seconds a token while the text's last piece is read, and the bytes of the state after it. Writes
benchmarks/results/length_curve.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from nexus.core.state_space import HybridConfig, HybridLM

RESULTS = Path(__file__).resolve().parent / "results" / "length_curve.json"
PIECE = 512
REPEATS = 3  # pieces read at each length; the quickest counts, since a shared machine only ever adds
PLANS: dict[str, dict[str, Any]] = {
    "attention in every layer": {"plan": "A"},
    "one attention layer in eight": {},
    "the same, attention windows of 512": {"attention_window": 512},
}
COLOURS = ("#8a9bb0", "#e09f3e", "#2e8b7a")


def main() -> None:
    """Measure, print, write, draw."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--longest", type=int, default=32_768)
    options.add_argument("--picture", type=Path)
    asked = options.parse_args()
    torch.set_flush_denormal(True)
    lengths = [PIECE << step for step in range(20) if PIECE << step <= asked.longest]
    found = {name: measure(fields, lengths) for name, fields in PLANS.items()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"lengths": lengths, "plans": found}, indent=1) + "\n", encoding="utf-8")
    show(lengths, found)
    if asked.picture:
        draw(lengths, found, asked.picture)


@torch.inference_mode()
def measure(fields: dict[str, Any], lengths: Sequence[int]) -> list[dict[str, float]]:
    """Rows of ``tokens, seconds_per_token, bytes`` of a model of 512 channels and eight layers."""
    torch.manual_seed(0)
    config = HybridConfig(vocab_size=4_096, d_model=512, n_layers=8, max_seq_length=2 * max(lengths), **fields)
    model = HybridLM(config).eval()
    state, rows, read = model.init_state(1), [], 0
    for length in lengths:
        while read < length - PIECE:
            state = model(_piece(), state=state, last_only=True).state
            read += PIECE
        seconds = []
        for _ in range(REPEATS):  # the state is a value: reading the same piece again starts from the same place
            start = time.perf_counter()
            after = model(_piece(), state=state, last_only=True).state
            seconds.append(time.perf_counter() - start)
        state, read = after, read + PIECE
        rows.append({"tokens": length, "seconds_per_token": min(seconds) / PIECE, "bytes": state.nbytes()})
    return rows


def _piece() -> torch.Tensor:
    return torch.randint(0, 4_096, (1, PIECE))


def show(lengths: Sequence[int], found: dict[str, list[dict[str, float]]]) -> None:
    """A line for each length: milliseconds a token and mebibytes of each plan."""
    print("tokens".rjust(7), *(f"{name:>36}" for name in found))
    for at, length in enumerate(lengths):
        row = [rows[at] for rows in found.values()]
        cells = [f"{cell['seconds_per_token'] * 1e3:.3f} ms {cell['bytes'] / 2**20:.1f} MiB" for cell in row]
        print(f"{length:7}", *(f"{cell:>36}" for cell in cells))


def draw(lengths: Sequence[int], found: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Two panels, logarithmic: a flat line on the left means linear time, on the right constant memory."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.9), layout="constrained")
    for (name, rows), colour in zip(found.items(), COLOURS, strict=True):
        left.plot(lengths, [row["seconds_per_token"] * 1e3 for row in rows], "o-", color=colour, label=name)
        right.plot(lengths, [row["bytes"] / 2**20 for row in rows], "o-", color=colour, label=name)
    left.set(title="Time of one more token while reading", ylabel="milliseconds")
    right.set(title="Memory that is carried along", ylabel="MiB")
    for axis in (left, right):
        axis.set(xscale="log", yscale="log", xlabel="tokens read")
        axis.set_xticks(lengths, [f"{n // 1024}k" if n >= 1024 else str(n) for n in lengths])
        axis.minorticks_off()
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()

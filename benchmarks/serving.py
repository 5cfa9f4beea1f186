"""What the server's batch and prefix cache save, without HTTP.

    python benchmarks/serving.py --history 4096

Prints one JSON line and writes it to benchmarks/results/serving.json: time to first token cold and for a second turn,
and tokens a second for one row and for eight. Random weights: only times are looked at.
"""

import argparse
import json
import time
from pathlib import Path

import torch

from nexus.core.state_space import HybridConfig, HybridLM
from nexus.inference.release import GenerationDefaults, Release
from nexus.serving.batch import Ask, Batch
from tests.tiny_release import text_tokenizer

TURN, NEW, ROWS = 24, 24, 8


def answer(batch: Batch, prompts: list[list[int]], new: int) -> tuple[float, float, list[list[int]]]:
    """Seconds to the first and to the last token, and the answers' ids."""
    began, first = time.perf_counter(), []
    rows = [
        batch.row(Ask(prompt=p, max_new_tokens=new), lambda _: first.append(time.perf_counter() - began))
        for p in prompts
    ]
    batch.waiting.extend(rows)
    while batch.busy:
        batch.step()
    return first[0], time.perf_counter() - began, [row.tokens for row in rows]


def measure(history: int, width: int) -> dict[str, float]:
    torch.manual_seed(0)
    sizes = {"vocab_size": 259, "max_seq_length": 2 * history, "d_model": width}
    release = Release(HybridLM(HybridConfig.tiny(**sizes)).eval(), text_tokenizer(), GenerationDefaults(), Path("none"))
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(256, (history,), generator=draw).tolist()
    batch = Batch(release)
    answer(Batch(release), [ids[:64]], 2)  # warm up
    cold, _, (said,) = answer(batch, [ids], NEW)
    turn, _, _ = answer(batch, [ids + said + ids[:TURN]], NEW)
    short = [ids[i * 8 : i * 8 + 8] for i in range(ROWS)]
    _, single, _ = answer(Batch(release, cache_bytes=0), short[:1], 64)
    _, together, _ = answer(Batch(release, cache_bytes=0), short, 64)
    return {
        "parameters": release.model.num_parameters(),
        "history": history,
        "cold_first_token_ms": 1e3 * cold,
        "second_turn_first_token_ms": 1e3 * turn,
        "second_turn_share": turn / cold,
        "tokens_per_second_1_row": 64 / single,
        f"tokens_per_second_{ROWS}_rows": ROWS * 64 / together,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--history", type=int, default=4_096)
    parser.add_argument("--width", type=int, default=256)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = json.dumps(measure(arguments.history, arguments.width))
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / "serving.json").write_text(result + "\n")
    print(result)

"""Cost of the sparse distillation loss beside plain cross-entropy and a dense divergence, interleaved in one run.

    python benchmarks/distillation_loss.py --threads 1 --tokens 512 2048

Forward and backward from hidden states on. With one thread the clock is the process's own CPU time, so that neighbours
on the machine disturb less; with more it is the wall's. Ratios are medians over rounds.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from nexus.training.distillation import linear_cross_entropy, sparse_kl
from nexus.training.sparse_targets import sparsify

WIDTH, VOCABULARY = 576, 49_152


def contestants(tokens: int, train_head: bool) -> dict[str, Callable[[], Tensor]]:
    """Each computes a loss and its gradients once."""
    hidden = torch.randn(tokens, WIDTH) * 1.5
    head = torch.randn(VOCABULARY, WIDTH) * 0.05
    teacher = hidden @ head.t() + torch.randn(tokens, VOCABULARY) * 0.5
    labels = torch.randint(VOCABULARY, (tokens,))
    targets = sparsify(teacher, 8, 12)

    def run(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], Tensor]:
        def once() -> Tensor:
            h, w = hidden.detach().requires_grad_(), head.detach().requires_grad_(train_head)
            value = loss(h, w)
            value.backward()
            return value.detach()

        return once

    def dense(h: Tensor, w: Tensor) -> Tensor:
        return F.kl_div(F.log_softmax(h @ w.t(), 1), F.log_softmax(teacher, 1), reduction="batchmean", log_target=True)

    return {
        "cross-entropy, plain": run(lambda h, w: F.cross_entropy(h @ w.t(), labels)),
        "cross-entropy, chunked": run(lambda h, w: linear_cross_entropy(h, w, labels)),
        "sparse KL + CE": run(lambda h, w: sparse_kl(h, w, targets, labels, 0.5)),
        "dense KL": run(dense),
    }


def measure(tokens: int, train_head: bool, rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds of each, and its ratio to plain cross-entropy within the same round."""
    runs = contestants(tokens, train_head)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(rounds + 1):
        for name, run in runs.items():
            start = clock()
            run()
            if round_:
                seconds[name].append(clock() - start)
    plain = seconds["cross-entropy, plain"]
    result: dict[str, float] = {}
    for name, times in seconds.items():
        ratio = statistics.median(t / p for t, p in zip(times, plain, strict=True))
        result |= {f"{name} s": round(min(times), 3), f"{name} ratio": round(ratio, 3)}
    return result


def main() -> None:
    """Print one JSON line for each setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    for tokens in options.tokens:
        for train_head in (False, True):
            result = measure(tokens, train_head, options.rounds, clock)
            print(json.dumps({"threads": options.threads, "tokens": tokens, "head learns": train_head, **result}))
    print(json.dumps({"peak RSS MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))


if __name__ == "__main__":
    main()

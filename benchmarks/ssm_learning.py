"""What the state-space layers can learn: four small tasks, each with the bar that it has to pass.

    python benchmarks/ssm_learning.py                     # all, a few minutes each
    python benchmarks/ssm_learning.py copying mamba s4d   # one task, some layers

copying  tokens among noise are repeated at the end: what to keep depends on the token (arXiv:2312.00752, section 4.1)
recall   the value that a key was given earlier in the text (associative recall, arXiv:2212.14052, section 3), asked of
         every key in turn (as in arXiv:2312.04927)
parity   whether the ones so far are odd: a state that has to be tracked (arXiv:2405.04517, section 4.1)
digits   8x8 handwritten digits of scikit-learn, pixel by pixel (64 steps): mean of three seeds
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.layers.components import RMSNorm
from nexus.layers.ssm.gated_delta_net import GatedDeltaNet
from nexus.layers.ssm.h3 import H3
from nexus.layers.ssm.hyena import Hyena
from nexus.layers.ssm.mamba import Mamba
from nexus.layers.ssm.s4 import S4
from nexus.layers.ssm.s4d import S4D
from nexus.layers.ssm.s5 import S5
from nexus.layers.ssm.xlstm import MLSTM, SLSTM


class GatedS5(nn.Module):
    """S5 with the activation that its paper's layers have behind the linear system: ``g sigmoid(W g)``, g = gelu(y)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ssm, self.gate = S5(width, width, dt_min=0.01), nn.Linear(width, width)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        y = F.gelu(self.ssm(x)[0])
        return y * torch.sigmoid(self.gate(y)), None


LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "mamba": lambda d: Mamba(d, d_state=8),
    "s4": lambda d: S4(d, d_state=16, dt_min=0.01),
    "s4d": lambda d: S4D(d, d_state=16, dt_min=0.01),
    "s5": GatedS5,
    "h3": lambda d: H3(d, d_state=16, head_dim=4),
    "hyena": lambda d: Hyena(d, 64, filter_width=32, bands=8),
    "gated_delta_net": lambda d: GatedDeltaNet(d, 2, d // 2, d // 2),
    "mlstm": lambda d: MLSTM(d, 2),
    "slstm": lambda d: SLSTM(d, 2),
}
# layers, and the accuracy that each has to reach (or, below zero, has to miss)
BARS: dict[str, dict[str, float]] = {
    "copying": {"mamba": 0.99, "s4d": -0.9},
    "recall": {"h3": 0.99, "hyena": 0.99, "gated_delta_net": 0.99},
    "parity": {"slstm": 0.99, "mlstm": -0.9},
    "digits": {"s4": 0.97, "s4d": 0.97, "s5": 0.97},
}
RESULTS = Path(__file__).parent / "results" / "ssm_learning.json"
SEEDS = {"digits": 3}  # one where the test is as large as one likes


class Stack(nn.Module):
    """``x + layer(norm(x))`` a few times between an embedding (or a linear map of numbers) and a head."""

    def __init__(self, layer: Callable[[int], nn.Module], inputs: int, outputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(inputs, width) if inputs > 1 else nn.Linear(1, width)
        self.layers = nn.ModuleList(layer(width) for _ in range(depth))
        self.norms = nn.ModuleList(RMSNorm(width) for _ in range(depth))
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = x + layer(norm(x))[0]
        return x


def copying(batch: int, length: int = 24, kept: int = 4, letters: int = 6) -> tuple[Tensor, Tensor]:
    """Letters at random places among blanks (0), then as many marks; targets at the marks only (-100 elsewhere)."""
    places = torch.rand(batch, length).argsort(1)[:, :kept].sort(1).values
    values = torch.randint(1, letters + 1, (batch, kept))
    text = torch.zeros(batch, length, dtype=torch.long).scatter(1, places, values)
    x = torch.cat((text, torch.full((batch, kept), letters + 1)), dim=1)
    return x, torch.cat((torch.full((batch, length), -100), values), dim=1)


def recall(batch: int, pairs: int = 8, keys: int = 10) -> tuple[Tensor, Tensor]:
    """Keys and values in turn; then every key again, in another order, before its value, which is wanted."""
    key = torch.rand(batch, keys).argsort(1)[:, :pairs]
    value = torch.randint(keys, 2 * keys, (batch, pairs))
    again = torch.rand(batch, pairs).argsort(1)
    asked, answer = key.gather(1, again), value.gather(1, again)
    x = torch.stack((torch.cat((key, asked), dim=1), torch.cat((value, answer), dim=1)), dim=2).flatten(1)
    y = torch.full_like(x, -100)
    y[:, 2 * pairs :: 2] = answer
    return x, y


def parity(batch: int, length: int = 16) -> tuple[Tensor, Tensor]:
    """Bits, and whether there was an odd number of ones so far."""
    x = torch.randint(0, 2, (batch, length))
    return x + 0, x.cumsum(1) % 2


TASKS = {"copying": (copying, 8), "recall": (recall, 20), "parity": (parity, 2)}
SIZES = {"copying": (1500, 32), "recall": (3000, 64), "parity": (1500, 32)}  # steps at most, width


def sequence_accuracy(task: str, name: str, seed: int = 0) -> float:
    """Train on fresh batches until the accuracy on the last ones stays above 99.5 %; accuracy on 512 new texts."""
    torch.manual_seed(seed)
    (make, vocabulary), (steps, width) = TASKS[task], SIZES[task]
    model = Stack(LAYERS[name], vocabulary, vocabulary, width, depth=2)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, steps)
    smooth = 0.0
    for _ in range(steps):
        x, y = make(32)
        logits = model.head(model(x))
        loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        smooth = 0.95 * smooth + 0.05 * _right(logits, y)
        if smooth > 0.995:
            break
    with torch.no_grad():
        x, y = make(512)
        return _right(model.head(model(x)), y)


def _right(logits: Tensor, y: Tensor) -> float:
    wanted = y != -100
    return float((logits.argmax(-1) == y)[wanted].float().mean())


def digits_accuracy(name: str, seed: int = 0, epochs: int = 20, width: int = 48) -> float:
    """Train on 1437 digits, test on 360; the mean over time goes into the head."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    torch.manual_seed(seed)
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images / 16, labels, test_size=360, random_state=0, stratify=labels)
    train_x, test_x = (torch.tensor(p, dtype=torch.float32).unsqueeze(-1) for p in parts[:2])
    train_y, test_y = (torch.tensor(p) for p in parts[2:])
    model = Stack(LAYERS[name], 1, 10, width, depth=2)
    optimiser = torch.optim.AdamW(groups(model), lr=1e-2, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [1e-2, 2e-3], epochs * -(-len(train_x) // 50))
    for _ in range(epochs):
        for rows in torch.randperm(len(train_x)).split(50):
            loss = F.cross_entropy(model.head(model(train_x[rows]).mean(1)), train_y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    with torch.no_grad():
        return float((model.head(model(test_x).mean(1)).argmax(-1) == test_y).float().mean())


def groups(model: nn.Module) -> list[dict[str, object]]:
    """What makes up the linear systems learns slowly and without decay, as in the papers of S4 and S5; and the rest."""
    system = {"Lambda", "log_step", "log_dt", "log_A_real", "A_imag", "B", "P"}
    named = [(name.rpartition(".")[2] in system, p) for name, p in model.named_parameters()]
    return [
        {"params": [p for inside, p in named if not inside]},
        {"params": [p for inside, p in named if inside], "weight_decay": 0.0},
    ]


def accuracy(task: str, name: str, seed: int = 0) -> float:
    """Accuracy of one layer on one task."""
    return digits_accuracy(name, seed) if task == "digits" else sequence_accuracy(task, name, seed)


def keep(key: str, found: object) -> None:
    """Add one result to the file, which another run may have added to meanwhile."""
    RESULTS.parent.mkdir(exist_ok=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    RESULTS.write_text(json.dumps(results | {key: found}, indent=2) + "\n")


def measure(task: str, name: str) -> None:
    """Train one layer on one task, as often as the task needs, and set it beside its bar."""
    start, runs = time.perf_counter(), []
    for seed in range(SEEDS.get(task, 1)):
        runs.append(accuracy(task, name, seed))
        score, bar = statistics.mean(runs), BARS[task].get(name, 0.0)
        met = score >= bar if bar >= 0 else score <= -bar
        keep(f"{task}/{name}", {"accuracy": score, "runs": runs, "bar": bar, "met": met})
    verdict = f"{'at least' if bar >= 0 else 'at most'} {abs(bar):.2f}: {'met' if met else 'NOT MET'}"
    each = " ".join(f"{run:.3f}" for run in runs)
    print(f"{task:8} {name:16} {each}  ({verdict}; {time.perf_counter() - start:.0f} s)", flush=True)


def main(task: str = "", *names: str) -> None:
    """Run the tasks, print a table, write ``benchmarks/results/ssm_learning.json``."""
    torch.set_num_threads(1)
    for which in [task] if task else BARS:
        for name in names or BARS[which]:
            measure(which, name)


if __name__ == "__main__":
    main(*sys.argv[1:])

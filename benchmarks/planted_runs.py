"""Small training runs with one fault planted in each, and healthy ones: what `auditor_faults.py` judges.

Every run is a bare loop over a language model with one of three bodies (attention, Mamba-2, GRU) on a Markov chain that
it can learn. A fault changes the model, the data, the loss, the optimiser or the loop, as a slip in a real program
would.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.core.state_space import HybridBackbone, HybridConfig
from nexus.training.audit.watch import Auditor

VOCABULARY, WIDTH, LENGTH = 32, 32, 16
BODIES = ("attention", "mamba", "gru")


class Body(nn.Module):
    """Causal features to features: two layers of the named kind."""

    def __init__(self, kind: str, width: int, layers: int = 2) -> None:
        super().__init__()
        self.kind = kind
        if kind == "gru":
            self.net: nn.Module = nn.GRU(width, width, layers, batch_first=True)
        else:
            plan = ("A" if kind == "attention" else "M") * layers
            self.net = HybridBackbone(HybridConfig.tiny(plan=plan, d_model=width, n_layers=layers))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)[0]


class Language(nn.Module):
    """Embedding (or a linear map of float features), body, an extra part that a fault may put in, head."""

    def __init__(self, kind: str, width: int = WIDTH, layers: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, width)
        nn.init.normal_(self.embed.weight, std=0.3)
        self.body = Body(kind, width, layers)
        self.dropout = nn.Dropout(dropout)
        self.extra: nn.Module = nn.Identity()
        self.head = nn.Linear(width, VOCABULARY, bias=False)
        self.floats = False
        self.between: Callable[[Tensor], Tensor] = lambda x: x
        self.after: Callable[[Tensor], Tensor] = lambda x: x

    def forward(self, inputs: Tensor) -> Tensor:
        x = inputs @ self.embed.weight if self.floats else self.embed(inputs)
        return self.after(self.head(self.extra(self.between(self.dropout(self.body(x))))))


def chain(count: int, seed: int, length: int = LENGTH, sharp: float = 3.0) -> Tensor:
    """Texts (count, length) of a Markov chain whose rows are peaked; `sharp` sets how much can be learnt."""
    table = torch.Generator().manual_seed(7)
    moves = torch.softmax(sharp * torch.randn(VOCABULARY, VOCABULARY, generator=table), dim=1)
    draw = torch.Generator().manual_seed(seed)
    ids = [torch.randint(VOCABULARY, (count,), generator=draw)]
    for _ in range(length - 1):
        ids.append(torch.multinomial(moves[ids[-1]], 1, generator=draw).squeeze(1))
    return torch.stack(ids, 1)


def next_token(model: nn.Module, batch: Any) -> Tensor:
    """Mean cross-entropy of the next token."""
    logits = model(batch)
    ids = batch.argmax(-1) if batch.is_floating_point() else batch
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


@dataclass
class Run:
    """A run that is ready to start."""

    model: Language
    seed: int
    rate: float = 3e-3
    decay: float = 0.01
    batch: int = 8
    steps: int = 64
    loss: Callable[[nn.Module, Any], Tensor] = next_token
    texts: Tensor | None = None
    held_out: Tensor | None = None
    change: Callable[[int, Tensor], Any] = lambda step, ids: ids
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW
    parameters: Callable[[nn.Module], Any] = lambda model: list(model.parameters())
    schedule: Callable[[int, int], float] = lambda step, steps: 1.0
    clip: float = math.inf
    zero_grad: bool = True
    training: bool = True
    keep: bool = False
    wait: float = 0.0
    one_batch: bool = False
    kept: list[Any] = field(default_factory=list)

    def batches(self) -> Iterator[Any]:
        """The batches of the run, prepared while it goes on."""
        texts = chain(256, self.seed) if self.texts is None else self.texts
        order = torch.Generator().manual_seed(self.seed)
        taken = time.perf_counter()
        for step in range(self.steps):
            rows = torch.randint(len(texts), (self.batch,), generator=order)
            if self.one_batch:
                rows = torch.arange(self.batch)
            if self.wait:  # so many times as long as the step before took, whatever the machine
                time.sleep(self.wait * (time.perf_counter() - taken))
            batch = self.change(step, texts[rows])
            taken = time.perf_counter()
            yield batch


def train(run: Run, auditor: Auditor | None) -> list[float]:
    """The bare loop. Returns the losses."""
    parameters = run.parameters(run.model)
    optimizer = run.optimizer(parameters, lr=run.rate, weight_decay=run.decay)
    auditor = auditor or Auditor(run.model, every=0)
    auditor.optimizer = optimizer
    auditor._hooks = auditor._listen(optimizer) if auditor.every else []
    losses = []
    for step, batch in enumerate(auditor.loading(run.batches())):
        for group in optimizer.param_groups:
            group["lr"] = run.rate * run.schedule(step, run.steps)
        with auditor.step() as seen:
            run.model.train(run.training)
            seen.replay = lambda batch=batch: run.loss(run.model, batch)
            loss = run.loss(run.model, batch)
            seen.loss = loss.detach()
            loss.backward()
            seen.grad_norm = nn.utils.clip_grad_norm_(run.model.parameters(), run.clip)
            optimizer.step()
            if run.zero_grad:
                optimizer.zero_grad()
        losses.append(float(loss.detach()))
        if run.keep:
            run.kept.append(loss)
        if run.held_out is not None and step % 8 == 7:
            with torch.no_grad():
                run.model.eval()
                auditor.evaluated(step + 1, float(next_token(run.model, run.held_out)))
    return losses


# ---- faults: name -> (what the auditor must say first, how it is planted) --------------------------------------------


def _rate(value: float, **more: Any) -> Callable[[Run], None]:
    def plant(run: Run) -> None:
        run.rate = value
        for name, setting in more.items():
            setattr(run, name, setting)

    return plant


def _set(**settings: Any) -> Callable[[Run], None]:
    def plant(run: Run) -> None:
        for name, value in settings.items():
            setattr(run, name, value)

    return plant


def _broken(run: Run) -> None:
    run.loss = lambda model, batch: next_token(model, batch).detach() + 0 * next_token(model, batch)


def _detached(run: Run) -> None:
    run.model.between = torch.Tensor.detach


def _not_held(run: Run) -> None:
    run.parameters = lambda model: [p for name, p in model.named_parameters() if not name.startswith("body")]


def _softmax_twice(run: Run) -> None:
    run.model.after = lambda logits: logits.softmax(-1)


def _unshifted(run: Run) -> None:
    run.loss = lambda model, ids: F.cross_entropy(model(ids).flatten(0, 1), ids.flatten())


def _future(run: Run) -> None:
    run.model.between = lambda x: x + torch.roll(x, -1, dims=1)


def _bad_start(run: Run) -> None:
    with torch.no_grad():
        run.model.head.weight.mul_(40)
    run.rate = 1e-3


def _random_labels(run: Run) -> None:
    draw = torch.Generator().manual_seed(run.seed)

    def loss(model: nn.Module, ids: Tensor) -> Tensor:
        labels = torch.randint(VOCABULARY, ids.shape, generator=draw)
        return F.cross_entropy(model(ids).flatten(0, 1), labels.flatten())

    run.loss, run.steps = loss, 96


class Residual(nn.Module):
    """``x + down(activation(up(x)))``."""

    def __init__(self, activation: nn.Module, scale: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.up, self.activation, self.down = nn.Linear(WIDTH, 2 * WIDTH), activation, nn.Linear(2 * WIDTH, WIDTH)
        with torch.no_grad():
            self.up.weight.mul_(scale)
            self.up.bias.fill_(bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.activation(self.up(x)))


class Deep(nn.Module):
    """A stack of small tanh layers without residuals."""

    def __init__(self, layers: int = 8) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(layers))
        with torch.no_grad():
            for layer in self.layers:
                layer.weight.mul_(0.2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x


def _extra(make: Callable[[], nn.Module]) -> Callable[[Run], None]:
    def plant(run: Run) -> None:
        run.model.extra = make()

    return plant


def _scaled_gradient(run: Run) -> None:
    def loss(model: nn.Module, ids: Tensor) -> Tensor:
        value = next_token(model, ids)
        return value.detach() + 1024 * (value - value.detach())  # a loss scale that is never taken back

    run.loss = loss


def _overfit(run: Run) -> None:
    draw = torch.Generator().manual_seed(run.seed)
    run.texts = torch.randint(VOCABULARY, (8, LENGTH), generator=draw)
    run.held_out = torch.randint(VOCABULARY, (16, LENGTH), generator=draw)
    run.rate, run.steps = 1e-2, 96


def _bad_batches(run: Run) -> None:
    draw = torch.Generator().manual_seed(run.seed)
    other = torch.randint(VOCABULARY, (run.batch, LENGTH), generator=draw)

    def change(step: int, ids: Tensor) -> Tensor:
        spoilt = step > 20 and step % 13 == 0
        return other[:, torch.randperm(LENGTH, generator=draw)] if spoilt else ids

    run.change = change
    run.texts, run.steps = chain(256, run.seed, sharp=6.0), 96


def _nan_input(run: Run) -> None:
    run.model.floats = True

    def change(step: int, ids: Tensor) -> Tensor:
        one_hot = F.one_hot(ids, VOCABULARY).float()
        if step == 40:
            one_hot[3, 5, 1] = math.nan
        return one_hot

    run.change = change


def _log_of_zero(run: Run) -> None:
    count = itertools.count()

    def loss(model: nn.Module, ids: Tensor) -> Tensor:
        p = model(ids).softmax(-1)
        if next(count) >= 30:
            p = p * (p > 1e-4 * p.detach().max())  # rare tokens are cut off, some day
            p = p * (torch.arange(VOCABULARY) > 0)
        return next_token(model, ids) + 1e-3 * (p * torch.log(p)).sum(-1).mean()

    run.loss = loss


def _root_of_zero(run: Run) -> None:
    count = itertools.count()

    def loss(model: nn.Module, ids: Tensor) -> Tensor:
        logits = model(ids)
        apart = logits[:, 1:] - logits[:, :-1]
        if next(count) >= 30:
            apart = apart * 0
        return next_token(model, ids) + 1e-3 * torch.sqrt(apart.square().sum(-1)).mean()

    run.loss = loss


class Normalised(nn.Module):
    """Divides by the standard deviation over time, without epsilon: 0/0 for a constant text."""

    def forward(self, x: Tensor) -> Tensor:
        return x / x.std(dim=1, keepdim=True).detach() * 0.5


def _zero_over_zero(run: Run) -> None:
    run.model.extra, count = Normalised(), itertools.count()

    def constant(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        return (inputs[0] * 0,) if next(count) >= 30 else None

    run.model.extra.register_forward_pre_hook(constant)


def _waits(run: Run) -> None:
    def loss(model: nn.Module, ids: Tensor) -> Tensor:
        value = next_token(model, ids)
        if value.item() > 1e6:
            print("loss is large")
        return value

    run.loss = loss


def _leak(run: Run) -> None:
    run.keep, run.batch, run.steps = True, 96, 72  # 0.05 to 0.3 MB a step


FAULTS: dict[str, tuple[str, Callable[[Run], None]]] = {
    "rate far too high": ("rate too high", _rate(1.0)),
    "rate too high for SGD": ("rate too high", _rate(300.0, optimizer=torch.optim.SGD)),
    "rate too low": ("rate too low", _rate(1e-6)),
    "schedule runs out": ("rate is zero", _set(schedule=lambda step, steps: max(0.0, 1 - step / 16))),
    "loss times zero": ("broken graph", _broken),
    "body detached": ("detached parameters", _detached),
    "body not in the optimiser": ("not in the optimiser", _not_held),
    "zero_grad missing": ("gradients never zeroed", _set(zero_grad=False)),
    "model.eval() left on": ("evaluation mode", _set(training=False)),
    "one batch again and again": ("same batch", _set(one_batch=True)),
    "softmax twice": ("softmax twice", _softmax_twice),
    "labels not shifted": ("labels not shifted", _unshifted),
    "future leaks": ("future leaks", _future),
    "head starts too large": ("bad start", _bad_start),
    "random labels": ("labels tell nothing", _random_labels),
    "dead ReLUs": ("dead units", _extra(lambda: Residual(nn.ReLU(), bias=-30.0))),
    "saturated tanh": ("saturated units", _extra(lambda: Residual(nn.Tanh(), scale=200.0))),
    "deep without residuals": ("vanishing gradients", _extra(Deep)),
    "loss scale never taken back": ("exploding gradients", _scaled_gradient),
    "weight decay far too high": ("weight decay too high", _set(decay=40.0)),
    "eight texts for ever": ("overfitting", _overfit),
    "garbage batches": ("bad batches", _bad_batches),
    "NaN in the data": ("bad batch", _nan_input),
    "log of zero": ("nan death", _log_of_zero),
    "root of zero": ("nan death", _root_of_zero),
    "zero over zero": ("nan death", _zero_over_zero),
    "slow loader": ("data stall", _set(wait=2.0, steps=24)),
    "losses kept with graphs": ("memory growth", _leak),
    "item() in the loss": ("device waits", _waits),
}


def faulty(name: str, body: str, seed: int) -> Run:
    """A run with the named fault."""
    torch.manual_seed(seed)
    run = Run(Language(body), seed)
    FAULTS[name][1](run)
    return run


def healthy(number: int, seed: int = 1) -> Run:
    """One of many healthy runs of different shapes."""
    torch.manual_seed(1000 * seed + number)
    body = BODIES[number % 3]
    width, layers = ((32, 2), (16, 1), (48, 3), (64, 2))[number % 4]
    run = Run(Language(body, width, layers, dropout=(0.0, 0.1, 0.2)[number % 5 % 3]), 1000 * seed + number)
    run.rate = (3e-3, 1e-3, 5e-3, 2e-3, 8e-3)[number % 5]
    run.batch = (8, 4, 16, 24)[number // 3 % 4]
    run.steps = (64, 80, 120)[number // 2 % 3]
    run.decay = (0.01, 0.1, 0.0)[number // 4 % 3]
    run.clip = (math.inf, 1.0, 0.5)[number % 3]
    if number % 7 == 3:
        run.optimizer, run.rate, run.decay = torch.optim.SGD, 0.5, 0.0
    if number % 7 == 5:
        run.optimizer, run.rate = torch.optim.Adafactor, 3e-2
    shape = number % 4
    if shape == 1:
        run.schedule = lambda step, steps: 0.5 * (1 + math.cos(math.pi * step / steps))
    elif shape == 2:
        run.schedule = lambda step, steps: min(1.0, (step + 1) / 10)
    count = max(256, run.batch * run.steps)  # about one pass: with fewer texts, some of these runs do overfit
    run.texts = chain(count, run.seed, length=(24, 16, 40)[number % 3], sharp=(3.0, 2.0, 5.0)[number // 5 % 3])
    run.held_out = chain(16, 5, sharp=(3.0, 2.0, 5.0)[number // 5 % 3])
    return run

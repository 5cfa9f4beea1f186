"""Every position encoding trained short and read long: one small byte-level decoder each, on the same text.

    python benchmarks/length_extrapolation.py --card              all of them, and the card in the docs (ten minutes)
    python benchmarks/length_extrapolation.py --only rope,alibi --steps 100

The text is Python's own manual (the standard library's ``pydoc_data.topics``), the last tenth held out. Trained on 128
bytes, read at 128 to 1,024: the loss is that of the last 64 bytes of each text, so that it tells how well the model
reads there, and not how well it starts. Writes benchmarks/results/length_extrapolation.json after every row; ``--card``
also writes the table and the picture of docs/05_positional_encodings/README.md.
"""

from __future__ import annotations

import argparse
import json
import math
import pydoc_data.topics
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.layers import positional
from nexus.layers.components import RMSNorm, SwiGLU
from nexus.layers.positional import rope_scaling
from nexus.layers.positional.rope import RotaryEmbedding, apply_rotary

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "length_extrapolation.json"
PAGE, PICTURE = ROOT / "docs" / "05_positional_encodings" / "README.md", "length_extrapolation.png"
BEGIN, END = "<!-- length -->", "<!-- /length -->"
TRAINED, LENGTHS, LAST, TEXTS = 128, (128, 256, 512, 1_024), 64, 32
D_MODEL, HEADS, LAYERS, BATCH = 64, 4, 2, 8
HEAD_DIM = D_MODEL // HEADS


class Turn:
    """Encodings that turn queries and keys."""

    def __init__(self, angles: Callable[[int], tuple[Tensor, Tensor, Tensor, Tensor]]) -> None:
        self.angles = angles

    def __call__(self, q: Tensor, k: Tensor) -> Tensor:
        a, b, c, d = self.angles(q.shape[-2])
        return apply_rotary(q, a, b) @ apply_rotary(k, c, d).mT / HEAD_DIM**0.5


def rotary(scaling: rope_scaling.RopeScaling | None = None) -> Turn:
    """RoPE; scalings come into force after training only, as they are used."""
    embedding = RotaryEmbedding(HEAD_DIM)
    longer = RotaryEmbedding(HEAD_DIM, scaling=scaling)
    return Turn(lambda n: (longer if n > TRAINED else embedding)(torch.arange(n)[None]) * 2)


def fading() -> Turn:
    embedding = positional.XPos(HEAD_DIM)
    return Turn(lambda n: sum(embedding(torch.arange(n)[None]), ()))


def multimodal() -> Turn:
    embedding = positional.MRoPE(HEAD_DIM, (2, 3, 3))
    return Turn(lambda n: embedding(torch.arange(n).expand(3, 1, -1)) * 2)


def axial() -> Turn:
    """The text laid out in rows of 32."""
    embedding = positional.AxialRoPE(HEAD_DIM)
    return Turn(lambda n: embedding(n // 32, 32) * 2)


class Biased(nn.Module):
    """Encodings that add a bias to the scores."""

    def __init__(self, bias: nn.Module) -> None:
        super().__init__()
        self.bias = bias

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        return q @ k.mT / HEAD_DIM**0.5 + self.bias(q.shape[-2], k.shape[-2])


class Contextual(nn.Module):
    """CoPE, whose positions come from masked scores."""

    def __init__(self) -> None:
        super().__init__()
        self.cope = positional.CoPE(HEAD_DIM, TRAINED)

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        scores = (q @ k.mT / HEAD_DIM**0.5).masked_fill(future(q.shape[-2]), float("-inf"))
        return scores + self.cope(q, scores)


# name -> (what is added to the words, what makes the scores)
Maker = Callable[[], tuple[nn.Module | None, Any]]
FACTOR = LENGTHS[-1] / TRAINED
SCHEMES: dict[str, Maker] = {
    "sinusoidal": lambda: (positional.SinusoidalEncoding(D_MODEL), None),
    "learned": lambda: (positional.LearnedEncoding(TRAINED, D_MODEL), None),
    "shaw": lambda: (None, positional.ShawEncoding(HEAD_DIM, 32, values=False).scores),
    "transformer_xl": lambda: (None, positional.TransformerXLEncoding(D_MODEL, HEADS, HEAD_DIM)),
    "t5_bias": lambda: (None, Biased(positional.T5Bias(HEADS, bidirectional=False))),
    "deberta": lambda: (None, positional.DebertaEncoding(D_MODEL, HEADS, HEAD_DIM, 32)),
    "rope": lambda: (None, rotary()),
    "rope, linear": lambda: (None, rotary(rope_scaling.LinearScaling(FACTOR))),
    "rope, dynamic NTK": lambda: (None, rotary(rope_scaling.DynamicNTKScaling(1.0, TRAINED))),
    "rope, YaRN": lambda: (None, rotary(rope_scaling.YaRNScaling(FACTOR, TRAINED))),
    "rope, Llama 3": lambda: (None, rotary(rope_scaling.Llama3Scaling(FACTOR, TRAINED))),
    "xpos": lambda: (None, fading()),
    "mrope": lambda: (None, multimodal()),
    "axial_rope": lambda: (None, axial()),
    "alibi": lambda: (None, Biased(positional.ALiBi(HEADS))),
    "nope": lambda: (None, Biased(positional.NoPE())),
    "fire": lambda: (None, Biased(positional.FIRE(HEADS, threshold=64.0))),
    "cope": lambda: (None, Contextual()),
}


def future(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).triu(1)


class Layer(nn.Module):
    """Attention with its own encoding, then SwiGLU."""

    def __init__(self, scores: Any) -> None:
        super().__init__()
        self.norms = nn.ModuleList(RMSNorm(D_MODEL) for _ in range(2))
        self.qkv, self.out = nn.Linear(D_MODEL, 3 * D_MODEL, bias=False), nn.Linear(D_MODEL, D_MODEL, bias=False)
        self.mlp = SwiGLU(D_MODEL, 2 * D_MODEL)
        owner = getattr(scores, "__self__", scores)
        self.encoding = owner if isinstance(owner, nn.Module) else None
        self.scores = scores

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in self.qkv(self.norms[0](x)).chunk(3, -1))
        scores = q @ k.mT / HEAD_DIM**0.5 if self.scores is None else self.scores(q, k)
        shares = scores.masked_fill(future(x.shape[1]), float("-inf")).softmax(-1)
        x = x + self.out((shares @ v).transpose(1, 2).flatten(-2))
        return x + self.mlp(self.norms[1](x))


class Decoder(nn.Module):
    """A byte-level decoder with one scheme of positions."""

    def __init__(self, make: Maker) -> None:
        super().__init__()
        self.words = nn.Embedding(128, D_MODEL)
        self.absolute = make()[0]
        self.layers = nn.Sequential(*(Layer(make()[1]) for _ in range(LAYERS)))
        self.norm, self.head = RMSNorm(D_MODEL), nn.Linear(D_MODEL, 128, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids)
        if self.absolute is not None:
            x = x + self.absolute(torch.arange(ids.shape[1]))
        return self.head(self.norm(self.layers(x)))


def text() -> tuple[Tensor, Tensor]:
    """Bytes to train on, and held-out ones."""
    joined = "\n".join(pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics))
    ids = torch.tensor(list(joined.encode("ascii", "replace")))
    cut = len(ids) * 9 // 10
    return ids[:cut], ids[cut:]


def train(model: Decoder, ids: Tensor, steps: int) -> None:
    """Adam with warm-up and a cosine; the same batches for every scheme."""
    draw = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / 50, 0.5 + 0.5 * math.cos(math.pi * s / steps))
    )
    for _ in range(steps):
        starts = torch.randint(0, len(ids) - TRAINED - 1, (BATCH,), generator=draw)
        batch = torch.stack([ids[s : s + TRAINED + 1] for s in starts.tolist()])
        loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


@torch.no_grad()
def perplexity(model: Decoder, ids: Tensor, length: int, at_a_time: int = 4) -> float:
    """Of the last bytes of held-out texts that end at the same places, whatever the length."""
    ends = torch.linspace(max(LENGTHS) + 1, len(ids) - 1, TEXTS).long().tolist()
    losses = []
    for batch in torch.stack([ids[end - length - 1 : end] for end in ends]).split(at_a_time):
        logits = model(batch[:, :-1])[:, -LAST:]
        losses.append(F.cross_entropy(logits.flatten(0, 1), batch[:, -LAST:].flatten()))
    return math.exp(float(torch.stack(losses).mean()))


def measure(names: list[str], steps: int, resume: bool = False) -> dict[str, Any]:
    """Train and read each, print a table, keep what is done in the results' file."""
    learn, held_out = text()
    result: dict[str, Any] = {"trained_length": TRAINED, "steps": steps, "torch": torch.__version__, "rows": {}}
    if resume and RESULTS.is_file():
        result["rows"] = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
        names = [name for name in names if name not in result["rows"]]
    trained: dict[str, dict[str, Tensor]] = {}
    print(f"{'perplexity at':20}" + "".join(f"{n:>9}" for n in LENGTHS))
    for name in names:
        torch.manual_seed(0)
        started, model, family = time.perf_counter(), Decoder(SCHEMES[name]), name.split(",")[0]
        if family in trained:  # a scaling is another way to read the same weights
            model.load_state_dict(trained[family])
        else:
            train(model, learn, steps)
            trained[family] = model.state_dict()
        lengths = [n for n in LENGTHS if name != "learned" or n <= TRAINED]
        row = {str(n): perplexity(model, held_out, n) for n in lengths}
        result["rows"][name] = row | {"seconds": time.perf_counter() - started}
        cells = "".join(f"{row[str(n)]:9.2f}" if n in lengths else f"{'none':>9}" for n in LENGTHS)
        print(f"{name:20}{cells}", flush=True)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def in_order(result: dict[str, Any]) -> list[tuple[str, list[float]]]:
    """Names and perplexities, the best at the greatest length first; what cannot be read there comes last."""
    rows = [(name, [row[str(n)] for n in LENGTHS if str(n) in row]) for name, row in result["rows"].items()]
    return sorted(rows, key=lambda row: (-len(row[1]), row[1][-1]))


def card(result: dict[str, Any]) -> str:
    """The table in Markdown, with the comments around it."""
    head = [f"| Perplexity of the last {LAST} bytes of | " + " | ".join(f"{n:,}" for n in LENGTHS) + " |"]
    head.append("|---" * (1 + len(LENGTHS)) + "|")
    lines = []
    for name, values in in_order(result):
        cells = [f"{value:.2f}" for value in values] + ["none"] * (len(LENGTHS) - len(values))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    told = (
        f"Trained on {TRAINED} bytes for {result['steps']} steps of {BATCH} texts, one seed; a decoder of {LAYERS} "
        f"layers of width {D_MODEL}; {TEXTS} held-out texts. The scalings of RoPE read the weights that plain RoPE "
        "learnt. LongRoPE is not in the table: its factors come from a search. Again: "
        "`python benchmarks/length_extrapolation.py --card`."
    )
    if absent := [name for name in SCHEMES if name not in result["rows"]]:
        told = f"**Not measured yet:** {'; '.join(absent)} (`--resume` goes on from here). {told}"
    picture = f"![How much worse each reads beyond what it was trained on](../assets/{PICTURE})"
    return "\n".join([BEGIN, "", picture, "", *head, *lines, "", told, "", END, ""])


def draw(result: dict[str, Any], path: Path) -> None:
    """A row for each scheme, a dot for each length: perplexity over that at the trained length, logarithmic."""
    from matplotlib.figure import Figure

    rows = [(name, values) for name, values in in_order(result) if len(values) > 1]
    figure = Figure(figsize=(7.5, 0.28 * len(rows) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    for i, colour in zip(range(1, len(LENGTHS)), ("#9ecae1", "#4292c6", "#08306b"), strict=True):
        label = f"{LENGTHS[i] // TRAINED} times as long"
        axes.scatter([v[i] / v[0] for _, v in rows], range(len(rows)), s=42, color=colour, label=label, zorder=3)
    axes.axvline(1, color="0.6", linewidth=1)
    axes.set(xscale="log", xlabel=f"perplexity over that at the trained length ({TRAINED} bytes)")
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.invert_yaxis()
    axes.grid(axis="x", color="0.9")
    for ticks in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        ticks(lambda value, _: f"{value:g}")
    figure.legend(frameon=False, loc="outside upper center", ncols=len(LENGTHS) - 1)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, and write the card if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SCHEMES).replace(", ", "; "), help="names, by commas; '; ' inside")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there, measure the others")
    parser.add_argument("--card", action="store_true", help="write table and picture into the docs")
    options = parser.parse_args()
    result = measure([part.replace("; ", ", ") for part in options.only.split(",")], options.steps, options.resume)
    if options.card:
        draw(result, ROOT / "docs" / "assets" / PICTURE)
        page = PAGE.read_text(encoding="utf-8")
        made = re.sub(rf"{BEGIN}.*?{END}\n", lambda _: card(result), page, count=1, flags=re.DOTALL)
        PAGE.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()

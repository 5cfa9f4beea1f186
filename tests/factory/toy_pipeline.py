"""A pipeline of three toy stages over the real engine, run as a process of its own by the fault tests.

    python toy_pipeline.py ARGUMENTS...     the real command line with these stages
    python toy_pipeline.py --zygote         one JSON request a line: start (fork a run), ended, wait; see zygote.py

The zygote has torch imported and started no thread; its children are real processes that die real deaths, without
paying two seconds of imports each.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

import torch
from torch import nn

from nexus.core.files import atomic_folder, atomic_write_bytes, kill_point
from nexus.training.checkpoint import (
    has_checkpoint,
    load_checkpoint,
    remove_checkpoints,
    restore_rng,
    rng_state,
    save_checkpoint,
    seed_everything,
)
from nexus_final.cli import main
from nexus_final.config import RunConfig
from nexus_final.runner import Context, Estimate, Stage

BLOCKS = 3
WIDTH = 512  # a checkpoint of 100 kB: larger than the state file, small enough for the sweep


class Cut(Stage):
    """Write a few blocks of seeded numbers, one at a time."""

    name = "cut"

    def inputs(self, ctx: Context) -> dict:
        return ctx.config.subset("seed", "extract_tokens")

    def run(self, ctx: Context) -> list[Path]:
        done = ctx.blocks()
        with ctx.progress("cut", BLOCKS, len(done)) as bar:
            for key in map(str, range(BLOCKS)):
                if key not in done:
                    numbers = torch.randn(64, generator=torch.Generator().manual_seed(ctx.config.seed + int(key)))
                    path = ctx.paths.memory / f"block{key}.bin"
                    atomic_write_bytes(path, numbers.numpy().tobytes())
                    ctx.add_block(key, path)
                    bar.advance()
                ctx.control.check()
        return [ctx.paths.memory]

    def discard(self, ctx: Context) -> None:
        for path in ctx.paths.memory.glob("block*.bin"):
            path.unlink()

    def estimate(self, ctx: Context) -> Estimate:
        return Estimate(seconds=1, disk=BLOCKS * 256, memory=1000)


class Train(Stage):
    """Train a small network with dropout and AdamW on the blocks; every draw of every generator matters."""

    name = "train"
    needs = ("cut",)

    def inputs(self, ctx: Context) -> dict:
        return ctx.config.subset("seed", "train_tokens")

    def run(self, ctx: Context) -> list[Path]:
        seed_everything(ctx.config.seed)
        self.model = nn.Sequential(nn.Linear(8, WIDTH), nn.Dropout(0.2), nn.Linear(WIDTH, 8))
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.step = 0
        if ctx.resuming and has_checkpoint(ctx.paths.checkpoint_latest):
            self._load(ctx)
        data = [torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.float32).view(8, 8) for path in blocks(ctx)]
        while self.step < ctx.config.train_tokens:
            self._one_step(data)
            if self.step % 4 == 0:
                self._save(ctx)
            ctx.control.safe_point(lambda: self._save(ctx))
        self._save(ctx)
        return [ctx.paths.checkpoint_latest]

    def _one_step(self, data: list[torch.Tensor]) -> None:
        batch = data[torch.randint(len(data), ()).item()]
        loss = (self.model(batch) - batch.flip(0)).square().mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.step += 1
        kill_point("train.step")
        if pause := float(os.environ.get("TOY_SLEEP", "0")):
            print(f"step {self.step}", flush=True)
            time.sleep(pause)

    def _save(self, ctx: Context) -> None:
        payload = {"step": self.step, "model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}
        digest = save_checkpoint(ctx.paths.checkpoint_latest, {**payload, "rng": rng_state()})
        ctx.add_checkpoint(self.step, ctx.paths.checkpoint_latest, digest, {"loss": 0.5})

    def _load(self, ctx: Context) -> None:
        saved = load_checkpoint(ctx.paths.checkpoint_latest)
        self.step = saved["step"]
        self.model.load_state_dict(saved["model"])
        self.optimiser.load_state_dict(saved["optimiser"])
        restore_rng(saved["rng"])

    def discard(self, ctx: Context) -> None:
        remove_checkpoints(ctx.paths.checkpoint_latest)


class Export(Stage):
    """Put the trained weights into the release folder as raw bytes."""

    name = "export"
    needs = ("train",)

    def run(self, ctx: Context) -> list[Path]:
        saved = load_checkpoint(ctx.paths.checkpoint_latest)
        with atomic_folder(ctx.paths.release) as folder:
            weights = b"".join(tensor.numpy().tobytes() for tensor in saved["model"].values())
            (folder / "weights.bin").write_bytes(weights)
            (folder / "card.txt").write_text(f"steps {saved['step']}\n")
        return [ctx.paths.release]


def blocks(ctx: Context) -> list[Path]:
    return sorted(ctx.artefacts("cut")[0].glob("block*.bin"))


def build_stages(config: RunConfig) -> list[Stage]:
    return [Cut(), Train(), Export()]


def zygote() -> None:
    weight = nn.Parameter(torch.zeros(1))
    weight.grad = torch.zeros(1)
    torch.optim.AdamW([weight]).step()  # the first step imports half of torch; pay for it once
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)


def _answer(request: dict) -> dict:
    if request["op"] == "start":
        child = os.fork()
        if child == 0:
            _child(request)
        return {"pid": child}
    if request["op"] == "ended":  # a look that leaves the child's status to be waited for
        return {"ended": os.waitid(os.P_PID, request["pid"], os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None}
    return {"status": os.waitstatus_to_exitcode(os.waitpid(request["pid"], 0)[1])}


def _child(request: dict) -> None:
    names = [request["terminal"] or os.devnull, request["terminal"] or request["output"]]
    names.append(request["terminal"] or request["errors"])
    for number, name in enumerate(names):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT, 0o644), number)
    os.environ.update(request["env"])
    if request["limit"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["limit"], request["limit"]))
    status = 1
    try:
        status = main(request["argv"], build_stages)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


if __name__ == "__main__":
    if sys.argv[1:] == ["--zygote"]:
        zygote()
    else:
        sys.exit(main(sys.argv[1:], build_stages))

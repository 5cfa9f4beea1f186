"""What `nexus train` does: a TOML file to a trained model, with a plan before and a report after.

[model]                        # a HybridLM: fields of HybridConfig, or recipe = "tiny"; or transformers = "folder"
recipe = "tiny"

[data]
files = ["book.txt"]           # .txt, .jsonl or .parquet; their ids are bytes, or a tokenizer's
tokenizer = "tokenizer.json"   # may be left out
held_out = 0.05

[training]                     # fields of TrainingConfig
steps = 200
evaluate_every = 50

[lora]                         # may be left out
rank = 8
"""

from __future__ import annotations

import json
import logging
import platform
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from html import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nexus.core.config import BaseConfig, ConfigError, fault, in_range, positive, unknown_keys
from nexus.core.hybrid_config import HybridConfig
from nexus.core.state_space import HybridLM
from nexus.training.audit.page import write_page
from nexus.training.audit.record import read_record
from nexus.training.callbacks import ConsoleLogger
from nexus.training.config import TrainingConfig
from nexus.training.control import RunControl
from nexus.training.loop import Trainer
from nexus.training.lora import apply_lora, save_adapter
from nexus.training.objectives import held_out_loss
from nexus.training.processes import joined

SECTIONS = ("model", "data", "training", "lora")
BYTES = 257  # ids of texts without a tokenizer: 256 bytes, and one that separates documents
RECIPES = {"tiny": HybridConfig.tiny}


@dataclass(frozen=True, kw_only=True)
class DataConfig(BaseConfig):
    """Texts to learn from. ``held_out`` is the share of blocks that is looked at and never learnt."""

    files: tuple[str, ...]
    tokenizer: str | None = None
    held_out: float = 0.05

    def faults(self) -> list[str]:
        found = in_range(self, "held_out", 0.0, 0.5)
        missing = [file for file in self.files if not Path(file).is_file()]
        found += [fault("files", file, "does not exist", "give .txt, .jsonl or .parquet files") for file in missing]
        if not self.files:
            found.append(fault("files", (), "is empty", "name at least one file"))
        if self.tokenizer is not None and not Path(self.tokenizer).is_file():
            found.append(fault("tokenizer", self.tokenizer, "does not exist", "give a tokenizer.json, or leave it out"))
        return found


@dataclass(frozen=True, kw_only=True)
class LoRAConfig(BaseConfig):
    """Arguments of :func:`nexus.training.lora.apply_lora`."""

    targets: tuple[str, ...] = ("all-linear",)
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0

    def faults(self) -> list[str]:
        return [*positive(self, "rank", "alpha"), *in_range(self, "dropout", 0.0, 1.0, open_high=True)]


@dataclass(frozen=True)
class Plan:
    """What would run. ``model`` are the fields of the model's section as they stand in the file."""

    model: Mapping[str, Any]
    data: DataConfig
    training: TrainingConfig
    lora: LoRAConfig | None = None
    facts: dict[str, str] = field(default_factory=dict)


def read_plan(path: Path | str, settings: Sequence[str] = ()) -> Plan:
    """Read a configuration file, with ``section.key=value`` settings on top (`training.` may be left out).

    Raises:
        FileNotFoundError: there is no such file. ValueError: it is no TOML.
        ConfigError: all that is wrong in all sections, at once.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: does not exist; see docs/tutorials/training.md for one to begin with")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: is no TOML: {error}; mend that line") from None
    faults = _no_tables(content)
    for setting in settings:
        _set(content, setting)
    faults += unknown_keys(content, SECTIONS)
    faults += [
        fault(name, None, "is missing", f"add a section [{name}]") for name in ("model", "data") if name not in content
    ]
    made: dict[str, Any] = {}
    for name, kind in (("data", DataConfig), ("training", TrainingConfig), ("lora", LoRAConfig)):
        try:
            made[name] = kind.from_dict(content.get(name, {})) if name in content or name == "training" else None
        except ConfigError as error:
            faults += [f"[{name}] {line}" for line in error.faults]
    try:
        _model_config(content.get("model", {}), BYTES)
    except ConfigError as error:
        faults += [f"[model] {line}" for line in error.faults]
    if made.get("data") and made.get("training") and made["training"].evaluate_every and not made["data"].held_out:
        cure = "hold some texts out, or set training.evaluate_every = 0"
        faults.append("[data] " + fault("held_out", 0.0, "leaves nothing to evaluate", cure))
    if faults:
        raise ConfigError(str(path), faults)
    return Plan(content["model"], made["data"], made["training"], made["lora"])


def _no_tables(content: dict[str, Any]) -> list[str]:
    """Faults of sections that are plain values; they are emptied, so that the others can be judged."""
    plain = {name: content[name] for name in SECTIONS if not isinstance(content.get(name, {}), dict)}
    content |= {name: {} for name in plain}
    return [
        fault(name, value, "is no section", f"write a line [{name}], and its keys below it")
        for name, value in plain.items()
    ]


def _set(content: dict[str, Any], setting: str) -> None:
    key, sign, text = setting.partition("=")
    section, dot, name = key.partition(".")
    if not sign or not key:
        raise ValueError(f"--set: {setting!r} is not KEY=VALUE; for example --set training.learning_rate=1e-4")
    if not dot:
        section, name = "training", key
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a word without quotes
    if not isinstance(content.setdefault(section, {}), dict):
        raise ValueError(f"--set: {section!r} is no section; use one of {', '.join(SECTIONS)}")
    content[section][name] = value


def _model_config(section: Mapping[str, Any], vocabulary: int) -> HybridConfig | None:
    """The configuration of a HybridLM; None for a transformers model.

    Raises:
        ConfigError: faulty fields.
    """
    if "transformers" in section:
        extra = [key for key in section if key != "transformers"]
        if extra or not Path(str(section["transformers"])).is_dir():
            cure = "give a folder with config.json and safetensors, and no other key"
            raise ConfigError("model", [fault("transformers", section["transformers"], "can't be used", cure)])
        return None
    given = {key: value for key, value in section.items() if key != "recipe"}
    recipe = section.get("recipe")
    if recipe is not None and recipe not in RECIPES:
        known = [f.name for f in fields(HybridConfig)]
        wrong = fault("recipe", recipe, "is not a choice", f"give one of {', '.join(RECIPES)}")
        raise ConfigError("model", [wrong, *unknown_keys(given, known)])
    sizes = RECIPES[recipe]().to_dict() if recipe is not None else {}
    return HybridConfig.from_dict({**sizes, "vocab_size": vocabulary, **given})


def build(plan: Plan) -> tuple[nn.Module, Tensor, Tensor]:
    """The model, blocks to learn (n, T) and blocks to look at.

    Raises:
        ValueError: the texts are too short.
    """
    length = plan.training.max_seq_length
    blocks, vocabulary = read_blocks(plan.data, length, plan.training.seed)
    torch.manual_seed(plan.training.seed)
    config = _model_config(plan.model, vocabulary)
    model = _transformers_model(str(plan.model["transformers"])) if config is None else HybridLM(config)
    if plan.lora is not None:
        apply_lora(model, plan.lora.targets, plan.lora.rank, plan.lora.alpha, plan.lora.dropout)
    _refuse_large_ids(model, blocks)
    kept = round(len(blocks) * plan.data.held_out)
    if plan.training.evaluate_every and not kept:
        raise ValueError(
            f"data.held_out = {plan.data.held_out}: of {len(blocks)} blocks none is left to evaluate; hold more out, "
            "add texts, or set training.evaluate_every = 0"
        )
    return model, blocks[kept:], blocks[:kept]


def _refuse_large_ids(model: nn.Module, blocks: Tensor) -> None:
    """An id that the embedding doesn't have would end in an index error in the middle of a step."""
    known = next((m.num_embeddings for m in model.modules() if isinstance(m, nn.Embedding)), None)
    if known is not None and int(blocks.max()) >= known:
        raise ValueError(
            f"data.tokenizer: gives ids up to {int(blocks.max())}, the model knows {known}; take the model's own "
            "tokenizer, or leave model.vocab_size out"
        )


def read_blocks(data: DataConfig, length: int, seed: int) -> tuple[Tensor, int]:
    """Blocks (n, length) of ids in a seeded order, and the size of the vocabulary.

    Raises:
        ValueError: all texts together are shorter than two blocks.
    """
    from nexus.data.blocks import pack_tokens
    from nexus.data.readers import read_documents

    documents = [d for file in data.files for d in read_documents(Path(file), Path(file).name)]
    if data.tokenizer is None:
        vocabulary = BYTES
        blocks = pack_tokens(documents, _Bytes(), length, seed, BYTES - 1)
    else:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(data.tokenizer)
        vocabulary = tokenizer.get_vocab_size()
        separator = tokenizer.token_to_id("<|endoftext|>") or 0
        blocks = pack_tokens(documents, tokenizer, length, seed, separator)
    if len(blocks) < 2:
        raise ValueError(
            f"files: give {len(blocks)} blocks of {length} ids; add texts, or set training.max_seq_length lower"
        )
    return torch.from_numpy(blocks).long(), vocabulary


class _Bytes:
    """A tokenizer whose ids are the bytes of a text."""

    class _Encoding:
        def __init__(self, text: str) -> None:
            self.ids = list(text.encode())

    def encode_batch(self, texts: Sequence[str], add_special_tokens: bool = False) -> list[_Encoding]:
        return [self._Encoding(text) for text in texts]


def _transformers_model(folder: str) -> nn.Module:
    try:
        import transformers
    except ImportError as error:
        raise ImportError("model.transformers needs the package; pip install 'nexus-ai[factory]'") from error
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def describe(plan: Plan, model: nn.Module, learnt: Tensor, looked_at: Tensor) -> list[tuple[str, str]]:
    """The plan as rows of text: what a person wants to know before it runs."""
    t = plan.training
    parameters = sum(p.numel() for p in model.parameters())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    tokens = t.steps * t.batch_size * t.gradient_accumulation_steps * learnt.shape[1]
    return [
        ("parameters", f"{parameters:,} ({trainable:,} learn)"),
        ("texts", f"{len(learnt):,} blocks of {learnt.shape[1]} ids to learn, {len(looked_at)} to look at"),
        ("steps", f"{t.steps:,} of {t.batch_size} x {t.gradient_accumulation_steps} blocks"),
        ("tokens", f"{tokens:,} ({tokens / max(1, learnt.numel()):.1f} times over the texts)"),
        ("optimiser", f"{t.optimizer}, rate {t.learning_rate:g}, {t.schedule}, clipped at {t.max_grad_norm}"),
        ("precision", t.precision),
        ("weights, gradients, moments", f"{(4 * parameters + 12 * trainable) / 2**20:.1f} MB"),
        ("work", f"about {6 * parameters * tokens:.1e} floating-point operations"),
    ]


def show_plan(rows: Sequence[tuple[str, str]]) -> None:
    """Print the rows."""
    for name, value in rows:
        print(f"{name:28} {value}")


def run(path: Path | str, folder: Path | str, settings: Sequence[str] = (), plan_only: bool = False) -> int:
    """Plan, train, report; returns the exit code.

    Raises:
        Interrupted: asked to stop; running it again goes on from there.
    """
    plan, folder = read_plan(path, settings), Path(folder)
    with joined() as processes:
        model, learnt, looked_at = build(plan)
        rows = describe(plan, model, learnt, looked_at)
        if processes.first:
            show_plan(rows)
        if plan_only:
            return 0
        with run_log(folder / "logs" / "train.log"), RunControl(announce=True) as control:
            trainer = Trainer(
                model,
                learnt,
                plan.training,
                folder=folder,
                control=control,
                evaluate=_evaluation(looked_at, plan.training.batch_size),
                callbacks=[ConsoleLogger()],
            )
            trainer.auditor.causal = True
            trainer.run()
        if processes.first:
            _leave(trainer, plan, folder, rows)
    return 0


def _evaluation(looked_at: Tensor, batch_size: int) -> Any:
    batches = looked_at.split(batch_size)
    return (lambda model: held_out_loss(model, batches)) if len(looked_at) else None


def _leave(trainer: Trainer, plan: Plan, folder: Path, rows: Sequence[tuple[str, str]]) -> None:
    """Write the model, and the report."""
    if plan.lora is not None:
        print(f"adapter: {save_adapter(trainer.model, folder / 'adapter')}")
    elif isinstance(trainer.model, HybridLM):
        print(f"model:   {trainer.model.save(folder / 'model')}")
    else:
        trainer.model.save_pretrained(folder / "model")  # type: ignore[operator]  # a transformers model
        print(f"model:   {folder / 'model'}")
    losses = [row["held_out_loss"] for row in trainer.history if "held_out_loss" in row]
    last = [("held-out loss", f"{min(losses):.4f} nats at best, {losses[-1]:.4f} at the end")] if losses else []
    threads = f"{torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"
    machine = [("machine", f"{platform.machine()}, torch {torch.__version__}, {threads}")]
    table = "".join(f"<tr><th>{escape(a)}</th><td>{escape(b)}</td></tr>" for a, b in [*rows, *last, *machine])
    settings = escape(json.dumps(plan.training.to_dict(), indent=1))
    more = (
        f"<section><table>{table}</table><details><summary>settings</summary><pre>{settings}</pre></details></section>"
    )
    record = read_record(folder)  # of the whole run, also of what it did before it was taken up again
    page = write_page(record, folder / "report.html", f"Training in {folder.name}", more)
    print(f"report:  {page}")
    for finding in trainer.auditor.findings():
        print(f"\n{finding}")


@contextmanager
def run_log(path: Path) -> Iterator[None]:
    """Append everything that the logger `nexus` says to a file, for the length of the block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logger = logging.getLogger("nexus")
    level = logger.level
    logger.addHandler(handler)
    if not logger.isEnabledFor(logging.INFO):
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()

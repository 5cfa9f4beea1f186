"""Sequential layer ingestion: a teacher larger than memory, pushed through a text one layer at a time.

The one idea: we score a fixed text, we don't chat. So the whole block of text goes through layer 1, then through layer
2, and each layer is read once, used on all tokens, and dropped; the next is read meanwhile. The hidden states between
two layers are all there is to keep, and to resume from. Order of work: FlexGen (arXiv:2303.06865) at its limit. ::

    teacher = SequentialLayerIntegrator("path/to/llama", work="run/sli")
    Librarian("memory/big").extract(teacher, sequences)
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from nexus.core.state_space import Block
from nexus.inference.hf_config import Scales, read_recipe
from nexus.inference.weight_layouts import LLAMA, name_table
from nexus.layers.components import RMSNorm
from nexus.training.control import RunControl
from nexus.training.sparse_stream import SparseAccumulator
from nexus.training.sparse_targets import SparseTargets
from nexus_final.errors import UserError
from nexus_final.headroom import free_memory, should_stream
from nexus_final.hidden_states import HiddenStates
from nexus_final.layer_loader import LayerLoader
from nexus_final.paths import Paths
from nexus_final.sli_pass import Pass, clear, digest
from nexus_final.teacher_source import BlockRequest, Progress, Sparsity
from nexus_final.tensor_files import TensorFiles

__all__ = ["SequentialLayerIntegrator", "free_memory", "should_stream"]

LOG = logging.getLogger("nexus_final.sli")
EMBED, NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"
_HEAD_TOKENS = 256  # tokens whose logits are held at once


class SequentialLayerIntegrator:
    """A streamed teacher of the Llama family; a :class:`nexus_final.teacher_source.TeacherSource`.

    Memory holds two layers and a slice of text, the disk at most about 20 GB of hidden states beside the teacher.

    Args:
        folder: Hugging Face folder: config.json and safetensors, one file or sharded with an index.
        work: folder for hidden states, which a killed run goes on from. Give the same one again to resume.
        memory_bytes: hidden states up to this size stay in memory; above they go through files in ``work``.
        spool_bytes: most that those files may take. More text than fits is scored in several passes.
        batch_tokens: tokens that go through a layer at once.
        slice_bytes: size of a slice of the embedding or the head.
        commit_every: layers between two commits while hidden states are in memory; more saves writing, and costs that
            many layers if killed. On disk every layer is committed.
        consume: delete each file of the teacher as soon as it isn't needed any more. Only below ``cache``.
        cache: where our own copies of teachers lie; the run's cache by default.
        identity: hash of the teacher if known; hidden states of another one are not taken for its own.
        device, dtype: where and in what the layers compute.

    Attributes:
        files: the teacher's tensors, with a count of the bytes read.
        seconds: wall time by part: "wait" (for a layer to be read), "layers", "commit", "head".
    """

    def __init__(
        self,
        folder: Path | str,
        work: Path | str,
        *,
        memory_bytes: int = 2 * 2**30,
        spool_bytes: int = 20 * 10**9,
        batch_tokens: int = 2_048,
        slice_bytes: int = 64 * 2**20,
        commit_every: int = 1,
        consume: bool = False,
        cache: Path | None = None,
        identity: str = "",
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.folder, self.work = Path(folder), Path(work)
        recipe = read_recipe(self.folder)
        if recipe.layout is not LLAMA or recipe.scales != Scales():
            raise UserError(
                str(self.folder),
                f"is of the {recipe.layout.name} family, only the Llama family can be streamed",
                "load it whole, or choose a teacher of the Llama family",
            )
        self.config, self._names = recipe.config, name_table(recipe.config, recipe.layout)
        self.files = TensorFiles(self.folder)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._memory_bytes, self._spool_bytes = memory_bytes, spool_bytes
        self._batch_tokens, self._slice_bytes = batch_tokens, slice_bytes
        self._commit_every, self._device, self._dtype = max(1, commit_every), torch.device(device), dtype
        self._consume = consume and _is_ours(self.folder, cache)
        text = (self.folder / "config.json").read_text(encoding="utf-8")
        self._identity = hashlib.sha256(f"{identity}\0{text}\0{dtype}".encode()).hexdigest()

    @property
    def vocab_size(self) -> int:
        """Number of tokens that the teacher knows."""
        return self.config.vocab_size

    # ---- what can be asked for ------------------------------------------------------------------------------------

    @torch.no_grad()
    def sparse_blocks(
        self,
        requests: Sequence[BlockRequest],
        sparsity: Sparsity,
        control: RunControl | None = None,
        progress: Progress | None = None,
    ) -> Iterator[tuple[int, SparseTargets]]:
        """See :class:`nexus_final.teacher_source.TeacherSource`. A stop is heard at every batch of a layer."""
        groups = self._groups(requests)
        if self._consume and len(groups) > 1:
            raise UserError(
                "spool_bytes",
                f"the text needs {len(groups)} passes over a teacher that is deleted as it goes",
                "raise it, extract fewer tokens, or keep the teacher's files",
            )
        for group in groups:
            job = _Job(control, progress, sum(requests[i].ids.numel() for i in group), self.config.n_layers + 1)
            begun, states = self._through_layers([requests[i].ids for i in group], job)
            yield from self._targets(begun, states, {i: requests[i] for i in group}, sparsity, job)
            begun.discard()
        clear(self.work)
        self._delete_files(self.config.n_layers + 2)

    @torch.no_grad()
    def logits(self, ids: Tensor) -> Tensor:
        """Logits (B, T, V) of ``ids`` (B, T), all of them: for small vocabularies and for comparisons."""
        begun, states = self._through_layers([ids], _Job(None, None, ids.numel(), self.config.n_layers + 1))
        norm = self._norm()
        pieces = [(norm(states.read(begun.part(digest(ids))).to(self._device)) @ w.t()).cpu() for w in self._head()]
        begun.discard()
        return torch.cat(pieces, dim=-1)

    # ---- passes ---------------------------------------------------------------------------------------------------

    def _groups(self, requests: Sequence[BlockRequest]) -> list[list[int]]:
        """Which requests go through the teacher together; a pass that was begun is finished first, as it was."""
        begun = Pass.find(self.work, self._identity)
        inside = [i for i, r in enumerate(requests) if begun is not None and digest(r.ids) in begun.blocks]
        if begun is not None and not inside:
            begun.discard()
        groups, free = ([inside] if inside else []), 0
        token_bytes = self.config.d_model * self._dtype.itemsize
        for i in sorted(set(range(len(requests))) - set(inside)):
            shape = requests[i].ids.shape
            if shape.numel() > free or shape[1] != requests[groups[-1][-1]].ids.shape[1]:
                groups.append([])
                free = max(self._memory_bytes, self._spool_bytes // 2) // token_bytes  # two files at a time
            groups[-1].append(i)
            free -= shape.numel()
        return groups

    def _through_layers(self, blocks: list[Tensor], job: _Job) -> tuple[Pass, HiddenStates]:
        """Push the text through all layers, or through those that a killed run has left."""
        begun = Pass.find(self.work, self._identity)
        if begun is None or any(digest(ids) not in begun.blocks for ids in blocks):
            begun = Pass.begin(self.work, self._identity, blocks)
        shape = (begun.sequences, begun.length, self.config.d_model)
        in_memory = math.prod(shape) * self._dtype.itemsize <= self._memory_bytes
        states = HiddenStates(self.work, shape, self._dtype, in_memory)
        try:
            if begun.committed is not None:
                states.load(begun.committed)
                job.done(begun.stage - 1, "resumed")
            else:
                self._embed(begun, blocks, states)
                begun = begun.commit(states, 1)
                self._delete_files(begun.stage)
            return self._layers(begun, states, job, every=self._commit_every if in_memory else 1), states
        finally:
            states.close()

    def _embed(self, begun: Pass, blocks: list[Tensor], states: HiddenStates) -> None:
        ids = torch.cat([blocks[i] for i in _first_of_each(blocks)]).flatten()
        assert len(ids) == begun.sequences * begun.length
        first = 0
        for rows in self._slices(EMBED):
            positions = ((ids >= first) & (ids < first + len(rows))).nonzero().squeeze(1)
            states.put(positions, rows.cpu()[ids[positions] - first])
            first += len(rows)

    def _layers(self, begun: Pass, states: HiddenStates, job: _Job, every: int) -> Pass:
        count = self.config.n_layers
        if begun.stage == count + 1:
            return begun
        loader = LayerLoader(self.config, self._names, self.files, self._device, self._dtype)
        with ThreadPoolExecutor(1, thread_name_prefix="sli-read") as reader:
            coming = reader.submit(loader.load, begun.stage - 1)
            for layer in range(begun.stage - 1, count):
                with self._clock("wait"):
                    block = coming.result()
                if layer + 1 < count:
                    coming = reader.submit(loader.load, layer + 1)
                with self._clock("layers"):
                    self._layer(loader, block, begun, states, job, f"layer {layer + 1}/{count}")
                stopping = job.stop_requested
                if (layer + 1) % every == 0 or layer + 1 == count or stopping:
                    with self._clock("commit"):
                        begun = begun.commit(states, layer + 2)
                    self._delete_files(begun.stage)
                job.check()
        return begun

    def _layer(
        self, loader: LayerLoader, block: Block, begun: Pass, states: HiddenStates, job: _Job, note: str
    ) -> None:
        rows = max(1, self._batch_tokens // begun.length)
        for name in begun.blocks:
            for part in begun.batches(name, rows):
                job.check()
                states.write(part, loader.apply(block, states.read(part).to(self._device)))
                job.done((part.stop - part.start) / begun.sequences, note)

    def _targets(
        self,
        begun: Pass,
        states: HiddenStates,
        requests: dict[int, BlockRequest],
        sparsity: Sparsity,
        job: _Job,
    ) -> Iterator[tuple[int, SparseTargets]]:
        """Final norm and head in slices of the vocabulary, each read once and used on all tokens."""
        norm, rows = self._norm(), max(1, self._batch_tokens // begun.length)
        collectors = {i: self._collectors(request, rows, sparsity) for i, request in requests.items()}
        for head in self._head():
            with self._clock("head"):
                for i, request in requests.items():
                    name, waiting = digest(request.ids), iter(collectors[i])
                    for part in begun.batches(name, rows):
                        job.check()
                        hidden = norm(states.read(part).to(self._device)).flatten(0, 1)
                        for tokens in hidden.split(_HEAD_TOKENS):
                            next(waiting).add(tokens @ head.t())
                        job.done((part.stop - part.start) / begun.sequences * len(head) / self.vocab_size, "head")
        for i, request in requests.items():
            parts = [collector.finish().map(Tensor.cpu) for collector in collectors.pop(i)]
            yield i, SparseTargets.cat(parts).reshape(*request.ids.shape)

    def _collectors(self, request: BlockRequest, rows: int, sparsity: Sparsity) -> list[SparseAccumulator]:
        """One for each piece of hidden states that is worked on at once; all draw from the block's own generator."""
        generator = torch.Generator().manual_seed(request.seed)
        k, samples, temperature = sparsity
        sizes = [len(p) for ids in request.ids.split(rows) for p in ids.flatten().split(_HEAD_TOKENS)]
        return [SparseAccumulator(n, self.vocab_size, k, samples, generator, temperature, self._device) for n in sizes]

    # ---- the teacher's tensors ------------------------------------------------------------------------------------

    def _slices(self, name: str) -> Iterator[Tensor]:
        """Rows of a (V, D) tensor, slice by slice, in one buffer."""
        width = self.config.d_model
        if self.files.entry(name).shape != (self.vocab_size, width):
            raise UserError(str(self.folder), f"tensor {name} doesn't fit config.json", "fetch the teacher again")
        rows = min(self.vocab_size, max(1, self._slice_bytes // (width * self._dtype.itemsize)))
        buffer = torch.empty(rows, width, dtype=self._dtype, device=self._device)
        for first in range(0, self.vocab_size, rows):
            part = buffer[: min(rows, self.vocab_size - first)]
            self.files.read(name, part, first)
            yield part

    def _head(self) -> Iterator[Tensor]:
        return self._slices(EMBED if self.config.tie_embeddings else HEAD)

    def _norm(self) -> RMSNorm:
        norm = RMSNorm(self.config.d_model, self.config.norm_eps).to(self._device, self._dtype).requires_grad_(False)
        self.files.read(NORM, norm.weight)
        return norm

    def _delete_files(self, stage: int) -> None:
        """With ``consume``: delete files of which nothing is needed after ``stage`` (see :class:`Pass`)."""
        if not self._consume:
            return
        needed = {file for name, file in self.files.home.items() if self._last_use(name) > stage}
        for file in set(self.files.home.values()) - needed:
            if (self.folder / file).exists():
                LOG.info("%s is used up: deleted", self.folder / file)
                (self.folder / file).unlink()

    def _last_use(self, name: str) -> int:
        """The stage after which a tensor isn't needed any more."""
        last = self.config.n_layers + 2
        if name == EMBED:
            return last if self.config.tie_embeddings else 1
        if name in (NORM, HEAD):
            return last
        parts = name.split(".")
        return int(parts[2]) + 2 if name.startswith("model.layers.") else 0

    @contextmanager
    def _clock(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start


class _Job:
    """Who asked for a pass: hears a stop, and is told of progress in tokens (a pass has ``units`` equal steps)."""

    def __init__(self, control: RunControl | None, progress: Progress | None, tokens: int, units: int) -> None:
        self._control, self._progress, self._unit = control, progress, tokens / units

    @property
    def stop_requested(self) -> bool:
        return self._control is not None and self._control.stop_requested

    def check(self) -> None:
        if self._control is not None:
            self._control.check()

    def done(self, units: float, note: str) -> None:
        if self._progress is not None:
            self._progress(units * self._unit, note)


def _first_of_each(blocks: Sequence[Tensor]) -> list[int]:
    """Places of blocks that differ from all before: the same text goes through once."""
    first: dict[str, int] = {}
    for i, ids in enumerate(blocks):
        first.setdefault(digest(ids), i)
    return list(first.values())


def _is_ours(folder: Path, cache: Path | None) -> bool:
    """True where the folder is a cached copy of ours.

    Raises:
        UserError: it is somebody else's.
    """
    home = (cache or Paths(Path()).cache).resolve()
    if not folder.resolve().is_relative_to(home):
        raise UserError(
            "consume", f"{folder} is not a cached copy below {home}", "its files are not ours to delete: leave it off"
        )
    return True

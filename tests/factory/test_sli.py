"""A teacher streamed layer by layer: the resident model's logits, each byte read once, the same bits after any kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from nexus.inference.bridge import load_hf_folder
from nexus.training.control import Interrupted, RunControl
from nexus.training.sparse_targets import SparseTargets
from nexus_final.errors import UserError
from nexus_final.headroom import _container_room, _room_without_psutil
from nexus_final.librarian import Librarian
from nexus_final.sli_integrator import SequentialLayerIntegrator, free_memory, should_stream
from nexus_final.teacher_source import BlockRequest, Sparsity
from tests.factory.tiny_llama import write_llama
from tests.factory.toy_extraction import PROJECT, cache_bytes, extraction_process, sequences

KILLED = -signal.SIGKILL
LAYERS = 4


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    write_llama(folder)
    return folder


@pytest.fixture(scope="module")
def runs():
    with extraction_process() as started:
        yield started


def streamed(folder: Path, work: Path, **settings) -> SequentialLayerIntegrator:
    return SequentialLayerIntegrator(folder, work, **{"batch_tokens": 32, "slice_bytes": 8_000, **settings})


def requests() -> list[BlockRequest]:
    return [BlockRequest(ids, seed) for seed, ids in enumerate(sequences().split(3))]


def collect(teacher: SequentialLayerIntegrator, wanted: list[BlockRequest], **options) -> list[SparseTargets]:
    found = dict(teacher.sparse_blocks(wanted, Sparsity(3, 5), **options))
    return [found[i] for i in range(len(wanted))]


def same(one: list[SparseTargets], other: list[SparseTargets]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.equal(getattr(a, name), getattr(b, name)) for a, b in pairs for name in a.__dataclass_fields__)


# ---- what it computes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"shards": 1},
        {"shards": 7, "tied": True},
        {"bias": True},
        {"dtype": torch.bfloat16},
        {"vocab_size": 64, "n_heads": 2, "n_layers": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("memory", [2**20, 0], ids=["memory", "disk"])
def test_logits_are_the_resident_models(tmp_path, kind, memory):
    write_llama(tmp_path / "llama", **kind)
    ids = torch.randint(0, 64, (5, 33))
    teacher = streamed(tmp_path / "llama", tmp_path / "work", memory_bytes=memory)
    with torch.no_grad():
        wanted = load_hf_folder(tmp_path / "llama")(ids).logits
    assert (teacher.logits(ids) - wanted).abs().max() <= 1e-5
    assert not (tmp_path / "work").exists()


def test_the_cache_is_the_resident_models_but_for_the_draws(llama, tmp_path):
    Librarian(tmp_path / "a", k=3, samples=5, block_tokens=48).extract(load_hf_folder(llama), sequences())
    Librarian(tmp_path / "b", k=3, samples=5, block_tokens=48).extract(streamed(llama, tmp_path / "work"), sequences())
    for index in range(3):
        (ids, resident), (same_ids, other) = (
            Librarian(tmp_path / "a").read(index),
            Librarian(tmp_path / "b").read(index),
        )
        assert torch.equal(ids, same_ids)
        assert torch.equal(resident.head_ids, other.head_ids)
        torch.testing.assert_close(resident.head_probs, other.head_probs, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(resident.residual, other.residual, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("tied", [False, True])
def test_every_byte_of_the_teacher_is_read_once(tmp_path, tied):
    """Tied weights are the embedding and the head, so they are read once for each."""
    write_llama(tmp_path / "llama", tied=tied)
    teacher = streamed(tmp_path / "llama", tmp_path / "work")
    collect(teacher, requests())
    sizes: dict[str, int] = {}
    for path in (tmp_path / "llama").glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            sizes |= {name: file.get_tensor(name).nbytes for name in file.keys()}  # noqa: SIM118
    if tied:
        sizes["model.embed_tokens.weight"] *= 2
    assert teacher.files.reads == sizes
    assert teacher.files.bytes_read == sum(sizes.values())


def test_bits_do_not_depend_on_where_states_lie_or_which_blocks_go_together(llama, tmp_path):
    whole = collect(streamed(llama, tmp_path / "w"), requests())
    assert same(collect(streamed(llama, tmp_path / "w", memory_bytes=0), requests()), whole)
    assert same(collect(streamed(llama, tmp_path / "w"), requests()[1:2]), whole[1:2])
    one_block = 48 * 32 * 4  # tokens, width, bytes
    teacher = streamed(llama, tmp_path / "w", memory_bytes=one_block, spool_bytes=0)
    assert same(collect(teacher, requests()), whole)
    layer = "model.layers.2.mlp.up_proj.weight"
    assert teacher.files.reads[layer] == 3 * 48 * 32 * 4  # three passes: the last block is shorter, but on its own


def test_twins_among_the_blocks(llama, tmp_path):
    twins = [requests()[0], requests()[0]._replace(seed=9), requests()[2]]
    found = collect(streamed(llama, tmp_path / "w"), twins)
    assert torch.equal(found[0].head_probs, found[1].head_probs)
    assert not torch.equal(found[0].tail_ids, found[1].tail_ids)
    assert same(found[2:], collect(streamed(llama, tmp_path / "w"), requests())[2:])


def test_progress_counts_tokens(llama, tmp_path):
    seen: list[tuple[float, str]] = []
    collect(streamed(llama, tmp_path / "w"), requests(), progress=lambda amount, note: seen.append((amount, note)))
    assert sum(amount for amount, _ in seen) == pytest.approx(112)
    assert {note for _, note in seen} == {*(f"layer {i}/4" for i in range(1, 5)), "head"}


# ---- resuming -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uninterrupted(runs, llama, tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    assert runs.run(root, llama, streamed=1) == 0
    return cache_bytes(root)


@pytest.mark.parametrize("streamed", [1, 2], ids=["memory", "disk"])
@pytest.mark.parametrize(
    "point", ["sli.states_written:1", "sli.states_written:3", "sli.committed:3", "sli.committed:5"]
)
def test_a_killed_run_goes_on_from_the_last_committed_layer(runs, llama, uninterrupted, tmp_path, streamed, point):
    assert runs.run(tmp_path, llama, streamed, point) == KILLED
    assert runs.run(tmp_path, llama, streamed) == 0
    assert cache_bytes(tmp_path) == uninterrupted
    assert not (tmp_path / "work").exists()
    done = {"sli.states_written:1": 0, "sli.states_written:3": 1, "sli.committed:3": 2, "sli.committed:5": 4}[point]
    reads = json.loads((tmp_path / "reads.json").read_text())
    read_again = {int(name.split(".")[2]) for name in reads if name.startswith("model.layers.")}
    assert read_again == set(range(done, LAYERS))


@pytest.mark.parametrize("number", [1, 7, 16, 29, 37, 43, 47])
def test_killed_anywhere_ends_with_the_same_bits(runs, llama, uninterrupted, tmp_path, number):
    assert runs.run(tmp_path, llama, 1, f"*:{number}") == KILLED
    assert runs.run(tmp_path, llama, 1) == 0
    assert cache_bytes(tmp_path) == uninterrupted
    assert not (tmp_path / "work").exists()


def test_blocks_that_were_stored_are_not_scored_again(runs, llama, uninterrupted, tmp_path):
    """Killed between two blocks of a finished pass: the rest comes from its states, no layer is read again."""
    assert runs.run(tmp_path, llama, 1, "librarian.block:1") == KILLED
    assert runs.run(tmp_path, llama, 1) == 0
    assert cache_bytes(tmp_path) == uninterrupted
    assert json.loads((tmp_path / "reads.json").read_text()) == ["lm_head.weight", "model.norm.weight"]


@pytest.mark.parametrize("every", [1, 3])
def test_a_stop_between_layers_loses_nothing(llama, tmp_path, every):
    control = RunControl()

    def stop_in_layer_two(amount: float, note: str) -> None:
        if note == "layer 2/4" and not control.stop_requested:
            last.append(amount)
            if len(last) == 5:  # batches of two sequences: of three, three and one
                control.request_stop("pause", 0)

    last: list[float] = []
    whole = collect(streamed(llama, tmp_path / "other"), requests())
    first = streamed(llama, tmp_path / "w", commit_every=every)
    with pytest.raises(Interrupted):
        collect(first, requests(), control=control, progress=stop_in_layer_two)
    second = streamed(llama, tmp_path / "w")
    assert same(collect(second, requests()), whole)
    assert "model.layers.1.mlp.up_proj.weight" not in second.files.reads
    assert "model.layers.2.mlp.up_proj.weight" in second.files.reads


def test_states_of_another_teacher_or_text_are_not_taken(llama, tmp_path):
    control = RunControl()
    with pytest.raises(Interrupted):
        collect(
            streamed(llama, tmp_path / "w"),
            requests(),
            control=control,
            progress=lambda *_: control.request_stop("stop", 130),
        )
    assert (tmp_path / "w" / "pass.json").exists()
    teacher = streamed(llama, tmp_path / "w", identity="another")
    collect(teacher, requests())
    assert "model.layers.0.mlp.up_proj.weight" in teacher.files.reads


def test_a_damaged_state_is_named(llama, tmp_path):
    control = RunControl()
    with pytest.raises(Interrupted):
        collect(
            streamed(llama, tmp_path / "w"),
            requests(),
            control=control,
            progress=lambda *_: control.request_stop("stop", 130),
        )
    (path,) = (tmp_path / "w").glob("hidden-*.bin")
    path.write_bytes(b"x" + path.read_bytes()[1:])
    with pytest.raises(UserError, match=f"{path.name}: is missing or damaged. cure: delete"):
        collect(streamed(llama, tmp_path / "w"), requests())


def test_what_is_not_ours_in_the_work_folder_stays(llama, tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "notes.txt").write_text("mine")
    collect(streamed(llama, tmp_path / "w"), requests())
    assert [path.name for path in (tmp_path / "w").iterdir()] == ["notes.txt"]


# ---- eating the teacher ---------------------------------------------------------------------------------------------


def weights(folder: Path) -> int:
    return len(list(folder.glob("*.safetensors")))


def test_files_of_our_cache_go_as_they_are_used_up(tmp_path):
    folder = tmp_path / "cache" / "llama"
    write_llama(folder, shards=6)
    left: list[int] = []
    teacher = streamed(folder, tmp_path / "w", consume=True, cache=tmp_path / "cache")
    wanted = collect(streamed(folder, tmp_path / "other"), requests())
    found = collect(teacher, requests(), progress=lambda *_: left.append(weights(folder)))
    assert same(found, wanted)
    assert left[0] > left[-1] > 0
    assert left == sorted(left, reverse=True)
    assert weights(folder) == 0
    assert (folder / "config.json").exists()


def test_a_stopped_run_goes_on_without_the_files_that_are_gone(tmp_path):
    folder, control = tmp_path / "cache" / "llama", RunControl()
    write_llama(folder, shards=6)
    wanted = collect(streamed(folder, tmp_path / "other"), requests())
    options = {"consume": True, "cache": tmp_path / "cache"}

    def stop_in_layer_three(amount: float, note: str) -> None:
        if note == "layer 3/4":
            control.request_stop("pause", 0)

    with pytest.raises(Interrupted):
        collect(streamed(folder, tmp_path / "w", **options), requests(), control=control, progress=stop_in_layer_three)
    assert 0 < weights(folder) < 6
    assert same(collect(streamed(folder, tmp_path / "w", **options), requests()), wanted)
    assert weights(folder) == 0
    collect(streamed(folder, tmp_path / "w", **options), [])  # all is stored: nothing is read, nothing is missed


def test_the_users_own_files_are_never_deleted(llama, tmp_path):
    with pytest.raises(UserError, match="not ours to delete"):
        streamed(llama, tmp_path / "w", consume=True, cache=tmp_path / "cache")
    with pytest.raises(UserError, match="not ours to delete"):
        streamed(llama, tmp_path / "w", consume=True)
    collect(streamed(llama, tmp_path / "w"), requests())
    assert weights(llama) == 3


def test_a_teacher_that_is_eaten_must_be_done_in_one_pass(tmp_path):
    write_llama(tmp_path / "llama")
    teacher = streamed(
        tmp_path / "llama", tmp_path / "w", consume=True, cache=tmp_path, memory_bytes=6_144, spool_bytes=0
    )
    with pytest.raises(UserError, match="3 passes"):
        collect(teacher, requests())
    assert weights(tmp_path / "llama") == 3


# ---- wrong teachers -------------------------------------------------------------------------------------------------


def test_a_missing_or_short_file_is_named(tmp_path):
    write_llama(tmp_path / "llama")
    (path,) = (tmp_path / "llama").glob("model-00002*")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(
        UserError, match=rf"{path.name}: is not a whole safetensors file .* cure: fetch the teacher again"
    ):
        streamed(tmp_path / "llama", tmp_path / "w").logits(sequences())
    path.unlink()
    with pytest.raises(UserError, match=f"{path.name}: does not exist"):
        streamed(tmp_path / "llama", tmp_path / "w").logits(sequences())


def test_an_index_may_not_point_elsewhere(tmp_path):
    write_llama(tmp_path / "llama")
    index = tmp_path / "llama" / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("model-00002", "../model-00002"))
    with pytest.raises(UserError, match="not a file of its own folder"):
        streamed(tmp_path / "llama", tmp_path / "w").logits(sequences())


@pytest.mark.parametrize(
    ("field", "value"), [("intermediate_size", 40), ("num_key_value_heads", 4), ("vocab_size", 99)]
)
def test_weights_that_do_not_fit_the_config_are_refused(tmp_path, field, value):
    write_llama(tmp_path / "llama")
    path = tmp_path / "llama" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(UserError, match="cure: fetch the teacher again"):
        streamed(tmp_path / "llama", tmp_path / "w").logits(sequences())


def test_other_families_are_refused(tmp_path):
    config = {"model_type": "bamba", "vocab_size": 9, "hidden_size": 8, "num_attention_heads": 2}
    config |= {"num_hidden_layers": 1, "intermediate_size": 8, "mamba_n_heads": 4, "mamba_d_head": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="only the Llama family can be streamed"):
        streamed(tmp_path, tmp_path / "w")


# ---- when to stream -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("billions", "needed", "free", "streams", "why"),
    [
        (61, 1, 2**50, True, "more than 60 B"),
        (60, 10, 100, False, "fits"),
        (7, 95, 100, True, "headroom is short"),
        (7, 28 * 2**30, 16 * 2**30, True, "28.0 GiB, 16.0 GiB are free"),
    ],
)
def test_when_to_stream(billions, needed, free, streams, why):
    decision, reason = should_stream(billions, needed, free)
    assert decision is streams
    assert why in reason


def test_the_machine_is_asked_for_its_memory(tmp_path):
    assert 2**26 < free_memory() < 2**46
    assert should_stream(0.1, 1)[0] is False
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    2048 kB\n")
    assert _room_without_psutil(tmp_path / "meminfo") == 2**21
    assert _room_without_psutil(tmp_path / "absent") > 0


def test_a_containers_limit_counts(tmp_path):
    for name, text in {
        "memory.max": "1000\n",
        "memory.current": "900\n",
        "memory.stat": "anon 1\ninactive_file 50\n",
    }.items():
        (tmp_path / name).write_text(text)
    assert _container_room(tmp_path) == 150
    (tmp_path / "memory.max").write_text("max\n")
    assert _container_room(tmp_path) is None
    assert _container_room(tmp_path / "absent") is None


@pytest.mark.slow
def test_memory_stays_far_below_the_teachers_size(tmp_path):
    command = [
        sys.executable,
        PROJECT / "benchmarks" / "streamed_teacher.py",
        "--gigabytes",
        "1.1",
        "--folder",
        tmp_path,
    ]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=900).stdout
    result = json.loads(output.splitlines()[-1])
    assert result["teacher_mb"] > 950
    assert result["peak_rss_mb"] < 0.5 * result["teacher_mb"]  # the interpreter and torch included
    assert result["peak_rss_mb"] - result["rss_before_mb"] < 0.2 * result["teacher_mb"]
    assert result["bytes_read"] == result["teacher_bytes"]

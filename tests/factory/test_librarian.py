"""The cache of a teacher: small, verified, resumable block by block, and the same bits whatever happened on the way."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from nexus.training.control import Interrupted, RunControl
from nexus.training.distillation import sparse_kl
from nexus.training.sparse_targets import SparseTargets, sparsify
from nexus_final.errors import UserError
from nexus_final.librarian import Librarian, require_room
from nexus_final.shard import bytes_per_token, read_shard, write_shard
from nexus_final.teacher_source import ResidentTeacher
from tests.factory.tiny_llama import write_llama
from tests.factory.toy_extraction import cache_bytes, extraction_process, sequences

KILLED = -signal.SIGKILL
V = 150


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    return folder, write_llama(folder, tied=True)


@pytest.fixture(scope="module")
def runs():
    with extraction_process() as started:
        yield started


def librarian(folder: Path, **settings) -> Librarian:
    return Librarian(folder, **{"k": 3, "samples": 5, "block_tokens": 48, **settings})


def some_targets(*shape: int, vocabulary: int = V, k: int = 8) -> SparseTargets:
    return sparsify(torch.randn(*shape, vocabulary) * 3, k, 12, torch.Generator().manual_seed(0))


# ---- the format -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vocabulary", [V, 70_000])
def test_a_block_comes_back(tmp_path, vocabulary):
    targets = some_targets(2, 9, vocabulary=vocabulary)
    ids = torch.randint(0, vocabulary, (2, 9))
    written = write_shard(tmp_path / "b", ids, targets, vocabulary, {"block": 4})
    back, found, about = read_shard(tmp_path / "b")
    assert torch.equal(back, ids)
    assert torch.equal(found.head_ids, targets.head_ids)
    assert torch.equal(found.tail_ids, targets.tail_ids)
    torch.testing.assert_close(found.head_probs, targets.head_probs, rtol=1e-3, atol=1e-12)
    torch.testing.assert_close(found.residual, targets.residual, rtol=1e-3, atol=1e-12)
    torch.testing.assert_close(found.entropy, targets.entropy, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.weights().sum(-1), torch.ones(2, 9))
    assert about == {"block": 4}
    assert 0 < written - 18 * bytes_per_token(8, 12, vocabulary) < 512


def test_sixty_two_bytes_hold_a_position_of_a_small_vocabulary():
    assert bytes_per_token(8, 12, 49_152) == 62
    assert bytes_per_token(8, 12, 128_256) == 83


def test_certain_and_impossible_tokens_survive(tmp_path):
    logits = torch.tensor([[200.0] + [0.0] * 99, [0.0] * 100])
    targets = sparsify(logits, 2, 3, torch.Generator().manual_seed(0))
    write_shard(tmp_path / "b", torch.zeros(1, 2, dtype=torch.long), targets.reshape(1, 2), 100, {})
    _, found, _ = read_shard(tmp_path / "b")
    assert found.head_probs[0, 0].tolist() == [1.0, 0.0]
    assert found.residual[0, 0] == 0
    torch.testing.assert_close(found.residual[0, 1], torch.tensor(0.98), rtol=1e-3, atol=0)


@pytest.mark.parametrize("where", [0, 20, 60, -1])
def test_one_wrong_bit_is_noticed(tmp_path, where):
    path = tmp_path / "b"
    write_shard(path, torch.zeros(1, 2, dtype=torch.long), some_targets(1, 2), V, {})
    data = bytearray(path.read_bytes())
    data[where] ^= 4
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"{path}: is .*cure: run the extraction again"):
        read_shard(path)


@pytest.mark.parametrize("length", [0, 7, 30, 100])
def test_a_block_cut_short_is_noticed(tmp_path, length):
    path = tmp_path / "b"
    write_shard(path, torch.zeros(1, 2, dtype=torch.long), some_targets(1, 2), V, {})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match="cure"):
        read_shard(path)


# ---- extraction -----------------------------------------------------------------------------------------------------


def test_the_cache_says_what_the_teacher_says(tmp_path, llama):
    _, model = llama
    report = librarian(tmp_path / "c").extract(model, sequences())
    cache = Librarian(tmp_path / "c")
    assert (len(cache), report.written, report.kept, report.tokens) == (3, 3, 0, 112)
    with torch.no_grad():
        p = model(sequences()).logits.softmax(-1)
    ids, targets = cache.read(1)
    assert torch.equal(ids, sequences()[3:6])
    torch.testing.assert_close(targets.head_probs, p[3:6].topk(3).values, rtol=1e-3, atol=1e-6)
    assert torch.equal(targets.head_ids, p[3:6].topk(3).indices)


def test_the_teacher_itself_has_no_loss_against_its_cache(tmp_path, llama):
    _, model = llama
    librarian(tmp_path / "c").extract(model, sequences())
    ids, targets = Librarian(tmp_path / "c").read(0)
    with torch.no_grad():
        assert abs(sparse_kl(model(ids).hidden, model.lm_head.weight, targets)) < 2e-3


def test_a_teacher_in_bfloat16_says_nearly_the_same(tmp_path, llama):
    _, model = llama
    for precision in ("float32", "bfloat16"):
        librarian(tmp_path / precision).extract(ResidentTeacher.of(model, precision), sequences())
    (ids, exact), (_, rough) = (Librarian(tmp_path / name).read(0) for name in ("float32", "bfloat16"))
    assert not torch.equal(exact.head_probs, rough.head_probs)
    assert rough.entropy.mean() == pytest.approx(exact.entropy.mean().item(), rel=5e-3)
    with torch.no_grad():
        assert sparse_kl(model(ids).hidden, model.lm_head.weight, rough) < 1e-2


def test_sequences_one_by_one(tmp_path, llama):
    librarian(tmp_path / "c").extract(llama[1], sequences())
    cache = Librarian(tmp_path / "c")
    view = cache.by_sequence()
    assert len(view) == 7
    ids, targets = view.read(4)
    assert torch.equal(ids, sequences()[4:5])
    assert torch.equal(targets.tail_ids, cache.read(1)[1].tail_ids[1:2])
    with pytest.raises(IndexError):
        view.read(7)


def test_bytes_per_token_are_reported(tmp_path, llama):
    report = librarian(tmp_path / "c", block_tokens=112).extract(llama[1], sequences())
    assert report.bytes == sum(path.stat().st_size for path in (tmp_path / "c").glob("*.shard"))
    assert bytes_per_token(3, 5, V) < report.bytes_per_token < bytes_per_token(3, 5, V) + 6
    assert f"{report.bytes_per_token:.1f} bytes per token" in str(report)


def test_any_function_to_logits_is_a_teacher(tmp_path):
    table = torch.randn(V, V)
    librarian(tmp_path / "c").extract(ResidentTeacher(lambda ids: table[ids], vocab_size=V), sequences().numpy())
    _, targets = Librarian(tmp_path / "c").read(2)
    assert torch.equal(targets.head_ids, table[sequences()[6:]].topk(3).indices)


def test_progress_counts_every_token_once(tmp_path, llama):
    seen: list[tuple[float, str]] = []
    work = librarian(tmp_path / "c")
    work.extract(llama[1], sequences(), progress=lambda amount, note: seen.append((amount, note)))
    assert sum(amount for amount, _ in seen) == 112
    work.path(2).unlink()
    seen.clear()
    work.extract(llama[1], sequences(), progress=lambda amount, note: seen.append((amount, note)))
    assert seen == [(96, "kept"), (16, "")]


# ---- resuming -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uninterrupted(runs, llama, tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    assert runs.run(root, llama[0]) == 0
    return cache_bytes(root)


@pytest.mark.parametrize("number", [1, 4, 8, 13, 17])
def test_killed_anywhere_ends_with_the_same_bits(runs, llama, uninterrupted, tmp_path, number):
    """Kill at the n-th point of any kind: manifest and three blocks have four or five points each."""
    assert runs.run(tmp_path, llama[0], kill_at=f"*:{number}") == KILLED
    assert runs.run(tmp_path, llama[0]) == 0
    assert cache_bytes(tmp_path) == uninterrupted


def test_killed_after_a_block_keeps_it(runs, llama, uninterrupted, tmp_path):
    assert runs.run(tmp_path, llama[0], kill_at="librarian.block:2") == KILLED
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "memory").glob("*.shard")}
    assert len(kept) == 2
    assert runs.run(tmp_path, llama[0]) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert cache_bytes(tmp_path) == uninterrupted


def test_stopped_between_batches_goes_on(tmp_path, llama):
    work, control = librarian(tmp_path / "c"), RunControl()
    with pytest.raises(Interrupted):
        work.extract(llama[1], sequences(), control=control, progress=lambda *_: control.request_stop("Ctrl+C", 130))
    report = work.extract(llama[1], sequences())
    assert (report.written, report.kept) == (2, 1)


def test_a_damaged_block_is_named_and_mended(tmp_path, llama, caplog):
    work = librarian(tmp_path / "c")
    work.extract(llama[1], sequences())
    whole = cache_bytes_of(tmp_path / "c")
    path = work.path(1)
    path.write_bytes(path.read_bytes()[:-3] + b"abc")
    assert work.missing() == [1]
    with pytest.raises(UserError, match=r"block-000001\.shard: is damaged .*cure: run the extraction again"):
        Librarian(tmp_path / "c").read(1)
    report = librarian(tmp_path / "c").extract(llama[1], sequences())
    assert (report.written, report.mended, report.kept) == (1, 1, 2)
    assert "block-000001.shard is damaged" in caplog.text
    assert cache_bytes_of(tmp_path / "c") == whole


def cache_bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_block_of_another_place_is_not_taken(tmp_path, llama):
    work = librarian(tmp_path / "c")
    work.extract(llama[1], sequences())
    shutil.copy(work.path(0), work.path(1))
    with pytest.raises(UserError, match="belongs to another extraction"):
        work.read(1)
    assert work.extract(llama[1], sequences()).mended == 1


@pytest.mark.parametrize(
    ("change", "word"), [({"k": 4}, "k"), ({"seed": 1}, "seed"), ({"identity": "other"}, "teacher")]
)
def test_another_extraction_is_refused_or_replaced(tmp_path, llama, change, word):
    librarian(tmp_path / "c").extract(llama[1], sequences())
    other = librarian(tmp_path / "c", **change)
    with pytest.raises(UserError, match=rf"another .*\b{word}\b.* cure: choose another folder"):
        other.extract(llama[1], sequences())
    assert other.extract(llama[1], sequences(), restart=True).written == 3
    with pytest.raises(UserError, match="another text_sha256"):
        other.extract(llama[1], sequences() // 2)


def test_nothing_there_yet(tmp_path):
    with pytest.raises(UserError, match=r"no cache of a teacher here. cure: run the extraction"):
        len(Librarian(tmp_path))


def test_a_block_not_made_yet(tmp_path, llama):
    work = librarian(tmp_path / "c")
    work.extract(llama[1], sequences())
    work.path(2).unlink()
    with pytest.raises(UserError, match=r"block-000002\.shard: the block is missing"):
        work.read(2)
    with pytest.raises(IndexError):
        work.read(3)


# ---- guards ---------------------------------------------------------------------------------------------------------


def test_a_full_disk_stops_before_writing_and_keeps_what_is_there(tmp_path, llama):
    asked: list[int] = []

    def guard(folder: Path, needed: int) -> None:
        asked.append(needed)
        if len(asked) == 3:
            raise UserError(str(folder), "the disk is full", "free some space")

    with pytest.raises(UserError, match="full"):
        librarian(tmp_path / "c", guard=guard).extract(llama[1], sequences())
    assert asked[0] > 2 * asked[1]  # all of it is asked for first
    assert librarian(tmp_path / "c").extract(llama[1], sequences()).kept == 1


def test_no_room_is_told_with_the_cure(tmp_path):
    require_room(tmp_path, 1)
    with pytest.raises(UserError, match=r"the disk has \d+ MiB. cure: free some space"):
        require_room(tmp_path, 2**60)


@pytest.mark.parametrize(
    "bad", [np.array([[1, V]]), np.array([[-1, 2]]), np.array([1, 2]), np.zeros((0, 4), dtype=int)]
)
def test_wrong_ids_are_refused(tmp_path, llama, bad):
    with pytest.raises(ValueError, match="sequences: "):
        librarian(tmp_path / "c").extract(llama[1], bad)
    assert not (tmp_path / "c").exists()


def test_the_manifest_is_for_people_too(tmp_path, llama):
    librarian(tmp_path / "c", identity="tiny").extract(llama[1], sequences())
    known = json.loads((tmp_path / "c" / "manifest.json").read_text())
    assert {"teacher": "tiny", "k": 3, "samples": 5, "sequences": 7, "vocab_size": V}.items() <= known.items()


def test_an_unknown_teacher_is_refused(tmp_path):
    with pytest.raises(ValueError, match="wrap a function in ResidentTeacher"):
        librarian(tmp_path / "c").extract(lambda ids: ids, sequences())

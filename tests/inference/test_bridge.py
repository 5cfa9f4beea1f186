"""Weights both ways: logits and greedy tokens equal transformers' on random tiny models of every known family."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM
from transformers.models.bamba.configuration_bamba import BambaConfig
from transformers.models.granitemoehybrid.configuration_granitemoehybrid import GraniteMoeHybridConfig
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.mistral.configuration_mistral import MistralConfig
from transformers.models.qwen2.configuration_qwen2 import Qwen2Config

from nexus.core.state_space import HybridConfig, HybridLM
from nexus.inference import bridge
from nexus.inference.bridge import load_hf_folder, save_hf_folder
from nexus.inference.weight_layouts import BAMBA, GRANITE, LLAMA, from_hf, hf_views, to_hf
from tests.numerics import close, poisoned_memory, randomise  # noqa: F401 - fixture

VOCAB = 61
COMMON = {
    "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
    "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0},
}  # fmt: skip
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 16}
DENSE = {
    "num_local_experts": 0, "shared_intermediate_size": 40, "position_embedding_type": "rope",
    "attention_multiplier": 8**-0.5, "layer_types": ["mamba", "attention", "mamba", "mamba"],
}  # fmt: skip
MULTIPLIERS = {
    "embedding_multiplier": 3.0, "residual_multiplier": 0.4, "attention_multiplier": 0.2, "logits_scaling": 7.0,
}  # fmt: skip


def granite(**changes):
    return GraniteMoeHybridConfig(**{**COMMON, **MAMBA, **DENSE, **changes})


def bamba(rotary=0.5, **changes):
    rope = {"rope_type": "default", "rope_theta": 5000.0, "partial_rotary_factor": rotary}
    return BambaConfig(**{**COMMON, **MAMBA, "attn_layer_indices": [1, 3], "rope_parameters": rope, **changes})


FAMILIES = {
    "granite": lambda: granite(),
    "granite, new spelling": lambda: granite(layer_types=["linear_attention", "full_attention"] * 2),
    "granite, groups": lambda: granite(mamba_n_groups=4, tie_word_embeddings=True),
    "granite, multipliers": lambda: granite(**MULTIPLIERS),
    "granite, multipliers, tied": lambda: granite(**MULTIPLIERS, tie_word_embeddings=True),
    "granite, biases": lambda: granite(mamba_proj_bias=True, mamba_conv_bias=False, residual_multiplier=0.5),
    "granite, no attention": lambda: granite(layer_types=["mamba"] * 4, position_embedding_type=None),
    "bamba, half rotary": lambda: bamba(),
    "bamba, full rotary": lambda: bamba(rotary=1.0, mamba_n_groups=2),
    "llama": lambda: LlamaConfig(**COMMON),
    "llama, tied, wide heads": lambda: LlamaConfig(**COMMON, tie_word_embeddings=True, head_dim=12),
    "mistral": lambda: MistralConfig(**COMMON, sliding_window=None),
    "qwen2": lambda: Qwen2Config(**COMMON),
}


def theirs(config):
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    randomise(model, 0.15)
    return model


def saved(config, folder, **options):
    model = theirs(config)
    model.save_pretrained(folder, **options)
    return model


def ours(**changes):
    model = HybridLM(HybridConfig.tiny(**{"vocab_size": VOCAB, "plan": "MMMA", "ssm_groups": 1, **changes})).eval()
    randomise(model, 0.15)
    return model


def ids(rows, length):
    return torch.randint(0, VOCAB, (rows, length))


@torch.no_grad()
def greedy(model, prompt, count):
    state, fed, answer = model.init_state(1), prompt, []
    for _ in range(count):
        out = model(fed, state=state, last_only=True)
        state, fed = out.state, out.logits[:, -1].argmax(-1, keepdim=True)
        answer.append(int(fed))
    return answer


@torch.no_grad()
def generated(model, prompt, count):
    with_prompt = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=count, do_sample=False
    )  # fmt: skip
    return with_prompt[0, prompt.shape[1] :].tolist()


# ---- theirs to ours -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_loaded_model_has_their_logits(family, tmp_path):
    reference, text = saved(FAMILIES[family](), tmp_path), ids(2, 37)
    # (transformers' cache doesn't work for a model without attention layers)
    close(load_hf_folder(tmp_path)(text).logits, reference(text, use_cache=False).logits, 2e-5)


@torch.no_grad()
def test_left_padded_rows_have_their_logits(tmp_path):
    reference, text = saved(granite(), tmp_path), ids(2, 19)
    mask = torch.ones(2, 19, dtype=torch.bool)
    mask[0, :8] = False
    expected = reference(text, attention_mask=mask.long()).logits
    close(load_hf_folder(tmp_path)(text, mask=mask).logits[mask], expected[mask], 2e-5)


def test_biases_of_attention_come_along(tmp_path):
    model = theirs(LlamaConfig(**COMMON, attention_bias=True))
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.bias.zero_()
    model.save_pretrained(tmp_path)
    loaded, text = load_hf_folder(tmp_path), ids(1, 9)
    assert loaded.config.qkv_bias
    with torch.no_grad():
        close(loaded(text).logits, model(text).logits, 2e-5)


def test_shards_are_read_like_one_file(tmp_path):
    saved(granite(), tmp_path / "one")
    AutoModelForCausalLM.from_pretrained(tmp_path / "one").save_pretrained(tmp_path / "many", max_shard_size="30KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 3
    one, many = (load_hf_folder(tmp_path / name).state_dict() for name in ("one", "many"))
    assert all(torch.equal(one[name], many[name]) for name in one)


def test_old_rope_fields_are_understood(tmp_path):
    reference, text = saved(LlamaConfig(**COMMON), tmp_path), ids(1, 30)
    edit(tmp_path, rope_parameters=None, rope_theta=5000.0, rope_scaling=None)
    assert load_hf_folder(tmp_path).config.rope_theta == 5000.0
    with torch.no_grad():
        close(load_hf_folder(tmp_path)(text).logits, reference(text).logits, 2e-5)


def test_the_type_is_the_one_asked_for(tmp_path):
    saved(granite(tie_word_embeddings=True), tmp_path)
    model = load_hf_folder(tmp_path, dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert model.lm_head.weight is model.embed.weight
    assert model.backbone.rotary.inv_freq.dtype == torch.float32
    assert not model.training
    assert load_hf_folder(tmp_path)(ids(1, 3)).logits.dtype == torch.float32


def test_the_bridge_does_not_import_transformers():
    for path in Path(bridge.__file__).parent.glob("*.py"):
        assert not re.search(r"^\s*(import|from) transformers", path.read_text(), re.MULTILINE), path


# ---- ours to theirs -------------------------------------------------------------------------------------------------

STUDENTS = {
    "one group": {},
    "groups": {"ssm_groups": 4},
    "untied": {"tie_embeddings": False},
    "biases": {"qkv_bias": True, "ssm_bias": True},
    "windows narrowed to nothing": {"plan": "WWMA", "window": 0},
    "attention only": {"plan": "A", "head_dim": 10, "tie_embeddings": False},
    "attention only, biases": {"plan": "A", "qkv_bias": True, "tie_embeddings": False},
}


@pytest.mark.parametrize("student", STUDENTS)
@torch.no_grad()
def test_an_exported_folder_generates_the_same_greedy_tokens(student, tmp_path):
    model = ours(**STUDENTS[student])
    reference = AutoModelForCausalLM.from_pretrained(save_hf_folder(model, tmp_path))
    text = ids(2, 37)
    close(reference(text).logits, model(text).logits, 2e-5)
    prompts = [ids(1, length) for length in (1, 7, 33)]
    answers = [greedy(model, prompt, 40) for prompt in prompts]
    assert len({token for answer in answers for token in answer}) > 10, "the test would be too easy"
    assert [generated(reference, prompt, 40) for prompt in prompts] == answers


@pytest.mark.parametrize("layout", ["granite", "llama"])
@torch.no_grad()
def test_attention_only_models_fit_both_layouts(layout, tmp_path):
    model, text = ours(plan="A"), ids(1, 9)
    reference = AutoModelForCausalLM.from_pretrained(save_hf_folder(model, tmp_path, layout=layout))
    assert reference.config.model_type.startswith(layout)
    close(reference(text).logits, model(text).logits, 2e-5)


@torch.no_grad()
def test_gains_of_narrowed_windows_are_multiplied_in(tmp_path):
    model, text = ours(plan="WMWA", window=5, window_choices=(5, 0), ssm_bias=True), ids(1, 20)
    model.set_window(0)
    reference = AutoModelForCausalLM.from_pretrained(save_hf_folder(model, tmp_path))
    close(reference(text).logits, model(text).logits, 2e-5)
    before = model(text).logits
    for block in model.backbone.blocks:
        if block.kind == "W":
            block.mixer.mamba_gain.fill_(1.0)
    assert (model(text).logits - before).abs().max() > 0.01, "the gains did matter"


@pytest.mark.parametrize("student", ["one group", "groups", "untied", "biases", "attention only"])
def test_there_and_back_is_bit_equal(student, tmp_path):
    model = ours(**STUDENTS[student])
    again = load_hf_folder(save_hf_folder(model, tmp_path))
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert again.config.layers == model.config.layers


@pytest.mark.parametrize("layout", [LLAMA, GRANITE, BAMBA], ids=lambda layout: layout.name)
@pytest.mark.parametrize("tied", [False, True])
def test_the_conversions_are_each_others_inverse(layout, tied):
    changes = {"plan": "A" if layout is LLAMA else "MA", "tie_embeddings": tied, "qkv_bias": True, "ssm_bias": True}
    model, fresh = ours(**changes), ours(**changes)
    tensors = to_hf(model.state_dict(), model.config, layout)
    from_hf(tensors, fresh.state_dict(), fresh.config, layout)
    assert all(torch.equal(fresh.state_dict()[name], value) for name, value in model.state_dict().items())
    assert all(torch.equal(tensors[name], view) for name, view in hf_views(fresh.state_dict(), fresh.config, layout))


@pytest.mark.parametrize(
    ("layout", "family"),
    [(LLAMA, "llama"), (GRANITE, "granite"), (GRANITE, "granite, no attention"), (BAMBA, "bamba, full rotary")],
)
def test_the_names_and_shapes_are_all_of_theirs(layout, family, tmp_path):
    reference = saved(FAMILIES[family](), tmp_path)
    model = load_hf_folder(tmp_path)
    shapes = {name: tuple(t.shape) for name, t in to_hf(model.state_dict(), model.config, layout).items()}
    assert shapes == {name: tuple(t.shape) for name, t in reference.state_dict().items()}


def test_the_written_config_is_what_engines_want(tmp_path):
    model = ours(max_seq_length=99).bfloat16()
    save_hf_folder(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    wanted = {
        "architectures": ["GraniteMoeHybridForCausalLM"], "model_type": "granitemoehybrid",
        "layer_types": ["mamba", "mamba", "mamba", "attention"], "num_local_experts": 0, "num_experts_per_tok": 0,
        "shared_intermediate_size": 64, "intermediate_size": 64, "position_embedding_type": "rope",
        "attention_multiplier": 8**-0.5, "embedding_multiplier": 1.0, "residual_multiplier": 1.0, "logits_scaling": 1.0,
        "mamba_expand": 2, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_conv_bias": True,
        "mamba_proj_bias": False, "attention_bias": False, "hidden_act": "silu", "max_position_embeddings": 99,
        "rope_theta": 10_000.0, "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
        "eos_token_id": None, "dtype": "bfloat16", "tie_word_embeddings": True,
    }  # fmt: skip
    assert {key: config.get(key) for key in wanted} == wanted
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118 - not a dict
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_the_tokenizer_comes_along(tmp_path):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({"<end>": 0, "a": 1, "b": 2}, unk_token="<end>"))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>").save_pretrained(tmp_path / "teacher")
    (tmp_path / "teacher" / "config.json").write_text('{"eos_token_id": 5, "bos_token_id": 7}')
    (tmp_path / "teacher" / "generation_config.json").write_text('{"eos_token_id": [0, 2]}')
    folder = save_hf_folder(ours(), tmp_path / "student", tokenizer_folder=tmp_path / "teacher")
    assert AutoTokenizer.from_pretrained(folder)("a").input_ids == [1]
    config = json.loads((folder / "config.json").read_text())
    assert (config["eos_token_id"], config["bos_token_id"], config["pad_token_id"]) == ([0, 2], 7, None)
    with pytest.raises(ValueError, match="holds no tokenizer"):
        save_hf_folder(ours(), tmp_path / "other", tokenizer_folder=tmp_path)
    assert not (tmp_path / "other").exists()


# ---- refusals -------------------------------------------------------------------------------------------------------


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (LlamaConfig, {"model_type": "gpt2"}, r"model_type = 'gpt2' is unknown; known: 'llama', .*'bamba'"),
        (LlamaConfig, {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, r"scaling of type 'llama3'"),
        (LlamaConfig, {"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2}}, "type 'linear'"),
        (LlamaConfig, {"hidden_act": "gelu"}, r"hidden_act = 'gelu' is not 'silu'"),
        (LlamaConfig, {"mlp_bias": True}, "mlp_bias = True is not False"),
        (LlamaConfig, {"hidden_size": None, "mlp_bias": True}, r"2 faults\n.*mlp_bias.*\n.*hidden_size = None"),
        (MistralConfig, {"sliding_window": 16}, "sliding_window = 16 .*set it to null"),
        (Qwen2Config, {"use_sliding_window": True}, "use_sliding_window = True .*set it to false"),
        (granite, {"num_local_experts": 4}, "num_local_experts = 4 asks for a mixture of experts; choose a dense"),
        (granite, {"position_embedding_type": None}, "position_embedding_type = None is not 'rope'"),
        (granite, {"layer_types": ["mamba", "sliding", "mamba", "mamba"]}, "layer_types"),
        (granite, {"layer_types": ["mamba"]}, "layer_types"),
        (granite, {"time_step_limit": [0.001, 0.1]}, "time_step_limit .*clamps the step size"),
        (granite, {"num_attention_heads": 3}, "n_kv_heads = 2 does not divide n_heads"),
        (granite, {"mamba_d_state": 9}, r"in_proj.weight has shape \(148, 32\), by the config it is"),
        (granite, {"tie_word_embeddings": False, "num_hidden_layers": 5, "layer_types": ["mamba"] * 5}, "is missing"),
        (granite, {"num_hidden_layers": 3, "layer_types": ["mamba", "attention", "mamba"]}, "has no place in HybridLM"),
        (bamba, {"mlp_bias": True}, "mlp_bias"),
    ],
)  # fmt: skip
def test_what_cannot_be_represented_is_refused_by_name(config, changes, message, tmp_path):
    saved(config(**COMMON) if isinstance(config, type) else config(), tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        load_hf_folder(tmp_path)


def test_a_bias_on_the_output_of_attention_is_refused(tmp_path):
    saved(LlamaConfig(**COMMON, attention_bias=True), tmp_path)
    with pytest.raises(ValueError, match=r"o_proj.bias has no place"):
        load_hf_folder(tmp_path)


def test_a_sliding_window_wider_than_the_text_is_none(tmp_path):
    saved(MistralConfig(**COMMON, sliding_window=None), tmp_path)
    edit(tmp_path, sliding_window=512, max_position_embeddings=512)
    assert load_hf_folder(tmp_path).config.max_seq_length == 512


def test_damaged_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config.json does not exist"):
        load_hf_folder(tmp_path)
    saved(LlamaConfig(**COMMON), tmp_path, max_shard_size="30KB")
    shard, index = min(tmp_path.glob("*.safetensors")), tmp_path / "model.safetensors.index.json"
    whole, places = shard.read_bytes(), json.loads(index.read_text())
    shard.write_bytes(whole[:-100])
    with pytest.raises(ValueError, match=rf"{shard.name} is not a whole safetensors file"):
        load_hf_folder(tmp_path)
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{shard.name} is named in"):
        load_hf_folder(tmp_path)
    places["weight_map"]["model.norm.weight"] = "../elsewhere.safetensors"
    index.write_text(json.dumps(places))
    with pytest.raises(ValueError, match="not a file of its own folder"):
        load_hf_folder(tmp_path)
    index.write_text("{}")
    with pytest.raises(ValueError, match="not an index"):
        load_hf_folder(tmp_path)
    index.unlink()
    with pytest.raises(FileNotFoundError, match=r"neither model.safetensors nor"):
        load_hf_folder(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not readable JSON"):
        load_hf_folder(tmp_path)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"plan": "WA", "window": 5}, {}, r"window = 5 of 'W' layers .*set_window\(0\)"),
        ({"attention_window": 7}, {}, "attention_window = 7 .*use attention_window=0"),
        ({"plan": "TMA"}, {}, "plan = 'TMA' has memory layers, which the layout lacks; keep the model"),
        ({"rotary_fraction": 0.5}, {}, "rotary_fraction = 0.5"),
        ({"plan": "M"}, {}, "plan = 'M' has no attention layer"),
        ({"head_dim": 10}, {}, "head_dim = 10 .*use that"),
        ({"ssm_heads": 3}, {}, r"ssm_heads \* ssm_head_dim = 48 .*multiple of d_model = 32"),
        ({}, {"layout": "llama"}, "layout = 'llama' has no state-space layers"),
        ({}, {"layout": "onnx"}, "layout = 'onnx' is not a choice"),
        ({"plan": "WA", "window": 5, "attention_window": 7, "ssm_heads": 3}, {}, "3 faults"),
    ],
)
def test_what_a_layout_cannot_hold_is_refused_before_writing(changes, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        save_hf_folder(ours(**changes), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()

"""LoRA (with PEFT's files both ways), DPO and SFT."""

import copy
import json
import math

import pytest
import torch
from torch import nn

from nexus.core.state_space import HybridConfig, HybridLM
from nexus.training.config import TrainingConfig
from nexus.training.dpo import DPO, dpo_loss, preference_accuracy, sequence_log_probs
from nexus.training.loop import Trainer
from nexus.training.lora import LoRA, apply_lora, load_adapter, merge_lora, save_adapter, without_lora
from nexus.training.objectives import IGNORED, next_token_loss
from nexus.training.sft import AnswerSet

IDS = torch.randint(97, (3, 9), generator=torch.Generator().manual_seed(2))


def student():
    torch.manual_seed(0)
    return HybridLM(HybridConfig.tiny(plan="AM", n_layers=2))


def llama():
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=97, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


def shake(model):
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, LoRA):
                module.lora_B.normal_(std=0.1)


def test_it_begins_at_the_model_itself_and_learns_only_the_change():
    model = student()
    before = model(IDS).logits
    names = apply_lora(model, ["all-linear"], rank=4)
    assert names
    assert not any("lm_head" in name for name in names)
    torch.testing.assert_close(model(IDS).logits, before)
    next_token_loss(model, IDS).mean().backward()
    learnt = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name.rpartition(".")[2] for name in learnt} == {"lora_A", "lora_B"}
    assert all(model.get_parameter(name).grad is not None for name in learnt)


def test_merged_is_the_same_model_without_wrappers():
    model = student()
    plain = copy.deepcopy(model)
    apply_lora(model, ["all-linear"], rank=4, alpha=8)
    shake(model)
    changed = model(IDS).logits
    with without_lora(model):
        torch.testing.assert_close(model(IDS).logits, plain(IDS).logits)
    merge_lora(model)
    assert model.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(model(IDS).logits, changed, rtol=1e-4, atol=1e-5)


PEFT_WARNS = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # it asks transformers so


@PEFT_WARNS
@pytest.mark.parametrize("stabilised", [False, True])
def test_peft_reads_our_adapter(tmp_path, stabilised):
    from peft import PeftModel

    ours = llama()
    apply_lora(ours, ["q_proj", "v_proj"], rank=4, alpha=12, stabilised=stabilised)
    shake(ours)
    save_adapter(ours, tmp_path / "adapter")
    theirs = PeftModel.from_pretrained(llama(), str(tmp_path / "adapter"))
    torch.testing.assert_close(theirs(IDS).logits, ours(IDS).logits)


@PEFT_WARNS
def test_we_read_pefts_adapter(tmp_path):
    from peft import LoraConfig, get_peft_model

    theirs = get_peft_model(llama(), LoraConfig(r=3, lora_alpha=7, target_modules=["k_proj", "down_proj"]))
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    theirs.save_pretrained(tmp_path)
    ours = llama()
    assert len(load_adapter(ours, tmp_path)) == 4
    torch.testing.assert_close(ours(IDS).logits, theirs.eval()(IDS).logits)


def test_a_round_trip_of_our_own(tmp_path):
    one, two = student(), student()
    apply_lora(one, ["all-linear"], rank=2)
    shake(one)
    load_adapter(two, save_adapter(one, tmp_path / "a"))
    assert torch.equal(one(IDS).logits, two(IDS).logits)


def test_what_does_not_fit_is_named(tmp_path):
    with pytest.raises(ValueError, match="no linear layer has such a name; there are"):
        apply_lora(student(), ["query"])
    with pytest.raises(FileNotFoundError, match=r"lacks adapter_config\.json"):
        load_adapter(student(), tmp_path)
    model = llama()
    apply_lora(model, ["q_proj"])
    save_adapter(model, tmp_path / "a")
    with pytest.raises(ValueError, match="is it the right model"):
        load_adapter(student(), tmp_path / "a")
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    (tmp_path / "a" / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    with pytest.raises(ValueError, match="DoRA, which is not read here"):
        load_adapter(llama(), tmp_path / "a")


# ---- DPO -------------------------------------------------------------------------------------------------------------


def test_log_probs_are_those_of_the_answer_alone():
    logits, labels = torch.randn(2, 5, 7), torch.tensor([[IGNORED, IGNORED, 3, 4, IGNORED], [IGNORED, 1, 2, 3, 4]])
    found = sequence_log_probs(logits, labels)
    table = logits.log_softmax(-1)
    wanted = [table[0, 1, 3] + table[0, 2, 4], sum(table[1, t - 1, labels[1, t]] for t in range(1, 5))]
    torch.testing.assert_close(found, torch.stack(wanted))


def test_the_optimum_of_a_bandit_is_the_closed_form():
    """Equation 4 of the paper: pi = pi_ref exp(r / beta) / Z, from preferences drawn by Bradley and Terry's model."""
    reward, beta = torch.tensor([0.0, 0.5, 1.2, -0.7], dtype=torch.float64), 0.5
    reference = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64).log()
    pairs = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    weight = torch.sigmoid(
        reward[pairs[:, 0]] - reward[pairs[:, 1]]
    )  # how often the first one wins: exactly, not drawn
    logits = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        policy = logits.log_softmax(0)
        won, lost = pairs.T
        losses = dpo_loss(policy[won], policy[lost], reference[won], reference[lost], beta)
        value = (weight * losses).mean()
        value.backward()
        return value

    optimizer.step(closure)
    wanted = (reference + reward / beta).softmax(0)
    torch.testing.assert_close(logits.detach().softmax(0), wanted, rtol=1e-4, atol=1e-4)


def test_the_loss_is_the_papers_equation():
    draws = torch.randn(4, 6, dtype=torch.float64)
    found = dpo_loss(*draws, beta=0.3, label_smoothing=0.1)
    for i in range(6):
        chosen, rejected, ref_chosen, ref_rejected = draws[:, i].tolist()
        h = 0.3 * ((chosen - ref_chosen) - (rejected - ref_rejected))
        sigmoid = 1 / (1 + math.exp(-h))
        assert found[i].item() == pytest.approx(-0.9 * math.log(sigmoid) - 0.1 * math.log(1 - sigmoid))


def test_dpo_with_lora_prefers_what_was_chosen():
    draw = torch.Generator().manual_seed(0)
    prompt = torch.randint(40, (8, 4), generator=draw)
    chosen, rejected = (torch.cat((prompt, torch.full((8, 3), token)), 1) for token in (50, 60))
    labels = [torch.cat((torch.full((8, 4), IGNORED), row[:, 4:]), 1) for row in (chosen, rejected)]
    batch = {"chosen": chosen, "rejected": rejected, "chosen_labels": labels[0], "rejected_labels": labels[1]}
    model = student()
    apply_lora(model, ["all-linear"], rank=4)
    history = Trainer(
        model, [batch], TrainingConfig(steps=30, learning_rate=2e-2, log_every=1), loss=DPO(beta=1.0)
    ).run()
    assert history[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert history[-1]["loss"] < 0.3
    assert preference_accuracy(model, batch) == 1.0
    with pytest.raises(ValueError, match="reference: is missing"):
        DPO()(student(), batch)


# ---- SFT -------------------------------------------------------------------------------------------------------------


def test_prompts_and_padding_have_no_label():
    samples = AnswerSet([("ab", "cd"), ("a", "b")], end=3, padding=0)
    assert samples[0]["input_ids"].tolist() == [97, 98, 99, 100, 3]
    assert samples[0]["labels"].tolist() == [IGNORED, IGNORED, 99, 100, 3]
    assert samples[1]["labels"].tolist() == [IGNORED, 98, 3, IGNORED, IGNORED]
    assert AnswerSet([("abcdef", "gh")], max_length=4)[0]["input_ids"].tolist() == [101, 102, 103, 104]
    with pytest.raises(ValueError, match=r"pairs\[0\]: its answer has 4 ids"):
        AnswerSet([("", "abcd")], max_length=4)


def test_it_learns_the_answers_and_on_any_transformers_model():
    samples = AnswerSet([("a", "bc"), ("d", "ef")], encode=lambda text: [ord(c) - 90 for c in text])
    model = llama()
    history = Trainer(model, samples, TrainingConfig(steps=60, batch_size=2, learning_rate=2e-2, log_every=1)).run()
    assert history[-1]["loss"] < 0.3 * history[0]["loss"]


def test_lora_wants_a_rank():
    with pytest.raises(ValueError, match="rank=0"):
        LoRA(nn.Linear(2, 2), rank=0)

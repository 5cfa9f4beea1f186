"""A student made from a teacher: what is kept is the teacher, and what the replacement costs is found where it is."""

import pytest
import torch

from nexus.core.state_space import HybridConfig, HybridLM
from nexus.core.windows import without_windows
from nexus_final.conversion import keep_attention, start_student
from nexus_final.profiling.replacement import replacement_costs


@pytest.fixture(scope="module")
def teacher() -> HybridLM:
    torch.manual_seed(3)
    config = HybridConfig(vocab_size=97, d_model=32, n_layers=4, plan="A", n_heads=4, n_kv_heads=2, d_ff=48)
    return HybridLM(config).eval()


@pytest.fixture(scope="module")
def ids() -> torch.Tensor:
    return torch.randint(97, (2, 40), generator=torch.Generator().manual_seed(1))


def test_a_student_that_keeps_every_layer_is_the_teacher(teacher, ids):
    kept = keep_attention(start_student(teacher, (4, 8), seed=0), range(4))
    assert kept.config.layers == "AAAA"
    assert torch.equal(kept(ids).logits, teacher(ids).logits)


def test_layers_that_are_not_kept_stay_converted(teacher):
    student = start_student(teacher, (4, 8), seed=0)
    kept = keep_attention(student, [1])
    assert kept.config.layers == "WAWW"
    ours, theirs = kept.state_dict(), student.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if ".1.mixer." not in name)


def test_only_a_teacher_of_attention_is_converted(teacher):
    with pytest.raises(ValueError, match="plan='WWWW'"):
        start_student(start_student(teacher, (4,), seed=0), (4,), seed=0)


def test_a_replacement_costs_what_it_leaves_unsaid(teacher, ids):
    mute = without_windows(start_student(teacher, (4,), seed=0))
    loud = keep_attention(start_student(teacher, (4,), seed=0), range(4))  # a copy of the teacher
    with torch.no_grad():
        for layer, block in enumerate(mute.backbone.blocks):
            block.mixer.out_proj.weight.zero_()
            if layer != 2:
                loud.backbone.blocks[layer].mixer.o_proj.weight.zero_()
            else:
                loud.backbone.blocks[layer].mixer.o_proj.weight.mul_(30)
    ticks: list[int] = []
    costs = replacement_costs(loud, mute, ids, lambda: ticks.append(1))
    assert len(ticks) == 4
    assert costs[2] > 0.01
    assert [costs[i] for i in (0, 1, 3)] == pytest.approx([0, 0, 0], abs=1e-6)

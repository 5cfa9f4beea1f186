"""Products in bfloat16 change figures a little, and nothing else."""

import pytest
import torch

from nexus.core.state_space import HybridConfig, HybridLM
from nexus.training.precision import has_fast_bfloat16, mixed_precision, resolved


def gradients(precision: str) -> tuple[float, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    model = HybridLM(HybridConfig.tiny(plan="WMA"))
    ids = torch.randint(97, (2, 19), generator=torch.Generator().manual_seed(1))
    with mixed_precision("cpu", precision):
        hidden, _ = model.backbone(model.embed(ids))
    loss = torch.nn.functional.cross_entropy(model.lm_head(hidden)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_bfloat16_is_float32_up_to_its_eight_bits():
    (exact, wanted), (rough, found) = gradients("float32"), gradients("bfloat16")
    assert rough != exact  # it did something
    assert rough == pytest.approx(exact, rel=0.02)
    assert wanted.keys() == found.keys()
    for name, grad in wanted.items():
        assert found[name].dtype == torch.float32
        assert (found[name] - grad).norm() < 0.1 * grad.norm() + 1e-4, name


def test_auto_asks_the_hardware(monkeypatch):
    for able in ({"amx_bf16": True}, {"avx512_bf16": True}, {"amx_bf16": False, "avx512_f": True}):
        fast = any(name.endswith("bf16") and there for name, there in able.items())
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able)
        assert has_fast_bfloat16("cpu") is fast
        with mixed_precision("cpu"):
            assert torch.is_autocast_enabled("cpu") is fast


def test_an_unknown_precision_is_named():
    with pytest.raises(ValueError, match="float8"), mixed_precision("cpu", "float8"):
        pass


def test_what_auto_comes_to(monkeypatch):
    for fast, name in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda fast=fast: {"amx_bf16": fast})
        assert resolved("cpu", "auto") == name
    assert resolved("cpu", "float32") == "float32"

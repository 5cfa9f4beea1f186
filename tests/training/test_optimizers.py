"""Each optimiser equals its oracle over 100 steps, and its state survives a round trip."""

import copy

import pytest
import torch
from torch import nn

from nexus.training.optim.adam8bit import AdamW8bit, code, dequantize, quantize
from nexus.training.optim.lamb import Lamb
from nexus.training.optim.lion import Lion
from nexus.training.optim.schedule_free import ScheduleFreeAdamW
from nexus.training.optim.shampoo import Shampoo
from nexus.training.optim.soap import SOAP
from nexus.training.optimizers import OPTIMIZERS, make_optimizer
from nexus.training.plain import same

STEPS = 100


def net(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).to(dtype)


def trained(make, steps=STEPS, dtype=torch.float64):
    """Weights after some steps on one stream of batches; the tasks change so that gradients do."""
    model = net(dtype)
    optimizer = make(model.parameters())
    draw = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(16, 5, generator=draw, dtype=torch.float64).to(dtype)
        loss = (model(x) - torch.stack((x.sum(1), x[:, 0] * x[:, 1], x[:, 2]), 1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if hasattr(optimizer, "eval"):
        optimizer.eval()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def equal(ours, theirs, tolerance=1e-7):
    one, other = trained(ours), trained(theirs)
    assert not torch.equal(one, trained(ours, steps=1))
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_lion():
    from pytorch_optimizer import Lion as Oracle

    equal(
        lambda p: Lion(p, 1e-3, (0.9, 0.99), weight_decay=0.1),
        lambda p: Oracle(p, 1e-3, (0.9, 0.99), weight_decay=0.1, weight_decouple=True),
    )


def test_lamb():
    """With an eps so small that it doesn't matter where it stands (the oracle adds it to the trust ratio as well)."""
    from pytorch_optimizer import Lamb as Oracle

    for decay in (0.0, 0.1):
        options = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-12, "weight_decay": decay}
        equal(
            lambda p, o=options: Lamb(p, **o, bias_correction=False),
            lambda p, o=options: Oracle(p, **o, weight_decouple=False, adam_debias=True),
        )


def test_schedule_free():
    from schedulefree import AdamWScheduleFree

    for decay, warmup in ((0.0, 0), (0.1, 20)):
        equal(
            lambda p, d=decay, w=warmup: ScheduleFreeAdamW(p, 1e-2, (0.9, 0.99), weight_decay=d, warmup_steps=w),
            lambda p, d=decay, w=warmup: _training(
                AdamWScheduleFree(p, 1e-2, (0.9, 0.99), weight_decay=d, warmup_steps=w, foreach=False)
            ),
        )


def _training(optimizer):
    optimizer.train()
    return optimizer


def test_soap():
    from pytorch_optimizer import SOAP as Oracle

    equal(
        lambda p: SOAP(p, 3e-3, (0.95, 0.9), factor_beta=0.8, weight_decay=0.01, every=5),
        lambda p: Oracle(
            p, 3e-3, (0.95, 0.9), shampoo_beta=0.8, weight_decay=0.01, precondition_frequency=5,
            normalize_gradient=False, correct_bias=True,
        ),
        tolerance=1e-6,
    )  # fmt: skip


def test_shampoo_is_its_formula():
    """W - lr L^-1/4 G R^-1/4 with L, R summed (Algorithm 1 of arXiv:1802.09568), by scipy's matrix power."""
    from scipy.linalg import fractional_matrix_power as power

    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(4, 3, dtype=torch.float64))
    mine = weight.detach().clone().numpy()
    optimizer = Shampoo([weight], lr=0.1, eps=1e-4)
    left, right = 1e-4 * torch.eye(4).double().numpy(), 1e-4 * torch.eye(3).double().numpy()
    for _ in range(STEPS):
        gradient = torch.randn(4, 3, dtype=torch.float64)
        weight.grad = gradient
        optimizer.step()
        g = gradient.numpy()
        left, right = left + g @ g.T, right + g.T @ g
        mine = mine - 0.1 * power(left, -0.25) @ g @ power(right, -0.25)
    torch.testing.assert_close(weight.detach(), torch.from_numpy(mine), rtol=1e-7, atol=1e-7)


def test_adafactor_and_muon_are_torchs_own():
    assert isinstance(make_optimizer("adafactor", net(), 1e-2), torch.optim.Adafactor)
    assert isinstance(make_optimizer("muon", net(), 1e-2).parts[0], torch.optim.Muon)


def test_the_code_of_8_bits():
    for signed in (True, False):
        values = code(signed)
        assert len(values.unique()) == 256
        assert values.max() == 1
        assert values.min() == (-0.9929687380790710 if signed else 0)
        x = values * 3.0
        codes, scale = quantize(x, signed)
        torch.testing.assert_close(dequantize(codes, scale, x, signed), x)  # what can be said is said exactly
    moments = torch.rand(1000) ** 8
    codes, scale = quantize(moments, signed=False)
    assert (dequantize(codes, scale, moments, signed=False) > 0).all()


def test_8_bit_states_lead_where_float32_states_lead():
    exact = trained(lambda p: torch.optim.AdamW(p, 1e-3), dtype=torch.float32)
    rough = trained(lambda p: AdamW8bit(p, 1e-3, smallest=0), dtype=torch.float32)
    start = torch.cat([p.detach().flatten() for p in net(torch.float32).parameters()])
    assert 0 < (rough - exact).norm() < 0.1 * (exact - start).norm()
    unchanged = trained(lambda p: AdamW8bit(p, 1e-3), dtype=torch.float32)  # small tensors stay in float32
    torch.testing.assert_close(unchanged, exact, rtol=1e-5, atol=1e-6)


def test_8_bits_are_a_quarter_of_the_memory():
    weight = nn.Parameter(torch.randn(256, 64))
    optimizer = AdamW8bit([weight])
    weight.grad = torch.randn(256, 64)
    optimizer.step()
    held = sum(t.numel() * t.element_size() for t in optimizer.state[weight].values() if isinstance(t, torch.Tensor))
    assert held < 0.26 * 8 * weight.numel()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_dict_goes_on_where_it_was(name):
    def step(model, optimizer, seed):
        draw = torch.Generator().manual_seed(seed)
        optimizer.zero_grad()
        model(torch.randn(8, 80, generator=draw)).square().mean().backward()
        optimizer.step()

    def build():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(80, 60), nn.Tanh(), nn.Linear(60, 2))
        return model, make_optimizer(name, model, 1e-2)

    one, optimizer = build()
    for seed in range(12):
        step(one, optimizer, seed)
    two, other = build()
    two.load_state_dict(one.state_dict())
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for seed in range(12, 15):
        step(one, optimizer, seed)
        step(two, other, seed)
    assert same(one.state_dict(), two.state_dict())
    assert same(optimizer.state_dict(), other.state_dict())


def test_vectors_and_embeddings_are_not_drawn_to_zero():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 2))
    groups = make_optimizer("adamw", model, 1e-3, 0.5).param_groups
    sizes = {group["weight_decay"]: [tuple(p.shape) for p in group["params"]] for group in groups}
    assert sizes == {0.5: [(2, 4)], 0.0: [(5, 4), (2,)]}


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match="optimizer='admw': is unknown; use adamw"):
        make_optimizer("admw", net(), 1e-3)
    with pytest.raises(ValueError, match="no trainable parameter"):
        make_optimizer("adamw", net().requires_grad_(False), 1e-3)

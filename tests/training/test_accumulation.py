"""Accumulated gradients are those of one batch with all the tokens."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nexus.training.accumulation import GradientAccumulation, Loss, accumulate


def net():
    torch.manual_seed(0)
    return nn.Linear(4, 3).double()


def batches():
    draw = torch.Generator().manual_seed(1)
    sizes = (7, 2, 1, 5)  # as different as texts are
    return [
        (torch.randn(n, 4, generator=draw, dtype=torch.float64), torch.randint(3, (n,), generator=draw)) for n in sizes
    ]


def summed(model, batch):
    return Loss(F.cross_entropy(model(batch[0]), batch[1], reduction="sum"), len(batch[1]))


def gradient(model):
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def test_it_is_one_large_batch_and_a_mean_of_means_is_not():
    ours, whole, means = net(), net(), net()
    mean = accumulate(ours, batches(), summed)
    inputs, labels = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    loss = F.cross_entropy(whole(inputs), labels)
    loss.backward()
    for batch in batches():
        (F.cross_entropy(means(batch[0]), batch[1]) / 4).backward()
    torch.testing.assert_close(gradient(ours), gradient(whole), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mean.double(), loss.detach(), rtol=1e-6, atol=1e-6)
    assert (gradient(means) - gradient(whole)).norm() > 0.05 * gradient(whole).norm()


def test_equal_batches_need_no_correction(monkeypatch):
    called = []
    monkeypatch.setattr(torch, "_foreach_mul_", lambda *_: called.append(1))
    model = net()
    accumulate(model, [batches()[0]] * 3, summed)
    assert not called


def test_a_guess_of_the_count_changes_nothing():
    one, two = net(), net()
    accumulate(one, batches(), summed)
    accumulate(two, batches(), lambda m, b: Loss(summed(m, b).total, torch.tensor(len(b[1])), expected=1.0))
    torch.testing.assert_close(gradient(one), gradient(two))


def test_several_processes_agree_on_all_tokens():
    """Two processes, played one after the other: each averages its gradients with the other's, as DDP does."""
    parts = batches()
    models, counts = [net(), net()], [9.0, 6.0]
    expected = sum((len(parts[0][1]), len(parts[2][1]))) / 2
    totals = []
    for rank, model in enumerate(models):
        answers = iter([torch.tensor(expected), None])
        accumulation = GradientAccumulation(2, agree=lambda value, a=answers: next(a))
        for batch in parts[2 * rank : 2 * rank + 2]:
            accumulation.backward(summed(model, batch))
        totals.append(accumulation)
    shared = (gradient(models[0]) + gradient(models[1])) / 2
    factor = (2 * expected) / (sum(counts) / 2)
    whole = net()
    inputs, labels = (torch.cat(column) for column in zip(*parts, strict=True))
    F.cross_entropy(whole(inputs), labels).backward()
    torch.testing.assert_close(shared * factor, gradient(whole), rtol=1e-10, atol=1e-10)


def test_what_cannot_be_a_loss_is_named():
    accumulation = GradientAccumulation()
    with pytest.raises(ValueError, match=r"has shape \(2,\); return a scalar"):
        accumulation.backward(torch.ones(2, requires_grad=True))
    with pytest.raises(ValueError, match="has no graph"):
        accumulation.backward(torch.ones(()))
    with pytest.raises(ValueError, match="no batch came"):
        accumulation.finish([])

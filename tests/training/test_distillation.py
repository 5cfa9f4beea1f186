"""The sparse distillation loss: right values and gradients, no bias, and no second (tokens, vocabulary) tensor."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from nexus.training.distillation import (
    IGNORE,
    linear_cross_entropy,
    next_token_labels,
    sparse_kl,
    sparse_kl_parts,
)
from nexus.training.sparse_stream import SparseAccumulator
from nexus.training.sparse_targets import SparseTargets, draw, sparsify, top

V, D = 300, 6


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def teacher_logits(*shape: int, vocabulary: int = V, spread: float = 2.0) -> torch.Tensor:
    return torch.randn(*shape, vocabulary, dtype=torch.float64) * spread


def student(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    hidden = torch.randn(*shape, D, dtype=torch.float64, requires_grad=True)
    return hidden, torch.randn(V, D, dtype=torch.float64, requires_grad=True)


def dense(targets: SparseTargets, vocabulary: int = V) -> torch.Tensor:
    """``p_hat`` over the whole vocabulary."""
    ids, weights = targets.ids(), targets.weights()
    return weights.new_zeros(*ids.shape[:-1], vocabulary).scatter_add_(-1, ids, weights)


def naive(hidden, weight, targets, labels, ce_weight, temperature, mask):
    """The formula as it stands in the books."""
    logits = hidden @ weight.T
    estimate = dense(targets)
    kl = -(estimate * F.log_softmax(logits / temperature, -1)).sum(-1) - targets.entropy
    kl = (kl * mask).sum() / mask.sum() * temperature**2
    return kl + ce_weight * F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORE)


# ---- targets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vocabulary", [20, 64, 65, 300, 1000])
def test_head_is_exact_and_everything_sums_to_one(vocabulary):
    logits = teacher_logits(3, 5, vocabulary=vocabulary)
    targets = sparsify(logits, 4, 6, seeded())
    p = logits.softmax(-1)
    assert targets.shape == (3, 5)
    torch.testing.assert_close(targets.head_probs, p.topk(4).values)
    assert torch.equal(targets.head_ids, p.topk(4).indices)
    torch.testing.assert_close(targets.residual, 1 - p.topk(4).values.sum(-1))
    torch.testing.assert_close(targets.weights().sum(-1), torch.ones(3, 5, dtype=torch.float64))
    assert not (targets.tail_ids.unsqueeze(-1) == targets.head_ids.unsqueeze(-2)).any()


def test_the_fast_head_finds_what_topk_finds():
    x = torch.randn(50, 777)
    values, columns = top(x, 9)
    assert torch.equal(values, x.topk(9).values)
    assert torch.equal(columns, x.topk(9).indices)


def test_a_vocabulary_smaller_than_the_head():
    targets = sparsify(teacher_logits(2, vocabulary=3), 8, 4, seeded())
    torch.testing.assert_close(targets.head_probs.sum(-1), torch.ones(2, dtype=torch.float64))
    assert torch.equal(targets.residual, torch.zeros(2, dtype=torch.float64))
    assert int(targets.tail_ids.max()) < 3


def test_draws_depend_on_the_seed_alone():
    logits = teacher_logits(150)
    one, two = (sparsify(logits, 4, 6, seeded(7)) for _ in range(2))
    assert torch.equal(one.tail_ids, two.tail_ids)
    assert not torch.equal(one.tail_ids, sparsify(logits, 4, 6, seeded(8)).tail_ids)


def test_logits_are_left_as_they_are():
    logits = teacher_logits(5)
    before = logits.clone()
    sparsify(logits, 4, 6, seeded(), temperature=2.0)
    assert torch.equal(logits, before)


def surprises(counts: torch.Tensor, p: torch.Tensor, draws: int) -> torch.Tensor:
    """Deviations of counts from their expectation, in standard errors, where enough are expected."""
    expected = p * draws
    enough = expected > 20
    return ((counts - expected) / (expected * (1 - p)).sqrt())[enough].abs()


@pytest.mark.parametrize("vocabulary", [64, 100, 641])
def test_columns_are_drawn_in_proportion_to_their_mass(vocabulary):
    mass = teacher_logits(vocabulary=vocabulary).softmax(-1).masked_fill(torch.rand(vocabulary) < 0.3, 0)
    uniform = torch.rand(100, 500, generator=seeded(), dtype=torch.float64)
    columns, picked, total = draw(mass.expand(100, -1), uniform)
    torch.testing.assert_close(picked, mass[columns])
    assert (picked > 0).all()
    torch.testing.assert_close(total, mass.sum().expand(100))
    counts = torch.bincount(columns.flatten(), minlength=vocabulary).double()
    assert surprises(counts, mass / mass.sum(), 50_000).max() < 4.5


@pytest.mark.parametrize("edge", [0.0, 1 - 2**-53])
def test_the_edges_of_a_draw_have_mass(edge):
    mass = torch.tensor([[0.0] * 70 + [0.2, 0.0, 0.3] + [0.0] * 80])
    columns, picked, _ = draw(mass, torch.full((1, 3), edge, dtype=torch.float64))
    assert (picked > 0).all()
    assert columns[0, 0] == (70 if edge == 0 else 72)


def test_entropy_is_the_teachers_on_average():
    logits = teacher_logits(1)
    targets = sparsify(logits.expand(10_000, -1), 4, 6, seeded())
    p = logits[0].softmax(-1)
    spread = targets.entropy.std() / 100
    assert abs(targets.entropy.mean() + torch.xlogy(p, p).sum()) < 4 * spread


# ---- the loss -------------------------------------------------------------------------------------------------------


def scene(temperature: float) -> tuple[SparseTargets, torch.Tensor, torch.Tensor]:
    targets = sparsify(teacher_logits(3, 7), 4, 6, seeded(), temperature)
    labels = torch.randint(0, V, (3, 7), generator=seeded())
    labels[0, 1] = labels[2, 6] = IGNORE
    return targets, labels, torch.rand(3, 7, generator=seeded()) > 0.3


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("ce_weight", [0.0, 0.5])
@pytest.mark.parametrize("chunk", [1, 5, 0])
def test_value_and_gradients_are_the_formulas(temperature, ce_weight, chunk):
    targets, labels, mask = scene(temperature)
    hidden, weight = student(3, 7)
    wanted = naive(hidden, weight, targets, labels, ce_weight, temperature, mask)
    found = sparse_kl(hidden, weight, targets, labels, ce_weight, temperature, mask=mask, chunk=chunk)
    torch.testing.assert_close(found, wanted, atol=1e-9, rtol=1e-9)
    for ours, theirs in zip(
        torch.autograd.grad(found, (hidden, weight)), torch.autograd.grad(wanted, (hidden, weight)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_gradcheck(temperature):
    targets = sparsify(teacher_logits(5, vocabulary=20), 4, 6, seeded(), temperature)
    labels, mask = torch.tensor([3, IGNORE, 19, IGNORE, 0]), torch.tensor([True, True, False, False, True])
    hidden = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(20, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda h, w: sparse_kl(h, w, targets, labels, 0.5, temperature, mask=mask, chunk=2), (hidden, weight)
    )


def test_parts_add_up_and_the_text_is_reported_without_weight_too():
    targets, labels, _ = scene(1.0)
    hidden, weight = student(3, 7)
    total, kl, ce = sparse_kl_parts(hidden, weight, targets, labels, 0.25)
    torch.testing.assert_close(total, kl + 0.25 * ce)
    torch.testing.assert_close(sparse_kl_parts(hidden, weight, targets, labels).ce, ce)
    assert not kl.requires_grad
    assert not ce.requires_grad


@pytest.mark.parametrize("learns", [(True, False), (False, True), (False, False)])
def test_gradients_are_made_only_where_they_are_wanted(learns):
    targets, labels, _ = scene(1.0)
    hidden, weight = (t.detach().requires_grad_(wanted) for t, wanted in zip(student(3, 7), learns, strict=True))
    loss = sparse_kl(hidden, weight, targets, labels, 0.5)
    assert loss.requires_grad == any(learns)
    if any(learns):
        loss.backward()
    assert [hidden.grad is not None, weight.grad is not None] == list(learns)


def test_a_scaled_loss_scales_its_gradients_and_can_be_gone_through_twice():
    targets, labels, _ = scene(1.0)
    hidden, weight = student(3, 7)
    loss = sparse_kl(hidden, weight, targets, labels, 0.5)
    once = torch.autograd.grad(loss, (hidden, weight), retain_graph=True)
    thrice = torch.autograd.grad(loss * 3, (hidden, weight))
    for one, three in zip(once, thrice, strict=True):
        torch.testing.assert_close(three, one * 3)


def test_a_student_equal_to_its_teacher_has_no_divergence():
    hidden, weight = student(40)
    with torch.no_grad():
        targets = sparsify(hidden @ weight.T, 4, 6, seeded())
    assert abs(sparse_kl(hidden, weight, targets)) < 1e-12


def test_a_student_that_finds_the_teachers_tokens_impossible():
    """No picked entry of the softmax is more than nothing: the value must come from all logits."""
    hidden, weight = student(4)
    with torch.no_grad():
        weight *= 300
        targets = sparsify(-(hidden @ weight.T), 4, 6, seeded())
    labels, mask = torch.full((4,), IGNORE), torch.ones(4)
    labels[0] = (hidden @ weight.T).argmin(-1)[0]
    found = sparse_kl(hidden, weight, targets, labels, 0.5)
    assert found > 1000
    torch.testing.assert_close(found, naive(hidden, weight, targets, labels, 0.5, 1.0, mask), rtol=1e-9, atol=1e-9)


def test_positions_that_count_for_nothing_change_nothing():
    targets, _, _ = scene(1.0)
    hidden, weight = student(3, 7)
    mask = torch.zeros(3, 7, dtype=torch.bool)
    mask[1, 2:5] = True
    found = sparse_kl(hidden, weight, targets, mask=mask)
    torch.testing.assert_close(found, sparse_kl(hidden[1, 2:5], weight, targets[1, 2:5]))
    (gradient,) = torch.autograd.grad(found, hidden)
    assert bool((gradient != 0).any(-1).eq(mask).all())


def test_text_alone_is_cross_entropy():
    hidden, weight = student(3, 7)
    _, labels, _ = scene(1.0)
    wanted = F.cross_entropy((hidden @ weight.T).flatten(0, 1), labels.flatten(), ignore_index=IGNORE)
    found = linear_cross_entropy(hidden, weight, labels, chunk=4)
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(*(torch.autograd.grad(loss, weight)[0] for loss in (found, wanted)))


def test_half_precision_comes_close():
    targets, labels, _ = scene(1.0)
    hidden, weight = (t.detach().bfloat16().requires_grad_() for t in student(3, 7))
    exact = [t.detach().double().requires_grad_() for t in (hidden, weight)]
    loss = sparse_kl(hidden, weight, targets, labels, 0.5)
    wanted = sparse_kl(*exact, targets, labels, 0.5)
    assert loss.dtype == torch.float32
    assert abs(loss.item() - wanted.item()) < 0.05
    loss.backward()
    wanted.backward()
    for ours, theirs in zip((hidden, weight), exact, strict=True):
        error = (ours.grad.double() - theirs.grad).norm() / theirs.grad.norm()
        assert ours.grad.dtype == torch.bfloat16
        assert error < 0.02


def test_labels_are_the_tokens_that_follow():
    ids = torch.tensor([[5, 6, 7], [0, 8, 9]])
    assert next_token_labels(ids).tolist() == [[6, 7, IGNORE], [8, 9, IGNORE]]
    mask = torch.tensor([[True, True, True], [False, True, True]])
    assert next_token_labels(ids, mask).tolist() == [[6, 7, IGNORE], [IGNORE, 9, IGNORE]]


class Large(TorchDispatchMode):
    """Collects the memory of every tensor made that has a certain number of elements or more."""

    def __init__(self, elements: int) -> None:
        super().__init__()
        self.elements, self.memories, self.largest = elements, set(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.numel())
                if tensor.numel() >= self.elements:
                    self.memories.add(tensor.untyped_storage().data_ptr())
        return out


def test_one_chunk_of_logits_is_all_there_ever_is():
    hidden, weight = student(64)
    targets = sparsify(teacher_logits(64), 4, 6, seeded())
    with Large(8 * V) as seen:
        sparse_kl(hidden, weight, targets, torch.randint(V, (64,)), 0.5, chunk=8).backward()
    assert len(seen.memories) == 1
    assert seen.largest == 8 * V
    with Large(8 * V) as seen:  # and the check sees it where there is more
        F.cross_entropy(hidden @ weight.T, torch.randint(V, (64,))).backward()
    assert seen.largest == 64 * V


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"head_weight": torch.zeros(V, D + 1)}, "head_weight"),
        ({"labels": torch.zeros(3, 6, dtype=torch.long)}, "labels"),
        ({"mask": torch.ones(2, 7)}, "mask"),
        ({"temperature": 0.0}, "temperature"),
        ({"targets": None, "labels": None}, "both are None"),
        ({"mask": torch.zeros(3, 7), "labels": None}, "no position counts"),
    ],
)
def test_what_does_not_fit_is_refused(change, word):
    targets, labels, mask = scene(1.0)
    hidden, weight = student(3, 7)
    arguments = {"hidden": hidden, "head_weight": weight, "targets": targets, "labels": labels, "mask": mask}
    with pytest.raises(ValueError, match=word):
        sparse_kl_parts(**{**arguments, **change})


@pytest.mark.parametrize(
    ("change", "word"), [({"k": 0}, "k=0"), ({"samples": -1}, "samples"), ({"temperature": 0}, "tem")]
)
def test_sparsity_out_of_range_is_refused(change, word):
    with pytest.raises(ValueError, match=word):
        sparsify(torch.zeros(2, 9), **change)


# ---- no bias --------------------------------------------------------------------------------------------------------


def bias_in_standard_errors(targets_of, rounds: int = 4_000) -> float:
    """Distance of the mean gradient from the dense divergence's, as chi-square per degree of freedom."""
    logits = teacher_logits(1, spread=1.0)  # flat, so that the tail matters
    hidden, weight = student(1)
    dense_loss = F.kl_div(F.log_softmax(hidden @ weight.T, -1), logits.softmax(-1), reduction="batchmean")
    (wanted,) = torch.autograd.grad(dense_loss, hidden)
    many = hidden.detach().expand(rounds, -1).clone().requires_grad_()
    loss = sparse_kl(many, weight.detach(), targets_of(logits.expand(rounds, -1)))
    gradients = torch.autograd.grad(loss, many)[0] * rounds  # the loss is a mean over the draws
    error = gradients.mean(0) - wanted[0]
    covariance = torch.cov(gradients.T) / rounds + 1e-18 * torch.eye(D, dtype=torch.float64)
    return float(error @ torch.linalg.solve(covariance, error)) / D


def test_the_mean_gradient_is_that_of_the_dense_divergence():
    assert bias_in_standard_errors(lambda z: sparsify(z, 4, 12, seeded())) < 3.5


def test_draws_from_slices_have_no_bias_either():
    def streamed(logits: torch.Tensor) -> SparseTargets:
        return through_slices(logits, [100, 37, 163], seeded())

    assert bias_in_standard_errors(streamed) < 3.5


@pytest.mark.parametrize("k", [4, 50])
def test_top_k_alone_is_biased(k):
    def normalised(logits: torch.Tensor) -> SparseTargets:
        targets = sparsify(logits, k, 0)
        head = targets.head_probs / targets.head_probs.sum(-1, keepdim=True)
        return SparseTargets(targets.head_ids, head, targets.tail_ids, targets.residual, targets.entropy)

    # every draw is the same here, so a little noise stands in for the sampling error of the test above
    def noisy(logits: torch.Tensor) -> SparseTargets:
        targets = normalised(logits)
        noise = torch.randn(targets.head_probs.shape, generator=seeded(), dtype=torch.float64) * 0.01
        return SparseTargets(
            targets.head_ids, targets.head_probs + noise, targets.tail_ids, targets.residual, targets.entropy
        )

    assert bias_in_standard_errors(noisy) > 100


# ---- slices of the vocabulary ---------------------------------------------------------------------------------------


def through_slices(logits: torch.Tensor, widths: list[int], generator: torch.Generator, k: int = 4) -> SparseTargets:
    collector = SparseAccumulator(len(logits), logits.shape[1], k, 12, generator)
    for part in logits.split(widths, dim=1):
        collector.add(part)
    return collector.finish().map(lambda t: t.double() if t.is_floating_point() else t)


@pytest.mark.parametrize("widths", [[300], [1] * 3 + [297], [64, 128, 108], [290, 10]])
def test_slices_give_the_head_of_the_whole(widths):
    logits = teacher_logits(50)
    whole, sliced = sparsify(logits, 4, 12, seeded()), through_slices(logits, widths, seeded())
    assert torch.equal(sliced.head_ids, whole.head_ids)
    torch.testing.assert_close(sliced.head_probs, whole.head_probs, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(sliced.residual, whole.residual, atol=1e-6, rtol=1e-5)
    assert not (sliced.tail_ids.unsqueeze(-1) == sliced.head_ids.unsqueeze(-2)).any()


def test_slices_draw_in_proportion():
    """The head is spread over slices, and tokens that lead for a while fall back among the others."""
    logits = teacher_logits(1).sort(-1).values
    targets = through_slices(logits.expand(10_000, -1), [50, 100, 100, 50], seeded())
    p = logits[0].softmax(-1)
    p[p.topk(4).indices] = 0
    counts = torch.bincount(targets.tail_ids.flatten(), minlength=V).double()
    assert surprises(counts, p / p.sum(), 120_000).max() < 4.5
    true = -(torch.xlogy(logits[0].softmax(-1), logits[0].softmax(-1))).sum()
    assert abs(targets.entropy.mean() - true) < 4.5 * targets.entropy.std() / 100


def test_a_slice_too_few_is_noticed():
    collector = SparseAccumulator(2, V)
    collector.add(torch.zeros(2, 100))
    with pytest.raises(ValueError, match="100 of 300"):
        collector.finish()

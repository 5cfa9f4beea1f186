"""Adapters beside a frozen model: each row gets its own, as if it were alone and the change were inside the model."""

import copy

import pytest
import torch

from nexus.training.adapters import Adapter, RowAdapters
from nexus.training.lora import load_adapter, save_adapter
from tests.tiny_release import tiny_model

IDS = torch.randint(256, (3, 17), generator=torch.Generator().manual_seed(1))


def adapter_of(model, seed=0, rank=3, targets=("all-linear",)):
    """An adapter that changes something."""
    made = Adapter.fresh(model, targets, rank, alpha=2.0, seed=seed)
    draw = torch.Generator().manual_seed(100 + seed)
    with torch.no_grad():
        for up in made.up.values():
            up.copy_(0.1 * torch.randn(up.shape, generator=draw))
    return made.to(torch.float64)


@pytest.fixture
def model():
    return tiny_model(plan="MWAT").double()


def test_an_adapter_equals_lora_inside_the_model_in_outputs_and_gradients(model, tmp_path):
    adapter, rows, inside = adapter_of(model), RowAdapters(model), copy.deepcopy(model)
    adapter.save(tmp_path / "a")
    names = load_adapter(inside.float(), tmp_path / "a")
    assert sorted(names) == sorted(adapter.layers())
    assert not [name for name in names if name.startswith("backbone.blocks.3.mixer")], "memory learns by itself"
    inside.double()
    model.requires_grad_(False)
    with rows.using(adapter):
        ours = model(IDS).logits
    theirs = inside(IDS).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)  # the file is in single precision
    plain = model(IDS).logits
    assert (ours - plain).abs().max() > 0.1
    ours.square().sum().backward()
    theirs.square().sum().backward()
    for name, change in adapter.changes():
        layer = inside.get_submodule(name)
        torch.testing.assert_close(change.down.grad, layer.lora_A.grad, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(change.up.grad, layer.lora_B.grad, rtol=1e-4, atol=1e-4)


def test_each_row_obeys_its_own_adapter_and_a_row_without_one_is_untouched(model):
    first, second, rows = adapter_of(model), adapter_of(model, 1, rank=5, targets=("gate_up_proj",)), RowAdapters(model)
    with torch.inference_mode():
        plain = model(IDS).logits
        with rows.using([first, None, second]):
            mixed = model(IDS).logits
        for place, adapter in enumerate((first, None, second)):
            with rows.using(adapter):
                alone = model(IDS).logits
            torch.testing.assert_close(mixed[place], alone[place])
        with rows.using([None, None, None]):
            assert torch.equal(model(IDS).logits, plain)
        assert torch.equal(model(IDS).logits, plain), "the change ends with the block"
    assert torch.equal(mixed[1], plain[1])
    assert not torch.allclose(mixed[0], plain[0])
    assert not torch.allclose(mixed[2], plain[2])


def test_blocks_nest_and_an_error_leaves_the_plain_model(model):
    first, second, rows = adapter_of(model), adapter_of(model, 1), RowAdapters(model)
    plain = model(IDS).logits
    with rows.using(first):
        outer = model(IDS).logits
        with rows.using(second):
            assert not torch.allclose(model(IDS).logits, outer)
        torch.testing.assert_close(model(IDS).logits, outer)
        with pytest.raises(RuntimeError), rows.using(second):
            raise RuntimeError
        torch.testing.assert_close(model(IDS).logits, outer)
    assert torch.equal(model(IDS).logits, plain)


def test_a_fresh_adapter_changes_nothing_and_a_saved_one_comes_back(model, tmp_path):
    rows, adapter = RowAdapters(model), adapter_of(model)
    with rows.using(Adapter.fresh(model, ["all-linear"]).double()):
        assert torch.equal(model(IDS).logits, model(IDS).logits)
    adapter.save(tmp_path / "a")
    again = Adapter.load(tmp_path / "a", model)
    assert next(again.parameters()).dtype == torch.float64
    for (name, one), (other, two) in zip(sorted(adapter.changes()), sorted(again.changes()), strict=True):
        assert name == other
        torch.testing.assert_close(one.up.float(), two.up.float())
        torch.testing.assert_close(one.down.float(), two.down.float())


def test_lora_reads_what_an_adapter_wrote_and_the_other_way_round(model, tmp_path):
    adapter_of(model).save(tmp_path / "ours")
    inside = copy.deepcopy(model)
    load_adapter(inside, tmp_path / "ours")
    save_adapter(inside, tmp_path / "theirs")
    names = Adapter.load(tmp_path / "theirs", model).layers()
    assert sorted(names) == sorted(adapter_of(model).layers())


def test_what_does_not_fit_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="rank=0"):
        Adapter.fresh(model, ["all-linear"], rank=0)
    with pytest.raises(ValueError, match="no linear layer has such a name"):
        Adapter.fresh(model, ["nothing"])
    with pytest.raises(FileNotFoundError, match="lacks adapter_config"):
        Adapter.load(tmp_path, model)
    adapter_of(model).save(tmp_path / "a")
    with pytest.raises(ValueError, match="is it the right model"):
        Adapter.load(tmp_path / "a", torch.nn.Linear(2, 2))

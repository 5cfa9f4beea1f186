"""The contract of the zoo: what holds for every system that has a proof, whatever it is.

What a paper claims is tested beside this, in `test_<stem>.py` of its room. A system enters here as soon as there is
`nexus/zoo/proofs/<stem>.py`, and stays: a certificate that no longer fits the text is a failure, not a way out.
"""

from __future__ import annotations

import importlib
import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nexus.catalog import PACKAGE, ROWS, Row, find
from nexus.core.base import BaseConfig, ConfigError, NexusModule
from nexus.zoo import card, certificate, cost, formulas
from nexus.zoo.mutate import mutated_text
from nexus.zoo.new import BLANK, PAGE_TEMPLATE, own_test
from nexus.zoo.proof import Example
from nexus.zoo.verify import golden_hashes, load_proof, run_proof
from tests.promised import PAGE_HEADINGS

ROOT = PACKAGE.parent
PROVED = [row for row in ROWS if row.proof_file.is_file()]
TINY = 2_000_000  # parameters that `tiny()` may have, so that it builds and trains in a second


def each(values: list[Row]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", values, ids=lambda row: row.name)


def example(row: Row, seed: int = 0) -> Example:
    torch.manual_seed(seed)
    return load_proof(row).example(seed)


def call(made: Example, module: nn.Module | None = None) -> list[Tensor]:
    """The tensors of one call, with fresh draws of the same seed."""
    torch.manual_seed(1)
    return list(cost.tensors_of((module or made.module)(*made.inputs)))


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_every_proof_belongs_to_a_row():
    stems = {path.stem for path in (PACKAGE / "zoo" / "proofs").glob("[a-z]*.py")}  # `_shared.py` and the like are none
    assert stems <= {row.stem for row in ROWS}
    made = {path.stem for path in (PACKAGE / "certificates").glob("*.json")}
    assert made <= stems


# ---- the module ------------------------------------------------------------------------------------------------------


@each(PROVED)
def test_it_gives_finite_tensors(row):
    outputs = call(example(row))
    assert outputs
    assert all(tensor.numel() for tensor in outputs)
    assert all(tensor.isfinite().all() for tensor in cost.floats_of(outputs))


@each(PROVED)
def test_the_same_seed_gives_the_same_tensors(row):
    assert same(call(example(row)), call(example(row)))
    made = example(row)
    assert same(call(made), call(made))


@each(PROVED)
def test_every_parameter_gets_a_gradient(row):
    made = example(row)
    total = torch.zeros((), dtype=torch.float64)
    for tensor in cost.floats_of(call(made)):
        total = total + (tensor * torch.randn_like(tensor)).sum().double()
    parameters = {name: p for name, p in made.module.named_parameters() if p.requires_grad}
    if parameters:
        total.backward()
    assert [name for name, p in parameters.items() if p.grad is None or not p.grad.any()] == []
    assert [name for name, p in parameters.items() if not p.grad.isfinite().all()] == []


@each(PROVED)
def test_weights_go_through_a_state_dict(row):
    made, other = example(row), example(row, seed=1).module
    other.load_state_dict(made.module.state_dict())
    assert same(call(made), call(made, other))


@each(PROVED)
def test_a_whole_model_is_saved_and_loaded(row, tmp_path):
    made = example(row)
    if not isinstance(made.module, NexusModule):
        return  # a part is saved with the model that it is part of
    wanted = call(Example(made.module.eval(), made.inputs))
    assert same(call(made, type(made.module).load(made.module.save(tmp_path))), wanted)


@each(PROVED)
def test_a_whole_model_has_a_tiny_config_and_refuses_what_it_does_not_know(row):
    module = example(row).module
    if not isinstance(module, NexusModule):
        with pytest.raises(TypeError):
            type(module)(no_such_option=1)
        return
    config = type(module).config_class
    assert config is not None, f"{type(module).__name__} names no config_class"
    assert issubclass(config, BaseConfig)
    tiny = config.tiny()
    assert config.from_dict(tiny.to_dict()) == tiny
    with pytest.raises(ConfigError, match="no_such_option"):
        config.from_dict({**tiny.to_dict(), "no_such_option": 1})
    assert type(module)(tiny).num_parameters() <= TINY


# ---- the proof -------------------------------------------------------------------------------------------------------


@each(PROVED)
def test_the_certificate_is_for_the_present_text(row):
    record = certificate.read(row)
    assert record is not None, f"run `nexus zoo verify {row.name}`"
    assert row.status == "proved", f"the text has changed: run `nexus zoo verify {row.name}`"
    assert record.golden == golden_hashes(row, load_proof(row))


@each(PROVED)
def test_the_proof_holds_again(row):
    findings = run_proof(row.stem, [0])
    assert findings.holds, f"{findings.worst} is off by {findings.largest:.2e}"


@each(PROVED)
def test_at_least_three_typical_mistakes_are_planted(row):
    proof, record = load_proof(row), certificate.read(row)
    names = [mutation.name for mutation in proof.MUTATIONS]
    assert len(set(names)) == len(names) >= 3
    for mutation in proof.MUTATIONS:
        mutated_text(row, mutation)  # its text is there, once
    assert record is not None
    assert set(record.mutations) == set(names)


@each(PROVED)
def test_costs_are_those_of_the_certificate(row):
    torch.manual_seed(0)
    counted, record, entry = cost.count(load_proof(row).example()), certificate.read(row), formulas.find(row.stem)
    assert record is not None
    cure = f"run `nexus zoo cost {row.name}`"
    assert (counted.parameters, counted.flops) == (record.cost["parameters"], record.cost["flops"]), cure
    assert record.formulas == (entry.formulas() if entry else {}), cure
    assert len(record.sizes) >= (2 if entry else 0), cure


# ---- the page and the test -------------------------------------------------------------------------------------------


@each(PROVED)
def test_it_has_a_page_of_ten_parts_and_a_test(row):
    text = (ROOT / row.page).read_text(encoding="utf-8")
    found = [re.search(rf"^## \d+\. {re.escape(heading)}$", text, re.MULTILINE) for heading in PAGE_HEADINGS]
    assert [heading for heading, match in zip(PAGE_HEADINGS, found, strict=True) if not match] == []
    assert all(a.start() < b.start() for a, b in pairwise(found)), "parts out of order"
    assert own_test(row).is_file(), f"{own_test(row).relative_to(ROOT)} is missing"


@each([row for row in ROWS if (ROOT / row.page).is_file()])
def test_the_card_on_its_page_is_current(row):
    text = (ROOT / row.page).read_text(encoding="utf-8")
    assert card.card(row) in text, "run `python -m nexus.zoo.index`"


def test_no_blank_is_left():
    templates = {ROOT / PAGE_TEMPLATE, ROOT / "nexus" / "zoo" / "new.py", Path(__file__)}
    files = [*(ROOT / "nexus").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "tests").rglob("*.py")]
    for path in set(files) - templates:
        if path.parts[-2:-1] != ("zoo",):
            assert BLANK not in path.read_text(encoding="utf-8"), path


def test_a_part_is_found_by_its_module():
    for row in PROVED:
        assert hasattr(importlib.import_module(row.module), row.name), f"{row.module} has no {row.name}"
    assert find("LayerNorm") in PROVED

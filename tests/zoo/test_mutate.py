"""Planted mistakes: they reach whatever is built from the module, leave no trace, and clumsy ones are refused."""

import sys

import pytest

from nexus.catalog import find
from nexus.zoo import mutate
from nexus.zoo.mutate import ROOT, mutated_text, noticed, planted
from nexus.zoo.proof import Mutation

ROW = find("LayerNorm")
NORM = "nexus.layers.components.layer_norm"


def test_the_mistake_is_in_the_module_within_the_block_only():
    before = sys.modules.get("nexus")
    text = ROW.file.read_text(encoding="utf-8").replace("class LayerNorm", "PLANTED = 1\n\n\nclass LayerNorm")
    with planted(ROW.file, text):
        module = __import__(NORM, fromlist=["x"])
        assert module.PLANTED == 1
        assert module.__file__ == str(ROW.file)
    assert not hasattr(__import__(NORM, fromlist=["x"]), "PLANTED")
    assert sys.modules.get("nexus") is before


def test_a_package_is_replaced_too():
    file = ROOT / "nexus" / "layers" / "__init__.py"
    with planted(file, "PLANTED = 2\n"):
        import nexus.layers

        assert nexus.layers.PLANTED == 2
        __import__(NORM, fromlist=["x"])  # the rest of the package is still found


def test_a_mistake_is_noticed_and_no_mistake_is_not():
    caught = noticed(ROW, Mutation("bias lost", "scaled if bias is None else scaled + bias", "scaled"), [0])
    assert caught.startswith(("output off by", "raised"))
    assert noticed(ROW, Mutation("nothing wrong", "normed = centred *", "normed = 1 * centred *"), [0]) is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("no such text", "", "stands 0 times in layer_norm.py"),
        ("weight", "", "times in layer_norm.py; it has to be there once"),
        ("normed = centred *", "normed = undefined *", "breaks the code .NameError"),
        ("normed = centred *", "normed = = centred *", "breaks the code .SyntaxError"),
        ("normed = centred *", "normed = centred.no_such *", "breaks the code .AttributeError"),
    ],
)
def test_clumsy_mistakes_are_refused(old, new, message):
    with pytest.raises(ValueError, match=message):
        noticed(ROW, Mutation("clumsy", old, new), [0])


def test_a_part_elsewhere_can_be_spoilt():
    file, text = mutated_text(ROW, Mutation("other file", "Files that are whole", "FILES", "nexus/core/files.py"))
    assert file.name == "files.py"
    assert text.startswith('"""FILES or absent')
    with pytest.raises(ValueError, match=r"there is no file nexus/none.py"):
        mutated_text(ROW, Mutation("nowhere", "a", "b", "nexus/none.py"))


def test_the_process_of_its_own_reports_every_mistake():
    caught = mutate.catches(ROW, [0])
    assert len(caught) >= 3
    assert all(caught.values())


def test_a_mistake_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(mutate, "TIMEOUT", 0.01)
    with pytest.raises(ValueError, match=r"LayerNorm: the planted mistakes took more than 0\.01 s"):
        mutate.catches(ROW, [0])


def test_operators_of_modules_imported_before_live_on():
    """Registered a second time they were dead: std::bad_alloc in whatever scanned later in the same process."""
    import torch

    from nexus.layers.ssm.scan import scan

    with planted(ROW.file, ROW.file.read_text(encoding="utf-8")):
        from nexus.layers.ssm.scan import scan as again
    x = torch.randn(1, 4, 1, 2, requires_grad=True)
    sizes, state = torch.rand(1, 4, 1), torch.zeros(1, 1, 3, 2)
    for which in (scan, again):
        y, _ = which(x, sizes, -sizes, torch.randn(1, 4, 1, 3), torch.randn(1, 4, 1, 3), torch.ones(1), state, 2)
        y.sum().backward()
    assert x.grad.isfinite().all()

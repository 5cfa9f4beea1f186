"""Golden files: what was frozen comes back, and what was changed since is refused."""

import textwrap

import pytest
import torch
from safetensors.torch import load_file, save_file

from nexus.zoo import golden

SCRIPT = '''
# /// script
# dependencies = ["torch", "safetensors>=0.5"]
# ///
"""An oracle that only this environment has."""
import torch


def tensors():
    x = torch.arange(6.0).reshape(2, 3)
    return {"input": x, "output": x.T @ x, "count": torch.tensor(3), "half": x.bfloat16()}
'''


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "toy.py").write_text(textwrap.dedent(SCRIPT), encoding="utf-8")
    golden.write(tmp_path / "toy.py", tmp_path / "toy.safetensors")
    return tmp_path


def test_what_was_frozen_comes_back_with_its_versions(folder):
    tensors = golden.read("toy", folder)
    assert tensors.keys() == {"input", "output", "count", "half"}
    assert torch.equal(tensors["output"], tensors["input"].T @ tensors["input"])
    assert golden.versions("toy", folder)["torch"] == torch.__version__


@pytest.mark.parametrize("change", ["values", "name", "type"])
def test_changed_tensors_are_refused(folder, change):
    from safetensors import safe_open

    file = folder / "toy.safetensors"
    tensors = load_file(file)
    with safe_open(file, "pt") as handle:
        header = handle.metadata()
    if change == "values":
        tensors["output"][0, 0] += 1e-6
    elif change == "name":
        tensors["other"] = tensors.pop("output")
    else:
        tensors["count"] = tensors["count"].int()
    save_file(tensors, file, metadata=header)
    with pytest.raises(
        ValueError, match=r"not those that were frozen; make it anew with `python -m nexus.zoo.golden toy`"
    ):
        golden.read("toy", folder)


def test_a_file_of_another_script_is_refused(folder):
    (folder / "toy.py").write_text(SCRIPT + "# changed\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"was made by another text of toy\.py"):
        golden.read("toy", folder)


def test_what_is_not_there_or_no_golden_file_is_refused(folder):
    with pytest.raises(ValueError, match="cannot be read"):
        golden.read("none", folder)
    (folder / "toy.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="cannot be read"):
        golden.read("toy", folder)
    save_file({"x": torch.ones(1)}, folder / "toy.safetensors")
    with pytest.raises(ValueError, match="not those that were frozen"):
        golden.read("toy", folder)


def test_a_script_says_what_it_needs(folder):
    assert golden.requirements(folder / "toy.py") == ["torch", "safetensors>=0.5"]
    (folder / "mute.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match=r"mute\.py: says nothing of what it needs"):
        golden.requirements(folder / "mute.py")


def test_large_ones_are_refused(folder):
    large = SCRIPT.replace("torch.arange(6.0).reshape(2, 3)", "torch.zeros(600, 600)")
    (folder / "large.py").write_text(large, encoding="utf-8")
    with pytest.raises(ValueError, match="take a smaller example"):
        golden.write(folder / "large.py", folder / "large.safetensors")


@pytest.mark.slow
def test_it_is_made_anew_in_an_environment_of_its_own(folder):
    pins = {"torch": torch.__version__.split("+")[0]}
    script = folder / "toy.py"
    script.write_text(SCRIPT.replace('"torch"', f'"torch=={pins["torch"]}", "numpy"'), encoding="utf-8")
    assert golden.regenerate("toy", folder) == "toy: 4 tensors, largest difference to before 0.0e+00"
    assert golden.versions("toy", folder).keys() == {"torch", "numpy", "safetensors"}

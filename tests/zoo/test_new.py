"""Laying out a system: what is written is sound but for its blanks, nothing is overwritten, and the blanks fail."""

import shutil
import subprocess
import sys

import pytest

from nexus.catalog import find
from nexus.cli import main
from nexus.zoo import new
from nexus.zoo.new import BLANK, PAGE_TEMPLATE, lay_out, own_test
from tests.promised import PAGE_HEADINGS

ROOT = new.ROOT


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A project with nothing in it but the template of a page."""
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / PAGE_TEMPLATE, tmp_path / PAGE_TEMPLATE)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.setattr(new, "ROOT", tmp_path)
    monkeypatch.setattr("nexus.catalog.PACKAGE", tmp_path / "nexus")
    monkeypatch.setattr("nexus.zoo.commands.PACKAGE", tmp_path / "nexus")
    return tmp_path


@pytest.mark.parametrize("name", ["NVLM", "NoPE"])
def test_what_is_laid_out_is_sound_but_for_its_blanks(checkout, name):
    files = [path for path, _ in lay_out(find(name))]
    assert len(files) == 4
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert BLANK in text
        assert "{{" not in text
    python = [str(path) for path in files if path.suffix == ".py"]
    for command in (["check", "--quiet"], ["format", "--check", "--quiet"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, *python], cwd=checkout, check=True)
    headings = [line for line in files[3].read_text().splitlines() if line.startswith("## ")]
    assert headings == [f"## {number}. {heading}" for number, heading in enumerate(PAGE_HEADINGS, 1)]


def test_the_blanks_fail_until_they_are_filled_in(checkout):
    row = find("NoPE")
    lay_out(row)
    shutil.copytree(ROOT / "nexus" / "core", checkout / "nexus" / "core")
    for name in ("zoo/__init__.py", "zoo/proof.py", "__init__.py", "catalog.py"):
        shutil.copy(ROOT / "nexus" / name, checkout / "nexus" / name)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(own_test(row))]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"Failed: {BLANK}" in done.stdout


def test_nothing_is_overwritten(checkout, capsys):
    row = find("NVLM")
    row.file.parent.mkdir(parents=True)
    row.file.write_text("mine\n")
    assert main(["zoo", "new", "NVLM"]) == 0
    told = capsys.readouterr().out
    assert "kept   nexus/models/multimodal/nvlm.py" in told
    assert "wrote  docs/13_multimodal_models/nvlm.md" in told
    assert row.file.read_text() == "mine\n"


def test_without_a_checkout_there_is_nowhere_to_put_a_page(tmp_path, monkeypatch):
    monkeypatch.setattr(new, "ROOT", tmp_path)
    with pytest.raises(ValueError, match="is no checkout of Nexus"):
        lay_out(find("NVLM"))


def test_a_name_that_is_in_no_row_is_refused(capsys):
    assert main(["zoo", "new", "NoSuchModel"]) == 2
    told = capsys.readouterr().err
    assert "is no system of the zoo" in told
    assert "gets its row in nexus/catalog.py first" in told

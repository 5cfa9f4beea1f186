"""Proving: a certificate only where everything holds, none where something does not, and the commands around it."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from nexus.catalog import find
from nexus.cli import main
from nexus.zoo import bench, card, certificate, formulas, mutate, verify
from nexus.zoo.proof import Comparison
from nexus.zoo.verify import Findings, NotProved

ROW = find("LayerNorm")


@pytest.fixture
def apart(tmp_path, monkeypatch):
    """Certificates, results and pages go to a folder of their own; the mistakes are not tried again here."""
    monkeypatch.setattr("nexus.catalog.CERTIFICATES", tmp_path / "certificates")
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results")
    monkeypatch.setattr("nexus.zoo.index.refresh", list)
    monkeypatch.setattr(
        mutate, "catches", lambda row, seeds: {m.name: "output" for m in verify.load_proof(row).MUTATIONS}
    )
    return tmp_path


def _prove_by(monkeypatch, prove):
    monkeypatch.setattr(verify.load_proof(ROW), "prove", prove)


def _prove_with(monkeypatch, *comparisons):
    _prove_by(monkeypatch, lambda seed: iter(comparisons))


def test_a_certificate_says_what_was_found(apart):
    made = verify.verify(ROW, [0, 1])
    assert certificate.read(ROW) == made
    assert (made.seeds, made.dtype) == ((0, 1), "float64")
    assert 0 < made.gradients <= made.tolerance
    assert made.versions["torch"] == torch.__version__
    assert ROW.status == "proved"


def test_what_is_off_loses_its_certificate(apart, monkeypatch):
    verify.verify(ROW, [0])
    one = torch.ones(2)
    _prove_with(monkeypatch, Comparison("output", one, one), Comparison("gradient of w", one, one + 1e-3))
    with pytest.raises(NotProved, match=r"LayerNorm: gradient of w is off by 9.9\de-04, allowed 1e-12"):
        verify.verify(ROW, [0])
    assert certificate.read(ROW) is None
    assert ROW.status == "planned"


def test_a_mistake_that_goes_unnoticed_costs_the_certificate(apart, monkeypatch):
    verify.verify(ROW, [0])
    monkeypatch.setattr(mutate, "catches", lambda row, seeds: {"scale forgotten": None, "other": "output"})
    with pytest.raises(NotProved, match="does not notice 1 planted mistakes: scale forgotten"):
        verify.verify(ROW, [0])
    assert not ROW.certificate.exists()


def test_a_wrong_formula_costs_the_certificate(apart, monkeypatch):
    _with_wrong_formula(monkeypatch)
    with pytest.raises(NotProved, match=r"the cost raised .*parameters: the formula gives 24, counted are 16"):
        verify.verify(ROW, [0])


def _with_wrong_formula(monkeypatch):
    wrong = replace(formulas.entries()["layer_norm"], parameters="3 * d_model")
    monkeypatch.setattr(formulas, "find", lambda stem: wrong)


def test_costs_are_counted_again_without_a_new_proof(apart, monkeypatch, capsys):
    assert main(["zoo", "cost", "LayerNorm"]) == 1
    assert "run `nexus zoo verify LayerNorm` first" in capsys.readouterr().out
    made = verify.verify(ROW, [0])
    certificate.write(ROW, made.replace(cost={"parameters": 1, "seconds": 0.5}, formulas={}, sizes=()))
    assert main(["zoo", "cost", "LayerNorm"]) == 0
    assert "LayerNorm: parameters, flops, activations by formula" in capsys.readouterr().out
    again = certificate.read(ROW)
    assert again.cost == {**made.cost, "seconds": 0.5}
    assert (again.formulas, again.sizes, again.seeds) == (made.formulas, made.sizes, made.seeds)
    _with_wrong_formula(monkeypatch)
    assert main(["zoo", "cost", "LayerNorm"]) == 1
    assert "WRONG      LayerNorm: at B=2,T=7,d_model=8: parameters" in capsys.readouterr().out


def test_the_formulas_answer_for_other_sizes(capsys):
    assert main(["zoo", "card", "LayerNorm", "--at", "d_model=4096,B=1,T=8192,E=2"]) == 0
    told = capsys.readouterr().out
    assert "d_model=4096" in told
    assert "8,192" in told  # parameters
    assert "67,141,632" in told  # 2 bytes, 8192 positions, 4096 features and two statistics
    assert main(["zoo", "card", "LayerNorm", "--at", "width=3"]) == 2
    assert "width: no size of LayerNorm; it has E, B, T, d_model" in capsys.readouterr().err
    assert main(["zoo", "card", "NVLM", "--at", "B=3"]) == 2
    assert "NVLM: has no formulas" in capsys.readouterr().err


def test_a_proof_that_raises_proves_nothing(apart, monkeypatch):
    verify.verify(ROW, [0])
    _prove_by(monkeypatch, lambda seed: 1 / 0)
    with pytest.raises(NotProved, match="LayerNorm: the proof raised ZeroDivisionError"):
        verify.verify(ROW, [0])
    assert ROW.status == "planned"


def test_a_package_that_is_not_here_says_nothing_against_the_system(apart, monkeypatch):
    verify.verify(ROW, [0])
    _prove_by(monkeypatch, lambda seed: __import__("no_such_oracle"))
    with pytest.raises(ValueError, match=r"its proof needs no_such_oracle; pip install -e '\.\[dev\]'"):
        verify.verify(ROW, [0])
    assert ROW.status == "proved"
    _prove_by(monkeypatch, lambda seed: __import__("nexus.no_such_part"))
    with pytest.raises(NotProved, match=r"imports nexus\.no_such_part, which does not exist"):
        verify.verify(ROW, [0])


def test_an_oracle_that_is_not_installed_is_named(apart, monkeypatch):
    monkeypatch.setattr(verify.load_proof(ROW), "ORACLE", ("no-such-package",))
    with pytest.raises(ValueError, match=r"layer_norm\.py: ORACLE names no-such-package"):
        verify.verify(ROW, [0])


def test_a_golden_file_that_a_proof_names_has_to_be_there(monkeypatch, tmp_path):
    proof = verify.load_proof(ROW)
    monkeypatch.setattr(verify, "FOLDER", tmp_path)
    assert verify.golden_hashes(ROW, proof) == {}
    (tmp_path / "layer_norm.safetensors").write_bytes(b"numbers")
    assert len(verify.golden_hashes(ROW, proof)["layer_norm"]) == 64
    monkeypatch.setattr(proof, "GOLDEN", ("other",), raising=False)
    with pytest.raises(ValueError, match="there is no golden file for other"):
        verify.golden_hashes(ROW, proof)


def test_a_proof_that_compares_nothing_proves_nothing(apart, monkeypatch):
    _prove_with(monkeypatch)
    with pytest.raises(NotProved, match="nothing is off"):
        verify.verify(ROW, [0])


def test_a_spoilt_certificate_is_replaced(apart):
    ROW.certificate.parent.mkdir()
    ROW.certificate.write_text('{"system": 3}')
    with pytest.raises(ValueError, match="is not a certificate"):
        certificate.read(ROW)
    verify.verify(ROW, [0])
    assert certificate.read(ROW).system == "LayerNorm"


@pytest.mark.parametrize(
    ("theirs", "holds"), [(float("nan"), False), (float("inf"), False), (1.0, True), (1.0 + 1e-9, False)]
)
def test_what_is_not_a_number_does_not_hold(theirs, holds):
    findings, one = Findings(tolerance=1e-10), torch.ones(2, dtype=torch.float64)
    comparison = Comparison("output", one, torch.tensor([1.0, theirs], dtype=torch.float64))
    findings.add(comparison.what, comparison.difference, one.dtype)
    assert findings.holds is holds


def test_a_system_without_a_proof_is_refused_with_the_cure(capsys):
    assert main(["zoo", "verify", "NVLM"]) == 2
    assert "nexus zoo new NVLM" in capsys.readouterr().err


def test_a_missing_package_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setattr("nexus.catalog.PACKAGE", tmp_path)
    row = find("NVLM")
    row.proof_file.parent.mkdir(parents=True)
    row.proof_file.write_text("")

    def absent(name):
        raise ModuleNotFoundError("no", name="some_oracle.part")

    monkeypatch.setattr(verify.importlib, "import_module", absent)
    with pytest.raises(ValueError, match=r"its proof needs some_oracle.part; pip install -e '.\[dev\]'"):
        verify.load_proof(row)


def test_the_command_tells_the_differences_and_fails_with_the_proof(apart, monkeypatch, capsys):
    assert main(["zoo", "verify", "layernorm", "--seeds", "1"]) == 0
    told = capsys.readouterr().out
    assert "proved     LayerNorm: outputs" in told
    assert f"{len(verify.load_proof(ROW).MUTATIONS)} of" in told
    assert main(["zoo", "verify", "LayerNorm", "--stale"]) == 0
    assert capsys.readouterr().out == "0 of 0 proved\n"
    _prove_with(monkeypatch, Comparison("output", torch.zeros(1), torch.ones(1)))
    assert main(["zoo", "verify", "LayerNorm"]) == 1
    assert "NOT PROVED LayerNorm: output is off by 1.00e+00" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["verify"], ["verify", "LayerNorm", "--all"], ["verify", "LayerNorm", "--seeds", "0"], ["show", "nothing"]],
)
def test_a_command_line_that_makes_no_sense_ends_with_one_line(arguments, capsys):
    assert main(["zoo", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_bench_puts_peers_beside_ours_on_the_card(apart, capsys):
    with pytest.raises(ValueError, match="run `nexus zoo verify LayerNorm` first"):
        bench.bench(ROW)
    verify.verify(ROW, [0])
    result = bench.bench(ROW, rounds=1)
    assert list(result.seconds)[:2] == ["LayerNorm", "torch.nn.LayerNorm"]
    assert json.loads((apart / "results" / "zoo_layer_norm.json").read_text())["inputs"] == "8 x 512 x 512"
    assert "torch.nn.LayerNorm" in card.card(ROW).partition("Forward and backward")[2]
    verify.verify(ROW, [0])
    assert certificate.read(ROW).bench == result  # a new proof of the same text keeps it


def test_listing_and_showing_need_no_torch():
    code = (
        "import sys; from nexus.cli import main; main(['zoo', 'list']); main(['zoo', 'show', 'LayerNorm']); "
        "main(['zoo', 'card', 'LayerNorm']); main(['zoo', 'card', 'LayerNorm', '--at', 'T=3']); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "proved   LayerNorm" in done.stdout
    assert "noticed    mean not taken off" in done.stdout
    assert shutil.which("nexus", path=f"{sys.prefix}/bin")

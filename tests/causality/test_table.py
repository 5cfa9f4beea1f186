"""Tables from every source; what cannot be read is answered by line, column and cure."""

import numpy as np
import pandas as pd
import pytest

from nexus.causality.knowledge import Knowledge
from nexus.causality.table import as_table, read_csv

VALUES = np.array([[1.0, 0], [2, 1], [4, 0], [3, 1], [5, 1]])


def test_all_sources_give_one_table(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "\n".join(f"{a},{b}" for a, b in VALUES) + "\n")
    frame = pd.DataFrame(VALUES, columns=["a", "b"])
    for source in (frame, dict(frame), path, str(path), as_table(VALUES, ["a", "b"])):
        table = as_table(source)
        assert table.names == ("a", "b")
        np.testing.assert_array_equal(table.values, VALUES)
    assert as_table(VALUES).names == ("x0", "x1")


def test_texts_are_coded(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("size;n\nlarge;1\nsmall;2\nlarge;3,5\nsmall;4\n".replace(",", "."))
    table = read_csv(path)
    assert table.levels == {"size": ("large", "small")}
    assert table.column("size").tolist() == [0, 1, 0, 1]
    assert table.is_discrete("size")
    assert not table.is_discrete("n")
    assert table.is_binary("size")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3,x\n4,5\n", "line 3, column 'b': 'x' is not a number; correct it"),
        ("a,b\n1,2\n3,\n4,5\n", "line 3, column 'b': the value is missing; fill it in"),
        ("a,b\n1,2\n3\n4,5\n", "line 3: has 1 values, the header has 2"),
        ("a,\n1,2\n", "line 1, column 2: has no name"),
        ("a,a\n1,2\n", "line 1, column 2: the name 'a' occurs twice"),
        ("a,b\n", "give a header line and then the data"),
        ('a,b\n1,2\n"3,4\n', "line 3: unexpected end of data; correct the quotes"),
        ("a\n1\n2\nx\n", "line 4, column 'a': 'x' is not a number"),
        ("", "has 0 lines"),
        ("a,b\n1,2\n1,3\n1,4\n1,5\n", "column 'a' is constant"),
        ("a,b\n1,2\n2,3\n", "at least 4"),
    ],
)
def test_a_faulty_file_is_answered_by_its_place(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_csv(path)


def test_a_missing_file_and_faulty_arrays_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="give the path"):
        read_csv(tmp_path / "no.csv")
    with pytest.raises(ValueError, match=r"column 'x1' has 1 missing .* row 2"):
        as_table(np.where(np.arange(10).reshape(5, 2) == 5, np.nan, np.arange(10.0).reshape(5, 2)))
    with pytest.raises(ValueError, match="shape"):
        as_table(np.arange(4.0))
    with pytest.raises(ValueError, match="lengths"):
        as_table({"a": np.arange(5), "b": np.arange(6)})
    with pytest.raises(ValueError, match="no column 'z'"):
        as_table(VALUES).column("z")


def test_knowledge_becomes_matrices_and_contradictions_are_refused():
    names = ["a", "b", "c"]
    allowed = Knowledge(tiers=[["a"], ["b", "c"]], forbidden=[("b", "c")]).allowed(names)
    assert allowed.tolist() == [[False, True, True], [False, False, False], [False, True, False]]
    with pytest.raises(ValueError, match="also forbidden"):
        Knowledge(required=[("b", "a")], tiers=[["a"], ["b"]]).allowed(names)
    with pytest.raises(ValueError, match="'q', which is no variable"):
        Knowledge(required=[("q", "a")]).demanded(names)
    with pytest.raises(ValueError, match="cycle a -> b -> a"):
        Knowledge(required=[("a", "b"), ("b", "a")]).demanded(names)

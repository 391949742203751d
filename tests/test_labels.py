"""Label tables: good ones in every dialect, and all problems of a bad one at once."""

from pathlib import Path

import pytest

from onlymymodel.data.labels import read_labels
from onlymymodel.errors import UserError

KNOWN = ["a.jpg", "sub/b.png", "c.png", "é.png"]
CLASSES = ["cat", "dog", "crane", "bird", "crane"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "labels.csv"


def read(
    table: Path,
    content: str | bytes,
    classes: list[str] | None = CLASSES,
    n_classes: int | None = None,
    known: list[str] = KNOWN,
) -> dict[str, int]:
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_labels(table, known=known, classes=classes, n_classes=n_classes)


def problem(table: Path, content: str | bytes, classes: list[str] | None = CLASSES) -> str:
    with pytest.raises(UserError) as caught:
        read(table, content, classes, None if classes else 10)
    return str(caught.value)


def test_indices_and_names(table: Path) -> None:
    labels = read(table, "file,label\na.jpg,dog\nsub/b.png,3\nc.png, 2 \n")
    assert labels == {"a.jpg": 1, "sub/b.png": 3, "c.png": 2}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_dialects(table: Path, newline: str, mark: str) -> None:
    lines = ["note,label,file", 'x,dog,"a.jpg"', "", '"two, words",cat,./c.png', "x,1,e\u0301.png"]
    assert read(table, mark + newline.join(lines)) == {"a.jpg": 1, "c.png": 0, "é.png": 1}


def test_a_header_alone_is_no_error(table: Path) -> None:
    assert read(table, "file,label\n") == {}


def test_duplicates_that_agree_are_fine(table: Path) -> None:
    assert read(table, "file,label\na.jpg,dog\na.jpg,1\n") == {"a.jpg": 1}


def test_any_index_without_a_model(table: Path) -> None:
    assert read(table, "file,label\na.jpg,9999\n", classes=None) == {"a.jpg": 9999}


def test_every_problem_is_listed_at_once(table: Path) -> None:
    content = "file,label\nx.jpg,wolf\na.jpg,dog\na.jpg,cat\nc.png,5\nsub/b.png,-1\nc.png,\nc.png,crane\n"
    assert problem(table, content) == (
        f"{table} cannot be used: not in the folder (1): 'x.jpg' (line 2); "
        "unknown classes (2): 'wolf' (line 2), '' (line 7); "
        "more than one label for a file (1): 'a.jpg' (line 4); "
        "indices outside 0 to 4 (2): '5' (line 5), '-1' (line 6); "
        "more than one class has this name or index (1): 'crane' (line 8)."
    )


def test_first_ten_of_each_and_the_count(table: Path) -> None:
    message = problem(table, "file,label\n" + "".join(f"{i}.jpg,dog\n" for i in range(12)))
    assert "not in the folder (12): '0.jpg' (line 2)" in message
    assert message.endswith("'9.jpg' (line 11), ....")


def test_index_that_is_also_a_class_name(table: Path) -> None:
    digits = [str(i) for i in range(10)]
    assert read(table, "file,label\na.jpg,7\n", classes=digits) == {"a.jpg": 7}
    assert "more than one class" in problem(table, "file,label\na.jpg,1\n", classes=["1", "2"])
    assert read(table, "file,label\na.jpg,2\n", classes=["1", "2"]) == {"a.jpg": 1}


def test_names_without_class_names(table: Path) -> None:
    assert "not an index (this model has no class names) (1): 'dog'" in problem(table, "file,label\na.jpg,dog\n", None)
    assert "indices outside 0 to 9 (1): '10'" in problem(table, "file,label\na.jpg,10\n", None)
    assert "indices outside 0 to 9" in problem(table, f"file,label\na.jpg,{'9' * 5000}\n", None)
    with pytest.raises(UserError, match="negative or huge indices"):
        read(table, f"file,label\na.jpg,{'9' * 5000}\n", None)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "has no column file and no column label; its first line has nothing."),
        ("file;label\na.jpg;dog", "has no column file and no column label; its first line has 'file;label'."),
        ("file,class\na.jpg,dog", "has no column label; its first line has 'file', 'class'."),
        ("file,label\n\xe9.jpg,dog".encode("latin-1"), "is not UTF-8 text; save it as CSV UTF-8."),
        ("file,label\n" + "x" * 200_000, "is not a CSV table: field larger than field limit (131072)."),
    ],
)
def test_tables_that_are_none(table: Path, content: str | bytes, reason: str) -> None:
    assert problem(table, content) == f"{table} {reason}"


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read: No such file or directory\."):
        read_labels(tmp_path / "no.csv", known=KNOWN, classes=None, n_classes=None)


def test_contradicting_arguments(table: Path) -> None:
    with pytest.raises(ValueError, match="5 class names for 6 classes"):
        read(table, "file,label\n", n_classes=6)

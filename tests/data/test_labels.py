"""Label tables: valid ones in every CSV variant, and all problems of an invalid one at once."""

from pathlib import Path

import pytest

from onlymymodel.data.labels import check_files, read_labels
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
    photos: list[str] = KNOWN,
) -> dict[str, int]:
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_labels(table, photos=photos, classes=classes, n_classes=n_classes)


def problem(table: Path, content: str | bytes, classes: list[str] | None = CLASSES) -> str:
    with pytest.raises(UserError) as caught:
        read(table, content, classes, None if classes else 10)
    return str(caught.value)


def test_indices_and_names(table: Path) -> None:
    labels = read(table, "file,label\na.jpg,dog\nsub/b.png,3\nc.png, 2 \n")
    assert labels == {"a.jpg": 1, "sub/b.png": 3, "c.png": 2}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_csv_variants_are_read(table: Path, newline: str, mark: str) -> None:
    lines = ["note,label,file", 'x,dog,"a.jpg"', "", '"two, words",cat,./c.png', "x,1,e\u0301.png"]
    assert read(table, mark + newline.join(lines)) == {"a.jpg": 1, "c.png": 0, "é.png": 1}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_as_spreadsheets_write_them_are_read(table: Path, delimiter: str) -> None:
    lines = ["file,label,note,", "a.jpg,dog,x,", ",,,", "c.png,cat,,", ",,a note,", " , ,,", ",,,", ""]
    assert read(table, "\r\n".join(lines).replace(",", delimiter)) == {"a.jpg": 1, "c.png": 0}


def test_paths_may_have_backslashes(table: Path) -> None:
    assert read(table, "file,label\nsub\\b.png,dog\n.\\a.jpg,cat\n") == {"sub/b.png": 1, "a.jpg": 0}
    photos = ["sub/b.png", "sub\\b.png"]  # a name on Linux may have one
    assert read(table, "file,label\nsub\\b.png,dog\n", photos=photos) == {"sub\\b.png": 1}


def test_the_shared_cases_are_read(cases: Path) -> None:
    for name, labels in (
        ("excel_trailing_rows.csv", {"a.jpg": 0}),
        ("semicolon.csv", {"a.jpg": 0}),
        ("backslash.csv", {"sub/b.jpg": 0}),
    ):
        photos = ["a.jpg", "sub/b.jpg"]
        assert read_labels(cases / name, photos=photos, classes=["cat", "dog"], n_classes=2) == labels


def test_a_header_alone_gives_no_labels(table: Path) -> None:
    assert read(table, "file,label\n") == {}


def test_equal_duplicates_are_accepted(table: Path) -> None:
    assert read(table, "file,label\na.jpg,dog\na.jpg,1\n") == {"a.jpg": 1}


def test_any_index_is_accepted_without_class_count(table: Path) -> None:
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


def test_names_need_class_names(table: Path) -> None:
    assert "not an index (this model has no class names) (1): 'dog'" in problem(table, "file,label\na.jpg,dog\n", None)
    assert "indices outside 0 to 9 (1): '10'" in problem(table, "file,label\na.jpg,10\n", None)
    assert "indices outside 0 to 9" in problem(table, f"file,label\na.jpg,{'9' * 5000}\n", None)
    with pytest.raises(UserError, match="negative or huge indices"):
        read(table, f"file,label\na.jpg,{'9' * 5000}\n", None)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty."),
        ("file:label\na.jpg:dog", "has no column file and no column label; its first line has 'file:label'."),
        (
            "file,label,label\na.jpg,dog,cat",
            "has more than one column label; its first line has 'file', 'label', 'label'.",
        ),
        (
            "file;file;label\na.jpg;b.jpg;cat",
            "has more than one column file; its first line has 'file', 'file', 'label'.",
        ),
        ("file,label\na.jpg", "is truncated: line 2 has too few columns."),
        ("file,class\na.jpg,dog", "has no column label; its first line has 'file', 'class'."),
        ("file,label\n\xe9.jpg,dog".encode("latin-1"), "is not UTF-8 text; save it as CSV UTF-8."),
        ("file,label\n" + "x" * 200_000, "is not a CSV table: field larger than field limit (131072)."),
    ],
)
def test_files_that_are_no_tables_are_refused(table: Path, content: str | bytes, reason: str) -> None:
    assert problem(table, content) == f"{table} {reason}"


def test_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.csv is missing\."):
        read_labels(tmp_path / "no.csv", photos=KNOWN, classes=None, n_classes=None)


def test_contradicting_arguments_are_refused(table: Path) -> None:
    with pytest.raises(ValueError, match="5 class names for 6 classes"):
        read(table, "file,label\n", n_classes=6)


def test_rows_of_files_that_are_in_the_folder_but_not_asked_for_are_passed_over(tmp_path: Path) -> None:
    """One photo of a folder is protected, or some are excluded: the table may have labels of all."""
    folder, table = tmp_path / "photos", tmp_path / "labels.csv"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png"):
        (folder / name).write_bytes(b"")
    table.write_text("file,label\na.png,1\nsub\\b.png,0\n")
    assert read_labels(table, photos=["a.png"], classes=None, n_classes=2, folder=folder) == {"a.png": 1}
    check_files(table, ["a.png"], folder)
    table.write_text("file,label\na.png,1\n../labels.csv,0\nother.png,0\n")
    for read in (
        lambda: read_labels(table, photos=["a.png"], classes=None, n_classes=2, folder=folder),
        lambda: check_files(table, ["a.png"], folder),
    ):
        with pytest.raises(UserError, match=r"not in the folder \(2\): '../labels.csv' \(line 3\), 'other.png'"):
            read()

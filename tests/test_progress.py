"""Progress as lines, as JSON lines, or not at all."""

import json
from collections.abc import Callable

import pytest
from patience import wait_until

from onlymymodel.progress import Display, Mode, counted, duration, remark, shown, track


def lines_when(is_so: Callable[[list[str]], bool], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines on standard error once they are so."""
    printed: list[str] = []

    def enough() -> bool:
        printed.extend(capsys.readouterr().err.splitlines())
        return is_so(printed)

    wait_until(enough)
    return printed


def test_lines_say_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(Display("lines", interval=0.01)), counted("protecting", 12) as task:
        task.note("8 at work, step 3/30")
        lines = lines_when(lambda printed: bool(printed), capsys)
        assert lines[0] == "protecting: 0 of 12 photos, 8 at work, step 3/30, 0 s"
        task.worked(8, 80.0)
        for index in range(8):
            task.photo(f"{index}.png", "protected", "2 of 2 stand-ins misread it", 10.0)
        lines = lines_when(lambda printed: any("8 of 12" in line for line in printed), capsys)
    assert "about 10.0 s a photo: 4 more photos will take about 40 s" in lines
    assert "protecting: 8 of 12 photos, 8 protected, 0 s, about 40 s left" in lines
    assert not any("7.png" in line for line in lines)
    assert capsys.readouterr().err.splitlines()[-1] == "protecting: 8 of 12 photos, 8 protected, 0 s"


def test_a_task_that_ends_at_once_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(Display("lines")):
        assert list(track([1, 2, 3], "judging")) == [1, 2, 3]
    assert capsys.readouterr().err == ""


def test_verbose_has_a_line_for_each_photo(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(Display("lines", verbose=True)), counted("protecting", 2) as task:
        task.photo("a.png", "protected", "1 of 1 stand-ins misread it")
        task.photo("a\x1b[2J.png", "failed", "cannot be read")
    assert capsys.readouterr().err.splitlines() == [
        "protected  a.png: 1 of 1 stand-ins misread it",
        "failed     a?[2J.png: cannot be read",
    ]


def test_json_lines_are_json_and_complete(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(Display("json", interval=0.01)):
        remark("omm: measuring")
        with counted("protecting", 3) as task:
            task.worked(1, 2.5)
            task.photo("a\x1b.png", "protected", "fine", 2.5)
            printed = lines_when(lambda lines: any('"progress"' in line for line in lines), capsys)
    printed += capsys.readouterr().err.splitlines()
    events = [json.loads(line) for line in printed]
    assert [event["event"] for event in events if event["event"] != "progress"] == [
        "remark", "start", "estimate", "photo", "end",
    ]  # fmt: skip
    by_name = {event["event"]: event for event in events}
    assert by_name["start"] == {"event": "start", "task": "protecting", "unit": "photo", "total": 3}
    assert by_name["estimate"]["seconds_per_unit"] == 2.5
    assert (by_name["estimate"]["remaining"], by_name["estimate"]["eta"]) == (2, 5.0)
    assert by_name["photo"] == {
        "event": "photo", "photo": "a\x1b.png", "status": "protected", "reason": "fine", "seconds": 2.5,
    }  # fmt: skip
    assert (by_name["progress"]["done"], by_name["progress"]["total"], by_name["progress"]["eta"]) == (1, 3, 5.0)
    assert (by_name["end"]["done"], by_name["end"]["eta"]) == (1, None)


@pytest.mark.parametrize("mode", ["none", "bar"])
def test_nothing_is_shown_where_there_is_no_terminal_or_no_wish(mode: Mode, capsys: pytest.CaptureFixture[str]) -> None:
    with shown(Display(mode, interval=0.001)):
        remark("a remark")
        with counted("protecting", 3) as task:
            task.worked(1, 1.0)
            task.photo("a.png", "protected")
    assert capsys.readouterr().err == ""


def test_only_the_innermost_task_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(Display("lines", interval=0.01)), counted("outer", 2), counted("inner", 5) as inner:
        lines_when(lambda printed: len(printed) > 2 and all(line.startswith("inner") for line in printed), capsys)
        inner.update(5)
    assert not any(line.startswith("outer") for line in capsys.readouterr().err.splitlines())


def test_items_are_counted_once(capsys: pytest.CaptureFixture[str]) -> None:
    task = track(["a", "b", "c"], "checking")
    with shown(Display("none")):
        for name in task:
            if name != "c":
                task.photo(name, "ok")
    assert (task.done, task.total, task.counts) == (3, 3, {"ok": 2})
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (99, "99 s"), (240, "4 min"), (5999, "1 h 40 min"), (12000, "3 h 20 min")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words

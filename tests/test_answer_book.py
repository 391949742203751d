"""The book of answers: no image asked twice, no budget overspent, over kills and resumed runs."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oip_server import OipServer, serving
from toys import small_cnn

from onlymymodel.errors import UserError
from onlymymodel.surrogates.answer_book import AnswerBook, AskedOnce
from onlymymodel.surrogates.asked_view import view_of
from onlymymodel.surrogates.black_box import (
    BlackBox,
    BlackBoxError,
    BudgetSpent,
    CallableBlackBox,
    ClassifierBlackBox,
    load_black_box,
)
from onlymymodel.surrogates.http_black_box import HttpBlackBox
from onlymymodel.surrogates.recorded import image_key
from onlymymodel.surrogates.uri import parse_uri


def images(count: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(count)]


class Counting:
    """A model that notes what it is asked."""

    def __init__(self, seed: int = 1) -> None:
        self.model = ClassifierBlackBox(small_cnn(seed=seed))
        self.card = self.model.card
        self.seen: list[str] = []

    def predict(self, images: Any) -> NDArray[np.float32]:
        self.seen += [image_key(image) for image in images]
        return self.model.predict(images)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OipServer]:
    monkeypatch.delenv("OMM_HTTP_TOKEN", raising=False)
    with serving(small_cnn(seed=1)) as running:
        yield running


def over_http(server: OipServer, timeout: float, options: str = "") -> HttpBlackBox:
    uri = f"{server.url}?fit=squash&timeout={timeout}{options}"
    return HttpBlackBox(parse_uri(uri), sleep=lambda _: None)


def test_the_answers_are_the_models_and_each_image_is_asked_once(tmp_path: Path) -> None:
    box = Counting()
    wanted = box.model.predict(images(6)).argmax(1).tolist()
    asked = AskedOnce(box, AnswerBook(tmp_path / "deep" / "book.jsonl"))
    assert [asked.answer(image) for image in images(6)] == wanted
    assert asked.predict(images(6)).tolist() == np.eye(4)[wanted].tolist()
    again = AskedOnce(box, AnswerBook(tmp_path / "deep" / "book.jsonl"))
    assert again.predict(images(6)).argmax(1).tolist() == wanted
    assert box.seen == [image_key(image) for image in images(6)]
    assert again.book.sent(box.card) == 6
    assert again.card == box.card
    assert again.predict([]).shape == (0, 4)
    assert isinstance(again, BlackBox)


def test_the_lines_are_as_the_format_says(tmp_path: Path) -> None:
    box, path = Counting(), tmp_path / "book.jsonl"
    answer = AskedOnce(box, AnswerBook(path)).answer(images(1)[0])
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    key, view = image_key(images(1)[0]), first["view"]
    assert first == {"asked": key, "model": box.card.sha256, "view": view}
    assert second == {"image": key, "answer": answer, "model": box.card.sha256, "view": view}


def test_a_query_is_on_the_disk_before_it_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "book.jsonl"
    lines: list[int] = []

    def look(_: NDArray[np.uint8]) -> int:
        lines.append(len(path.read_text().splitlines()))
        return 0

    asked = AskedOnce(CallableBlackBox(look, Counting().card), AnswerBook(path))
    for image in images(3):
        asked.answer(image)
    assert lines == [1, 3, 5]


def test_a_failed_query_counts_and_is_asked_again(tmp_path: Path) -> None:
    def fail(_: NDArray[np.uint8]) -> int:
        raise BlackBoxError("out of order")

    book = AnswerBook(tmp_path / "book.jsonl")
    box = Counting()
    with pytest.raises(BlackBoxError):
        AskedOnce(CallableBlackBox(fail, box.card), book, budget=2).answer(images(1)[0])
    asked = AskedOnce(box, book, budget=2)
    asked.answer(images(1)[0])
    with pytest.raises(BudgetSpent, match=r"budget of 2 queries .* is spent \(see .*book\.jsonl\)"):
        asked.answer(images(2)[1])
    assert (len(box.seen), book.sent(box.card)) == (1, 2)


def test_a_budget_holds_over_runs_and_what_is_known_is_free(tmp_path: Path) -> None:
    box = Counting()
    for _ in range(4):
        asked = AskedOnce(box, AnswerBook(tmp_path / "book.jsonl"), budget=5)
        for image in images(5):
            asked.answer(image)
        with pytest.raises(BudgetSpent):
            asked.answer(images(6)[5])
    assert len(box.seen) == 5
    AskedOnce(box, AnswerBook(tmp_path / "book.jsonl"), budget=6).answer(images(6)[5])
    assert len(box.seen) == 6


def test_two_books_on_one_file_share_one_budget_at_the_same_time(tmp_path: Path) -> None:
    boxes = Counting(), Counting()
    asked = [AskedOnce(box, AnswerBook(tmp_path / "book.jsonl"), budget=5) for box in boxes]
    spent = 0
    for i, image in enumerate(images(12)):
        try:
            asked[i % 2].answer(image)
        except BudgetSpent:
            spent += 1
    assert 4 <= len(boxes[0].seen) + len(boxes[1].seen) <= 5
    assert spent >= 7


def test_models_and_views_do_not_answer_for_one_another(tmp_path: Path) -> None:
    book = AnswerBook(tmp_path / "book.jsonl")
    one, other = Counting(seed=1), Counting(seed=2)
    for image in images(5):
        assert AskedOnce(one, book).answer(image) == one.model.predict([image]).argmax()
        assert AskedOnce(other, book, budget=5).answer(image) == other.model.predict([image]).argmax()
    assert (len(one.seen), len(other.seen)) == (5, 5)
    one.card = replace(one.card, preprocess=replace(one.card.preprocess, mean=(0.5, 0.5, 0.5)))
    AskedOnce(one, book).answer(images(1)[0])
    assert len(one.seen) == 6


def test_a_book_can_be_replayed(tmp_path: Path) -> None:
    path = tmp_path / "book.jsonl"
    box = Counting(seed=1)
    said = AskedOnce(box, AnswerBook(path)).predict(images(5))
    judge = load_black_box(f"recorded:{path}?classes=4")
    assert np.array_equal(judge.predict(images(5)), said)
    assert judge.card.sha256 == box.card.sha256
    other = Counting(seed=2)
    theirs = AskedOnce(other, AnswerBook(path)).predict(images(5))
    assert np.array_equal(
        load_black_box(f"recorded:{path}?classes=4&model={other.card.sha256}").predict(images(5)), theirs
    )


def test_a_book_torn_at_any_byte_loses_at_most_its_last_line(tmp_path: Path) -> None:
    path = tmp_path / "book.jsonl"
    box = Counting()
    AskedOnce(box, AnswerBook(path)).predict(images(2))
    data = path.read_bytes()
    ends = [end for _, end in _ends(data)]
    cuts = {max(0, min(len(data), end + near)) for end in (0, *ends) for near in (-1, 0, 1, 2)}
    for cut in sorted(cuts | set(range(0, len(data), 41))):
        path.write_bytes(data[:cut])
        book = AnswerBook(path)
        whole = [json.loads(line) for line in _whole_lines(data, cut)]
        assert book.sent(box.card) == sum("asked" in line for line in whole)
        known = [book.answer(box.card, view_of(box), image_key(image)) is not None for image in images(2)]
        assert sum(known) == sum("image" in line for line in whole)
        book.add_query(box.card, view_of(box), "x" * 64)
        assert book.sent(box.card) == AnswerBook(path).sent(box.card) == sum("asked" in line for line in whole) + 1


def _whole_lines(data: bytes, cut: int) -> list[bytes]:
    """The lines that are there when a file ends after `cut` bytes; one that lacks only its newline is there."""
    return [line for line, end in _ends(data) if end <= cut]


def _ends(data: bytes) -> Iterator[tuple[bytes, int]]:
    end = 0
    for line in data.splitlines():
        yield line, end + len(line)
        end += len(line) + 1


@pytest.mark.parametrize(
    "line",
    ["not JSON", "[]", "{}", '{"asked": 1, "model": "m", "view": "v"}', '{"image": "k", "model": "m", "view": "v"}',
     '{"image": "k", "answer": true, "model": "m", "view": "v"}', '{"image": "k", "answer": 1}',
     '{"image": "k", "answer": 1, "model": "m", "view": "v", "scores": [1, 2]}',
     '{"image": "k", "answer": 1, "model": "m", "view": "v", "scores": "AAAA"}',
     '{"image": "k", "answer": 1, "model": "m", "view": "v", "scores": "AAA*"}'],
)  # fmt: skip
def test_a_line_that_is_not_of_a_book_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "book.jsonl"
    AskedOnce(Counting(), AnswerBook(path)).answer(images(1)[0])
    whole = path.read_text()
    path.write_text(whole + line + "\n" + whole)
    with pytest.raises(UserError, match=r"book\.jsonl, line 3 is not a line of an answer book"):
        AnswerBook(path)


def test_an_answer_that_is_no_class_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "book.jsonl"
    box = Counting()
    AskedOnce(box, AnswerBook(path)).answer(images(1)[0])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1]["answer"] = 4
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(UserError, match="class 4 for a model of 4 classes"):
        AskedOnce(box, AnswerBook(path)).answer(images(1)[0])


def test_a_book_that_vanishes_during_a_run_stops_it(tmp_path: Path) -> None:
    path, box = tmp_path / "book.jsonl", Counting()
    asked = AskedOnce(box, AnswerBook(path), budget=2)
    asked.predict(images(2))
    path.unlink()
    with pytest.raises(BudgetSpent):
        asked.answer(images(3)[2])
    with pytest.raises(UserError, match="became shorter"):
        AskedOnce(box, asked.book).answer(images(3)[2])
    assert len(box.seen) == 2


FAULTS = ["status:500", "status:429", "drop", "cut", "slow:1", "drip:1", "body:not json", "status:404", "garble"]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("through", ["book", "uri"])
def test_whatever_fails_the_server_never_sees_more_than_the_budget(
    fault: str, through: str, server: OipServer, tmp_path: Path
) -> None:
    wanted = ClassifierBlackBox(server.model).predict(images(5)).argmax(1).tolist()
    said: dict[int, int] = {}
    for _ in range(6):  # runs
        server.faults = [fault, fault, "well", fault] * 5
        timeout = 0.25 if fault.startswith(("slow", "drip")) else 10  # short only where the fault is to run into it
        box = over_http(server, timeout, "&budget=7" if through == "uri" else "")
        asked = AskedOnce(box, AnswerBook(tmp_path / "book.jsonl"), budget=7 if through == "book" else None)
        for i, image in enumerate(images(5)):
            try:
                said[i] = asked.answer(image)
            except (BlackBoxError, BudgetSpent):
                continue
    assert len(server.questions) == AnswerBook(tmp_path / "book.jsonl").sent(box.card) == 7
    assert said
    assert all(wanted[i] == answer for i, answer in said.items())


def test_the_book_of_a_server_that_recovers_has_every_answer(server: OipServer, tmp_path: Path) -> None:
    server.faults = ["status:500", "drop", "well", "slow:3", "well", "status:429"]
    asked = AskedOnce(over_http(server, 1), AnswerBook(tmp_path / "book.jsonl"))
    assert np.array_equal(
        asked.predict(images(4)).argmax(1), ClassifierBlackBox(server.model).predict(images(4)).argmax(1)
    )
    assert len(server.questions) == asked.book.sent(asked.card) == 8
    assert len(set(server.questions)) == 4


def test_a_disk_that_takes_no_line_stops_the_query(server: OipServer, tmp_path: Path) -> None:
    asked = AskedOnce(over_http(server, 1), AnswerBook(tmp_path / "book.jsonl"))
    (tmp_path / "book.jsonl").mkdir()
    with pytest.raises(OSError, match="directory"):
        asked.answer(images(1)[0])
    assert server.questions == []


RUN = """
import sys
from pathlib import Path
from test_answer_book import images
from onlymymodel.surrogates.answer_book import AnswerBook, AskedOnce
from onlymymodel.surrogates.asked_view import view_of
from onlymymodel.surrogates.black_box import load_black_box

judge = AskedOnce(load_black_box(sys.argv[1]), AnswerBook(Path(sys.argv[2])), budget=50)
for pair in zip(images(20, 1), images(20, 2)):
    print(*judge.predict(pair).argmax(1))
"""


def test_a_killed_evaluation_goes_on_where_it_was(server: OipServer, tmp_path: Path) -> None:
    server.pause = 0.02
    book = tmp_path / "book.jsonl"
    command = [sys.executable, "-c", RUN, server.url + "?fit=squash", str(book)]
    path = {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(command, env=path, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while len(server.questions) < 10:
        assert running.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.wait()
    killed_at = len(server.questions)
    assert 10 <= killed_at < 40
    done = subprocess.run(command, env=path, capture_output=True, text=True, timeout=60, check=True)
    both = [image for pair in zip(images(20, 1), images(20, 2), strict=True) for image in pair]
    assert done.stdout.split() == [str(label) for label in ClassifierBlackBox(server.model).predict(both).argmax(1)]
    times = Counter(server.questions)
    assert len(times) == 40
    assert sum(times.values()) <= 41  # the one in flight may be asked again
    assert AnswerBook(book).sent(load_black_box(server.url + "?fit=squash").card) in (40, 41)

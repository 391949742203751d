"""The answer cache: no image queried twice, no budget overspent, over kills, resumed runs and runs at the same time."""

import gc
import json
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from counting import Counting, images
from numpy.typing import NDArray
from paths import HELPERS

from onlymymodel.errors import UserError
from onlymymodel.surrogates.answer_cache import AnswerCache, open_answer_cache
from onlymymodel.surrogates.black_box import (
    BlackBox,
    BlackBoxError,
    CallableBlackBox,
    QueryBudgetExhausted,
)
from onlymymodel.surrogates.cache_key import cache_key
from onlymymodel.surrogates.cached_black_box import CachedBlackBox
from onlymymodel.surrogates.load import load_black_box
from onlymymodel.surrogates.recorded_answers import image_key


def cached(box: BlackBox, path: Path, budget: int | None = None) -> CachedBlackBox:
    """The black box with a newly opened cache, as another run would open it."""
    return CachedBlackBox(box, AnswerCache(path), budget)


def exported(cache: AnswerCache) -> list[dict[str, Any]]:
    path = cache.path.with_suffix(".exported")
    cache.export(path)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_answers_are_the_models_and_each_image_is_queried_once(tmp_path: Path) -> None:
    box, path = Counting(), tmp_path / "deep" / "answers.sqlite3"
    expected = box.model.predict(images(6)).argmax(1).tolist()
    first = cached(box, path)
    assert [first.answer(image) for image in images(6)] == expected
    assert first.predict(images(6)).tolist() == np.eye(4)[expected].tolist()
    again = cached(box, path)
    assert again.predict(images(6)).argmax(1).tolist() == expected
    assert box.queried == [image_key(image) for image in images(6)]
    assert again.cache.query_count(box.card) == 6
    assert again.card == box.card
    assert again.predict([]).shape == (0, 4)
    assert isinstance(again, BlackBox)


def test_exported_lines_have_the_documented_keys(tmp_path: Path) -> None:
    box, cache = Counting(), AnswerCache(tmp_path / "answers.sqlite3")
    answer = CachedBlackBox(box, cache).answer(images(1)[0])
    key, view = image_key(images(1)[0]), cache_key(box)
    assert exported(cache) == [
        {"asked": key, "model": box.card.sha256, "view": view},
        {"image": key, "answer": answer, "model": box.card.sha256, "view": view},
    ]


def test_the_database_holds_hashes_and_answers_only(tmp_path: Path) -> None:
    box, path = Counting(), tmp_path / "answers.sqlite3"
    cached(box, path).predict(images(2))
    with closing(sqlite3.connect(path)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        columns = {row[1] for table in tables for row in connection.execute(f"PRAGMA table_info({table})")}
    assert columns == {"id", "model", "view", "image", "answer", "scores"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["answers.sqlite3"], "no files are left beside it"


def test_nothing_queried_leaves_no_file(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite3")
    assert cache.answer(Counting().card, "v", "k") is None
    assert cache.query_count(Counting().card) == 0
    assert exported(cache) == []
    assert list(tmp_path.iterdir()) == []


def test_a_query_is_on_disk_before_it_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite3"
    on_disk: list[tuple[int, int]] = []

    def look(_: NDArray[np.uint8]) -> int:
        with closing(sqlite3.connect(path)) as connection:
            counts = [
                connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in ("queries", "answers")
            ]
        on_disk.append((counts[0], counts[1]))
        return 0

    box = cached(CallableBlackBox(look, Counting().card), path)
    for image in images(3):
        box.answer(image)
    assert on_disk == [(1, 0), (2, 1), (3, 2)]


def test_a_failed_query_counts_and_is_repeated(tmp_path: Path) -> None:
    def fail(_: NDArray[np.uint8]) -> int:
        raise BlackBoxError("out of order")

    cache = AnswerCache(tmp_path / "answers.sqlite3")
    box = Counting()
    with pytest.raises(BlackBoxError):
        CachedBlackBox(CallableBlackBox(fail, box.card), cache, budget=2).answer(images(1)[0])
    limited = CachedBlackBox(box, cache, budget=2)
    limited.answer(images(1)[0])
    with pytest.raises(QueryBudgetExhausted, match=r"budget of 2 queries .* is used up \(see .*answers\.sqlite3\)"):
        limited.answer(images(2)[1])
    assert (len(box.queried), cache.query_count(box.card)) == (1, 2)


def test_a_budget_holds_over_runs_and_cached_answers_are_free(tmp_path: Path) -> None:
    box = Counting()
    for _ in range(4):
        limited = cached(box, tmp_path / "answers.sqlite3", budget=5)
        for image in images(5):
            limited.answer(image)
        with pytest.raises(QueryBudgetExhausted):
            limited.answer(images(6)[5])
    assert len(box.queried) == 5
    cached(box, tmp_path / "answers.sqlite3", budget=6).answer(images(6)[5])
    assert len(box.queried) == 6


def test_two_caches_of_one_file_share_one_budget(tmp_path: Path) -> None:
    boxes = Counting(), Counting()
    limited = [cached(box, tmp_path / "answers.sqlite3", budget=5) for box in boxes]
    refused = 0
    for i, image in enumerate(images(12)):
        try:
            limited[i % 2].answer(image)
        except QueryBudgetExhausted:
            refused += 1
    assert (len(boxes[0].queried) + len(boxes[1].queried), refused) == (5, 7)


def test_threads_that_create_one_database_at_the_same_time_all_use_it(tmp_path: Path) -> None:
    card, start = Counting().card, Barrier(8)

    def count(path: Path) -> bool:
        start.wait()
        return AnswerCache(path).count_query(card, "view", "image")

    with ThreadPoolExecutor(8) as pool:
        for attempt in range(10):
            path = tmp_path / f"{attempt}.sqlite3"
            assert all(pool.map(count, [path] * 8))
            assert AnswerCache(path).query_count(card) == 8


def test_a_cache_may_be_collected_by_another_thread(tmp_path: Path) -> None:
    caches = [AnswerCache(tmp_path / "answers.sqlite3")]
    caches[0].count_query(Counting().card, "view", "image")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(caches.pop).result()
        pool.submit(gc.collect).result()
    assert not caches


SPEND = """
import sys
from pathlib import Path
from counting import Counting, images
from onlymymodel.surrogates.answer_cache import AnswerCache
from onlymymodel.surrogates.black_box import QueryBudgetExhausted
from onlymymodel.surrogates.cached_black_box import CachedBlackBox

box = Counting()
limited = CachedBlackBox(box, AnswerCache(Path(sys.argv[1])), budget=25)
for image in images(30, int(sys.argv[2])):
    try:
        limited.answer(image)
    except QueryBudgetExhausted:
        pass
print(len(box.queried))
"""


@pytest.mark.slow
def test_processes_at_the_same_time_spend_one_budget_exactly(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(HELPERS), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SPEND, str(tmp_path / "answers.sqlite3"), str(seed)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in (1, 2)
    ]
    assert sum(int(process.communicate(timeout=120)[0]) for process in running) == 25


def test_models_and_views_have_separate_answers(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite3")
    first, second = Counting(seed=1), Counting(seed=2)
    for image in images(5):
        assert CachedBlackBox(first, cache).answer(image) == first.model.predict([image]).argmax()
        assert CachedBlackBox(second, cache, budget=5).answer(image) == second.model.predict([image]).argmax()
    assert (len(first.queried), len(second.queried)) == (5, 5)
    first.card = replace(first.card, preprocess=replace(first.card.preprocess, mean=(0.5, 0.5, 0.5)))
    CachedBlackBox(first, cache).answer(images(1)[0])
    assert len(first.queried) == 6


@pytest.mark.slow
def test_an_export_can_be_replayed(tmp_path: Path) -> None:
    cache, path = AnswerCache(tmp_path / "answers.sqlite3"), tmp_path / "answers.jsonl"
    first, second = Counting(seed=1), Counting(seed=2)
    predictions = CachedBlackBox(first, cache).predict(images(5))
    cache.export(path)
    judge = load_black_box(f"recorded:{path}?classes=4")
    assert np.array_equal(judge.predict(images(5)), predictions)
    assert judge.card.sha256 == first.card.sha256
    others = CachedBlackBox(second, cache).predict(images(5))
    cache.export(path)
    assert np.array_equal(
        load_black_box(f"recorded:{path}?classes=4&model={second.card.sha256}").predict(images(5)), others
    )


def test_a_cache_takes_over_the_lines_of_an_earlier_version_once(tmp_path: Path) -> None:
    box = Counting()
    cached(box, tmp_path / "before" / "answers.sqlite3").predict(images(3))
    AnswerCache(tmp_path / "before" / "answers.sqlite3").export(tmp_path / "answers.jsonl")
    with (tmp_path / "answers.jsonl").open("a") as file:
        file.write('{"asked": "torn')  # as a killed process leaves it
    resumed = CachedBlackBox(box, open_answer_cache(tmp_path), budget=4)
    resumed.predict(images(4))
    assert len(box.queried) == resumed.cache.query_count(box.card) == 4
    (tmp_path / "answers.jsonl").write_text("not JSON\n")
    again = CachedBlackBox(box, open_answer_cache(tmp_path), budget=4)
    again.predict(images(4))
    assert len(box.queried) == 4, "the lines are read only once"
    again.cache.export(tmp_path / "answers.jsonl")
    assert exported(AnswerCache(tmp_path / "new.sqlite3", tmp_path / "answers.jsonl")) == exported(again.cache)


@pytest.mark.parametrize(
    "line",
    ["not JSON", "[]", "{}", '{"asked": 1, "model": "m", "view": "v"}', '{"image": "k", "model": "m", "view": "v"}',
     '{"image": "k", "answer": true, "model": "m", "view": "v"}', '{"image": "k", "answer": 1}',
     '{"image": "k", "answer": 1, "model": "m", "view": "v", "scores": [1, 2]}',
     '{"image": "k", "answer": 1, "model": "m", "view": "v", "scores": "AAAA"}',
     '{"image": "k", "answer": 1, "model": "m", "view": "v", "scores": "AAA*"}'],
)  # fmt: skip
def test_a_malformed_earlier_line_is_named_and_nothing_is_reused(line: str, tmp_path: Path) -> None:
    earlier = tmp_path / "answers.jsonl"
    good = '{"image": "k", "answer": 1, "model": "m", "view": "v"}\n'
    earlier.write_text(good * 2 + line + "\n" + good)
    for _ in range(2):
        with pytest.raises(
            UserError, match=r"answers\.jsonl, line 3 is (not a JSON object|neither a query nor an answer)"
        ):
            open_answer_cache(tmp_path)
    earlier.write_text(good)
    assert exported(open_answer_cache(tmp_path)) == [json.loads(good)]


@pytest.mark.slow
def test_a_truncated_database_is_refused(tmp_path: Path) -> None:
    path, box = tmp_path / "answers.sqlite3", Counting()
    cached(box, path).predict(images(40))
    data = path.read_bytes()
    for cut in (100, *range(512, len(data), 1024), len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(UserError, match=r"answers\.sqlite3 cannot be used \([^\n]+\)"):
            AnswerCache(path)
    path.write_bytes(b"")
    assert AnswerCache(path).query_count(box.card) == 0, "as a process leaves it that is killed at its first query"
    path.write_bytes(data)
    assert AnswerCache(path).query_count(box.card) == 40


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_file_that_is_not_a_database_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite3"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"the answer cache .*answers\.sqlite3 cannot be used"):
        AnswerCache(path)
    assert path.read_bytes() == content


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE queries (id INTEGER)")
    with pytest.raises(UserError, match="is not an answer cache of this version"):
        AnswerCache(path)


def test_an_answer_outside_the_classes_is_refused(tmp_path: Path) -> None:
    path, box = tmp_path / "answers.sqlite3", Counting()
    AnswerCache(path).add_answer(box.card, cache_key(box), image_key(images(1)[0]), 4)
    with pytest.raises(UserError, match="class 4 for a model of 4 classes"):
        cached(box, path).answer(images(1)[0])


def test_a_database_that_is_removed_during_a_run_stops_it(tmp_path: Path) -> None:
    path, box = tmp_path / "answers.sqlite3", Counting()
    limited = cached(box, path)
    limited.predict(images(2))
    path.unlink()
    with pytest.raises(UserError, match="cannot be used"):
        limited.answer(images(3)[2])
    assert len(box.queried) == 2

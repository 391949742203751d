"""The answer cache before a server that fails, and in an evaluation that is killed: the budget holds."""

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from counting import images
from oip_server import OipServer
from paths import HELPERS

from onlymymodel.errors import UserError
from onlymymodel.surrogates.answer_cache import AnswerCache
from onlymymodel.surrogates.black_box import (
    BlackBoxError,
    ClassifierBlackBox,
    QueryBudgetExhausted,
)
from onlymymodel.surrogates.cached_black_box import CachedBlackBox
from onlymymodel.surrogates.http_black_box import HttpBlackBox
from onlymymodel.surrogates.load import load_black_box
from onlymymodel.surrogates.uri import parse_uri


def over_http(server: OipServer, timeout: float, options: str = "") -> HttpBlackBox:
    uri = f"{server.url}?fit=squash&timeout={timeout}{options}"
    return HttpBlackBox(parse_uri(uri), sleep=lambda _: None)


LATE = [pytest.param(fault, marks=pytest.mark.slow) for fault in ("slow:1", "drip:1")]
FAULTS = ["status:500", "status:429", "drop", "cut", *LATE, "body:not json", "status:404", "garble"]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("through", ["cache", pytest.param("uri", marks=pytest.mark.slow)])
def test_whatever_fails_the_server_never_sees_more_than_the_budget(
    fault: str, through: str, server: OipServer, tmp_path: Path
) -> None:
    expected = ClassifierBlackBox(server.model).predict(images(5)).argmax(1).tolist()
    answers: dict[int, int] = {}
    for _ in range(6):  # runs
        server.faults = [fault, fault, "well", fault] * 5
        timeout = 0.25 if fault.startswith(("slow", "drip")) else 10  # short only where the fault is to run into it
        box = over_http(server, timeout, "&budget=7" if through == "uri" else "")
        asked = CachedBlackBox(box, AnswerCache(tmp_path / "answers.sqlite3"), budget=7 if through == "cache" else None)
        for i, image in enumerate(images(5)):
            try:
                answers[i] = asked.answer(image)
            except (BlackBoxError, QueryBudgetExhausted):
                continue
    assert len(server.questions) == AnswerCache(tmp_path / "answers.sqlite3").query_count(box.card) == 7
    assert answers
    assert all(expected[i] == answer for i, answer in answers.items())


@pytest.mark.slow
def test_the_cache_of_a_server_that_recovers_has_every_answer(server: OipServer, tmp_path: Path) -> None:
    server.faults = ["status:500", "drop", "well", "slow:3", "well", "status:429"]
    asked = CachedBlackBox(over_http(server, 1), AnswerCache(tmp_path / "answers.sqlite3"))
    assert np.array_equal(
        asked.predict(images(4)).argmax(1), ClassifierBlackBox(server.model).predict(images(4)).argmax(1)
    )
    assert len(server.questions) == asked.cache.query_count(asked.card) == 8
    assert len(set(server.questions)) == 4


def test_a_cache_that_cannot_be_written_stops_the_query(server: OipServer, tmp_path: Path) -> None:
    asked = CachedBlackBox(over_http(server, 1), AnswerCache(tmp_path / "answers.sqlite3"))
    (tmp_path / "answers.sqlite3").mkdir()
    with pytest.raises(UserError, match="unable to open database file"):
        asked.answer(images(1)[0])
    assert server.questions == []


RUN = """
import sys
from pathlib import Path
from counting import images
from onlymymodel.surrogates.answer_cache import AnswerCache
from onlymymodel.surrogates.cached_black_box import CachedBlackBox
from onlymymodel.surrogates.load import load_black_box

judge = CachedBlackBox(load_black_box(sys.argv[1]), AnswerCache(Path(sys.argv[2])), budget=50)
for pair in zip(images(20, 1), images(20, 2)):
    print(*judge.predict(pair).argmax(1))
"""


@pytest.mark.slow
def test_a_killed_evaluation_continues(server: OipServer, tmp_path: Path) -> None:
    server.pause = 0.02
    path = tmp_path / "answers.sqlite3"
    command = [sys.executable, "-c", RUN, server.url + "?fit=squash", str(path)]
    environment = {"PYTHONPATH": str(HELPERS), "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while len(server.questions) < 10:
        assert running.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.wait()
    killed_at = len(server.questions)
    assert 10 <= killed_at < 40
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    both = [image for pair in zip(images(20, 1), images(20, 2), strict=True) for image in pair]
    assert done.stdout.split() == [str(label) for label in ClassifierBlackBox(server.model).predict(both).argmax(1)]
    times = Counter(server.questions)
    assert len(times) == 40
    assert sum(times.values()) <= 41  # the one in flight may be asked again
    assert AnswerCache(path).query_count(load_black_box(server.url + "?fit=squash").card) in (40, 41)

"""Vision-language models behind the OpenAI chat protocol: what is asked, what is understood, and what goes wrong."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_server import ChatServer, chatting
from numpy.typing import NDArray
from toys import linear

from onlymymodel.errors import UserError
from onlymymodel.evaluate.csv_table import to_csv
from onlymymodel.evaluate.harness import Pair, evaluate_models
from onlymymodel.evaluate.judges import Judge
from onlymymodel.evaluate.markdown_tables import to_markdown
from onlymymodel.evaluate.report import render_report
from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN
from onlymymodel.evaluate.terminal_table import to_text
from onlymymodel.surrogates.answer_cache import AnswerCache
from onlymymodel.surrogates.black_box import BlackBoxError, ClassifierBlackBox, QueryBudgetExhausted, query
from onlymymodel.surrogates.cached_black_box import CachedBlackBox
from onlymymodel.surrogates.chat_answers import Question, read_synonyms
from onlymymodel.surrogates.chat_black_box import ChatBlackBox
from onlymymodel.surrogates.load import load_black_box, load_model
from onlymymodel.surrogates.uri import parse_uri, redacted

NAMES = ("cat", "wild cat", "dog")
CAT, WILD, DOG, NONE, UNCLEAR = range(5)


def bright(photo: NDArray[np.uint8], _: str) -> str:
    return "Dog" if photo.mean() > 127 else "cat."


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chatting(bright) as running:
        yield running


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    return tmp_path / "names.txt"


def image(level: int, size: int = 20) -> NDArray[np.uint8]:
    noise = np.random.default_rng(level).integers(0, 20, (size, size + 7, 3))
    return (noise + level).astype(np.uint8)


def judge(server: ChatServer, labels: Path, more: str = "", waits: list[float] | None = None) -> ChatBlackBox:
    noted: list[float] = [] if waits is None else waits
    return ChatBlackBox(parse_uri(f"{server.address}?model=eye-7b&labels={labels}{more}"), sleep=noted.append)


@pytest.mark.parametrize(
    ("ask", "answer", "expected"),
    [
        ("choice", "cat", CAT),
        ("choice", "  **Wild  Cat**. ", WILD),
        ("choice", "The photo shows a dog.", DOG),
        ("choice", "It is a wild cat, of course", WILD),
        ("choice", "cat or dog", UNCLEAR),
        ("choice", "wild cat or cat", UNCLEAR),
        ("choice", "none", NONE),
        ("choice", "None of these.", NONE),
        ("choice", "a horse", UNCLEAR),
        ("choice", "category", UNCLEAR),
        ("choice", "I'm sorry, but I can't help with that.", UNCLEAR),
        ("choice", "", UNCLEAR),
        ("open", "a horse", NONE),
        ("open", "a sleeping puppy", DOG),
        ("open", "a kitten and a puppy", UNCLEAR),
        ("open", "I cannot identify people in images", UNCLEAR),
        ("open", "", UNCLEAR),
    ],
)
def test_an_answer_names_one_class_or_none(ask: Any, answer: str, expected: int) -> None:
    question = Question(NAMES, ask, {"dog": ["puppy", "hound"], "cat": ["kitten"]})
    assert question.class_of(answer) == expected
    assert len(question.labels) == 5


def test_the_question_lists_the_labels_only_where_it_is_a_choice() -> None:
    assert all(f"- {name}\n" in Question(NAMES).prompt for name in NAMES)
    assert not any(name in Question(NAMES, "open").prompt for name in NAMES)
    with pytest.raises(ValueError, match="is not NAME: WORD, WORD"):
        read_synonyms("horse: pony", NAMES)


def test_the_photo_is_sent_without_loss(server: ChatServer, labels: Path) -> None:
    model = load_black_box(f"{server.address}?model=eye-7b&labels={labels}&task=toy")
    assert (model.card.kind, model.card.labels[:3]) == ("language", NAMES)
    assert model.card.uri == f"{server.address}?model=eye-7b"
    answers = [int(query(model, image(level)).argmax()) for level in (10, 200)]
    assert answers == [CAT, DOG]
    assert np.array_equal(server.photos[1], image(200))
    request = server.requests[0]
    assert (request["model"], request["max_tokens"], request["temperature"]) == ("eye-7b", 100, 0)
    with pytest.raises(UserError, match="it can judge, not guide"):
        load_model(f"{server.address}?model=eye-7b&labels={labels}")


def test_settings_that_a_server_refuses_are_left_out(server: ChatServer, labels: Path) -> None:
    judge(server, labels, "&max_tokens=&temperature=").predict([image(10)])
    assert server.requests[0].keys() == {"model", "messages"}


@pytest.mark.parametrize(
    ("message", "choice", "expected"),
    [
        ({"content": None, "refusal": "I can't help with this"}, {}, UNCLEAR),
        ({"content": "cat"}, {"finish_reason": "content_filter"}, UNCLEAR),
        ({"content": [{"type": "text", "text": "dog"}]}, {}, DOG),
        ({"content": None}, {}, UNCLEAR),
    ],
)
def test_refusals_and_parts(message: Any, choice: Any, expected: int, server: ChatServer, labels: Path) -> None:
    server.message, server.choice = message, choice
    assert judge(server, labels).predict([image(10)]).tolist() == [expected]


@pytest.mark.parametrize(
    ("fault", "waits"), [("status:429 Retry-After=7", [7.0]), ("status:500", [0.5]), ("drop", [0.5]), ("cut", [0.5])]
)
def test_a_failure_that_passes_is_tried_again(fault: str, waits: list[float], server: ChatServer, labels: Path) -> None:
    noted: list[float] = []
    asked = judge(server, labels, "&budget=2", noted)
    server.faults = [fault]
    assert asked.predict([image(200)]).tolist() == [DOG]
    assert (noted, asked.sent) == (waits, 2)
    with pytest.raises(QueryBudgetExhausted):
        asked.predict([image(200)])


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("status:401", "the server denies access"),
        ("status:404", "status 404"),
        ("body:not json", "is not a JSON object"),
        ("body:no outputs", "the server's answer has no choices"),
        ("garble", "does not speak HTTP"),
    ],
)
def test_a_failure_that_stays_is_named(fault: str, words: str, server: ChatServer, labels: Path) -> None:
    server.faults = [fault]
    with pytest.raises(BlackBoxError, match=words):
        judge(server, labels).predict([image(200)])


def test_answers_are_cached_by_question_and_model(server: ChatServer, labels: Path, tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite3")
    for _ in range(2):
        assert CachedBlackBox(judge(server, labels), cache).answer(image(200)) == DOG
    assert len(server.requests) == 1
    (tmp_path / "syn.txt").write_text("dog: puppy")
    others = ["&ask=open", "&max_tokens=50", f"&synonyms={tmp_path / 'syn.txt'}", "&ask=choice&api=2"]
    keys = {judge(server, labels, more).card.sha256 for more in ("", *others)}
    (labels.parent / "more.txt").write_text("cat\nwild cat\ndog\ntench")
    keys |= {judge(server, labels.parent / "more.txt").card.sha256}
    keys |= {ChatBlackBox(parse_uri(f"{server.address}?model=eye-70b&labels={labels}")).card.sha256}
    assert len(keys) == 7


def test_answers_without_a_class_have_columns_of_their_own(labels: Path) -> None:
    said = iter(["cat", "none", "dog", "I am sorry, I can't", "dog", "dog"])
    photos = [image(level) for level in (0, 50, 100)]
    pairs = [Pair(f"{index}.png", photo, {"run": photo + 1}, 0) for index, photo in enumerate(photos)]
    with chatting(lambda *_: next(said)) as server:
        judges = [Judge("authorized", ClassifierBlackBox(linear(0))), Judge("held-out", judge(server, labels))]
        results = evaluate_models(judges, pairs, progress=False)
    row = results.rows[1]
    assert [row.name_of(answer) for answer in row.answers[CLEAN][AS_WRITTEN]] == ["cat", "dog", "dog"]
    assert row.score("run").right == 1
    for text in (to_text(results), to_markdown(results)):
        assert "none of them" in text
        assert "refused or unclear" in text
    assert "Answers that name no class by model and version" in render_report(results, pairs, title="t", summary="s")
    header, *lines = (line.split(",") for line in to_csv(results).splitlines())
    assert header[-2:] == ["says_none", "says_unclear"]
    assert lines[-1][-2:] == ["1", "1"]


def test_a_clean_answer_without_a_class_is_no_reference(labels: Path) -> None:
    with chatting(lambda *_: "none") as server:
        judges = [Judge("authorized", ClassifierBlackBox(linear(0))), Judge("held-out", judge(server, labels))]
        pair = Pair("a.png", image(0), {"run": image(50)}, 0)
        row = evaluate_models(judges, [pair], progress=False).rows[1]
    assert (row.score("run").right, row.score("run").failed) == (0, 1)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("openai:https://h/v1?labels={labels}", "add model=, as in openai:"),
        ("openai:https://h/v1?model=m", "add labels=, as in openai:"),
        ("openai:https://h/v2/models/m?model=m&labels={labels}", "write it as https://HOST/v1"),
        ("openai:h/v1?model=m&labels={labels}", "write it as openai:https://HOST/v1"),
        ("openai:https://u:p@h/v1?model=m&labels={labels}", "may not hold a user or a password"),
        ("openai:https://h/v1?model=m&labels={labels}&ask=guess", "ask must be one of choice, open"),
        ("openai:https://h/v1?model=m&labels={labels}&temperature=hot", "temperature must be a number"),
        ("openai:https://h/v1?model=m&labels={labels}&synonyms={labels}", "is not NAME: WORD, WORD"),
        ("openai:https://h/v1?model=m&labels={taken}", "'none' is no label"),
    ],
)
def test_wrong_options(uri: str, words: str, labels: Path, tmp_path: Path) -> None:
    (tmp_path / "taken.txt").write_text("cat\nnone\n")
    with pytest.raises(UserError, match=words):
        load_black_box(uri.format(labels=labels, taken=tmp_path / "taken.txt"))


def test_a_token_is_sent_and_no_secret_is_recorded(
    server: ChatServer, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMM_HTTP_TOKEN", "s3cret")
    judge(server, labels).predict([image(10)])
    assert server.headers[-1]["Authorization"] == "Bearer s3cret"
    uri = f"openai:https://h/v1?model=m&labels={labels}&ask=open&key=s3cret"
    assert redacted(uri) == f"openai:https://h/v1?model=m&labels={labels}&ask=open&key=***"
    assert parse_uri(uri).public == "openai:https://h/v1?model=m"

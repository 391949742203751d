"""A faulty server costs no more than the query budget, and its faults are reported."""

import json
from typing import Any

import numpy as np
import pytest
from oip_server import AS_TOYS, GARBAGE, OipServer, http_box, images, serving
from toys import small_cnn

from onlymymodel.errors import UserError
from onlymymodel.surrogates.black_box import BlackBoxError, ClassifierBlackBox, QueryBudgetExhausted
from onlymymodel.surrogates.load import load_black_box


def patience(fault: str, short: float) -> float:
    """The time limit of a test: short only where the fault is to run into it, since the machine may be busy."""
    return short if fault.startswith(("slow", "drip")) else 10


@pytest.mark.parametrize(
    ("fault", "waits"),
    [
        ("status:500", [0.5]),
        ("status:503 Retry-After=7", [7.0]),
        ("status:429 Retry-After=100000", [30.0]),
        ("status:429 Retry-After=soon", [0.5]),
        ("status:429 Retry-After=-5", [0.5]),
        ("status:429 Retry-After=Wed, 21 Oct 2015 07:28:00 GMT", [0.5]),
        ("status:429 Retry-After=Wed, 21 Oct 9998 07:28:00 GMT", [30.0]),
        ("drop", [0.5]),
        ("cut", [0.5]),
        pytest.param("drip:3", [0.5], marks=pytest.mark.slow),
        pytest.param("slow:2", [0.5], marks=pytest.mark.slow),
    ],
)
def test_a_failure_that_passes_is_tried_again(fault: str, waits: list[float], server: OipServer) -> None:
    noted: list[float] = []
    judge = http_box(server.url + AS_TOYS + f"&timeout={patience(fault, 1)}&budget=2", noted)
    server.faults = [fault]
    wanted = ClassifierBlackBox(server.model).predict(images(1))
    np.testing.assert_allclose(judge.predict(images(1)), wanted, rtol=0, atol=1e-6)
    assert noted == waits
    assert len(server.questions) == judge.sent == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("status:500", "status 500"),
        ("drop", "no connection"),
        ("cut", "no connection"),
        ("slow:0.5", "no answer in 0.1 s"),
        ("drip:0.5", "no answer in 0.1 s"),
    ],
)
def test_a_permanent_failure_ends_after_the_retries(fault: str, message: str, server: OipServer) -> None:
    noted: list[float] = []
    judge = http_box(server.url + f"?timeout={patience(fault, 0.1)}&retries=3", noted)
    server.faults = [fault] * 10
    with pytest.raises(BlackBoxError, match=rf"{message}.*\(4 tries\)"):
        judge.predict(images(1))
    assert noted == [0.5, 1.0, 2.0]
    assert len(server.questions) == judge.sent == 4


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["status:500", "drop", "slow:1", "cut"])
def test_tries_count_toward_the_budget(fault: str, server: OipServer) -> None:
    judge = http_box(server.url + f"?timeout={patience(fault, 0.5)}&retries=5&budget=4")
    server.faults = ["well", *[fault] * 10]
    judge.predict(images(1))
    for _ in range(2):
        with pytest.raises(QueryBudgetExhausted, match="budget of 4 queries"):
            judge.predict(images(1))
    assert len(server.questions) == judge.sent == 4


def test_a_budget_of_nothing_sends_nothing(server: OipServer) -> None:
    judge = http_box(server.url + "?budget=0")
    with pytest.raises(QueryBudgetExhausted):
        judge.predict(images(1))
    assert server.questions == []


@pytest.mark.parametrize("fault", [f"body:{name}" for name in GARBAGE])
def test_malformed_answers_are_refused_without_a_retry(fault: str, server: OipServer) -> None:
    judge = http_box(server.url)
    server.faults = [fault]
    with pytest.raises(BlackBoxError, match="the server's answer"):
        judge.predict(images(1))
    assert len(server.questions) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": [1.0, 2.0, float("nan"), 0.0]}, "not finite"),
        ({"data": [1.0, 2.0, float("-inf"), 0.0]}, "not finite"),
        ({"data": [1.0, 2.0, 1e39, 0.0]}, "not finite"),
        ({"data": [1.0, 2.0, 10**400, 0.0]}, "not finite"),
        ({"data": [1.0, 2.0, 3.0]}, "does not hold 4 numbers"),
        ({"data": [1.0, 2.0, 3.0, 4.0, 5.0]}, "does not hold 4 numbers"),
        ({"data": [1.0, 2.0, "3", 4.0]}, "does not hold 4 numbers"),
        ({"data": [1.0, 2.0, True, 4.0]}, "does not hold 4 numbers"),
        ({"data": [1.0, 2.0, None, 4.0]}, "does not hold 4 numbers"),
        ({"data": [[1.0, 2.0], [3.0, 4.0]]}, "does not hold 4 numbers"),
        ({"data": None}, "does not hold 4 numbers"),
        ({"shape": [2, 4]}, "has scores of shape"),
        ({"shape": [1, 3]}, "has scores of shape"),
        ({"shape": None}, "has scores of shape"),
        ({"datatype": "BYTES"}, "datatype 'BYTES'"),
        ({"datatype": ["x" * 10**6]}, "datatype"),
        ({"name": "other"}, "has no output 'scores'"),
    ],
)
def test_scores_that_cannot_be_used_are_refused(change: dict[str, Any], message: str, server: OipServer) -> None:
    judge = http_box(server.url)
    server.changes = change
    with pytest.raises(BlackBoxError) as caught:
        judge.predict(images(1))
    assert message in str(caught.value)
    assert len(str(caught.value)) <= 500
    assert len(server.questions) == 1


def test_too_large_an_answer_is_not_read_to_its_end(server: OipServer) -> None:
    judge = http_box(server.url)
    server.faults = [f"huge:{128 * 2**20}"]
    with pytest.raises(BlackBoxError, match="larger than 16 MiB"):
        judge.predict(images(1))
    assert server.flooded < 64 * 2**20  # the rest is in the sockets
    assert len(server.questions) == 1
    server.metadata_faults = [f"huge:{17 * 2**20}"]
    with pytest.raises(BlackBoxError, match="larger than 16 MiB"):
        http_box(server.url)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(status: int, server: OipServer) -> None:
    judge = http_box(server.url)
    with serving(small_cnn(seed=2)) as elsewhere:
        server.faults = [f"status:{status} Location={elsewhere.url}/infer"]
        with pytest.raises(BlackBoxError, match=r"redirects to '127\.0\.0\.1:\d+'"):
            judge.predict(images(1))
        assert elsewhere.paths == []
    for location, message in (("/else", "another path"), ("http://[::1", "no address"), ("", "another path")):
        server.faults = [f"status:{status} Location={location}"]
        with pytest.raises(BlackBoxError, match=message):
            judge.predict(images(1))
    assert len(server.questions) == 4


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("status:401", "denies access (401); set OMM_HTTP_TOKEN to a valid token"),
        ("status:403", "denies access (403)"),
        ("status:404", "answers with status 404"),
        ("status:400", "answers with status 400: Bearer *** [31mfailed"),
        ("status:204", "answers with status 204"),
        ("garble", "does not speak HTTP"),
    ],
)
def test_refusals_are_reported_at_once_without_the_token(
    fault: str, message: str, server: OipServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMM_HTTP_TOKEN", " s3cret\n")
    judge = http_box(server.url + "?key=hush")
    server.faults = [fault]
    with pytest.raises(BlackBoxError) as caught:
        judge.predict(images(1))
    assert message in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "hush" not in str(caught.value)
    assert len(server.questions) == 1


@pytest.mark.parametrize("query", ["key=s3cret", "s3cret", "key=Bearer%20s3cret", "a=s3&key=s3cret&size=16"])
def test_an_option_that_the_server_repeats_is_not_shown(query: str, server: OipServer) -> None:
    judge = http_box(f"{server.url}?{query}")
    server.faults = ["status:400"]
    with pytest.raises(BlackBoxError, match=r"400: .*\*\*\*") as caught:
        judge.predict(images(1))
    assert "s3cret" not in str(caught.value)


def test_the_token_and_foreign_options_reach_the_server_and_nothing_else(
    server: OipServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = http_box(server.url)
    monkeypatch.setenv("OMM_HTTP_TOKEN", "s3cret")
    judge = http_box(server.url + "/versions/1?size=16&zone=a%20b&budget=9&fit=squash&timeout=5")
    judge.predict(images(1))
    assert server.paths[1:] == ["/v2/models/net/versions/1?zone=a%20b", "/v2/models/net/versions/1/infer?zone=a%20b"]
    assert "Authorization" not in server.headers[0]
    assert [sent["Authorization"] for sent in server.headers[1:]] == ["Bearer s3cret"] * 2
    assert "s3cret" not in json.dumps(judge.card.to_json())
    assert judge.card.uri == server.url + "/versions/1"
    assert judge.card.sha256 != plain.card.sha256


@pytest.mark.parametrize("token", ["two words", "line\r\nX-Evil: 1", "schlüssel"])
def test_a_malformed_token_is_not_shown(token: str, server: OipServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMM_HTTP_TOKEN", token)
    with pytest.raises(UserError, match="has characters that are not allowed in a token") as caught:
        http_box(server.url)
    assert token not in str(caught.value)
    assert server.paths == []


@pytest.mark.parametrize("host", ["models.example", "192.0.2.1", "[2001:db8::1]"])
def test_a_token_is_never_sent_unencrypted(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before a request is sent: a request to these hosts would take the seconds of the time-out."""
    monkeypatch.setenv("OMM_HTTP_TOKEN", "s3cret")
    with pytest.raises(UserError, match="http would send it unencrypted") as error:
        load_black_box(f"http://{host}/v2/models/m?timeout=60")
    assert "s3cret" not in str(error.value)

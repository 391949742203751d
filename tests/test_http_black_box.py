"""Models behind a server: the same scores as asked directly, and every way in which a server can fail."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from oip_server import GARBAGE, OipServer, serving
from toys import small_cnn

from onlymymodel.errors import UserError
from onlymymodel.surrogates.black_box import BlackBoxError, BudgetSpent, ClassifierBlackBox, load_black_box, to_pixels
from onlymymodel.surrogates.http_black_box import HttpBlackBox
from onlymymodel.surrogates.load import load_model
from onlymymodel.surrogates.uri import parse_uri

AS_TOYS = "?fit=squash"  # as `toys.PLAIN`


def images(count: int = 3, channels: int = 3) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (20 + 7 * i, 31 - 3 * i, channels), dtype=np.uint8) for i in range(count)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OipServer]:
    monkeypatch.delenv("OMM_HTTP_TOKEN", raising=False)
    with serving(small_cnn(seed=1)) as running:
        yield running


def ask(url: str, waits: list[float] | None = None) -> HttpBlackBox:
    """A judge that notes how long it would wait between its tries."""
    noted: list[float] = [] if waits is None else waits
    return HttpBlackBox(parse_uri(url), sleep=noted.append)


def patience(fault: str, short: float) -> float:
    """The time limit of a test: short only where the fault is to run into it, since the machine may be busy."""
    return short if fault.startswith(("slow", "drip")) else 10


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_over_http_a_model_says_what_it_says_directly(channels_last: bool, channels: int) -> None:
    model = small_cnn(seed=1)
    with serving(model, channels_last=channels_last) as server:
        judge = load_black_box(server.url + AS_TOYS)
        assert isinstance(judge, HttpBlackBox)
        wanted = ClassifierBlackBox(model).predict(images(channels=channels))
        scores = judge.predict(images(channels=channels))
    assert scores.dtype == np.float32
    assert judge.predict([]).shape == (0, 4)
    np.testing.assert_allclose(scores, wanted, rtol=0, atol=1e-6)
    assert len(server.questions) == 3
    assert (judge.card.classes, judge.card.preprocess) == (4, model.card.preprocess)


def test_uint8_pixels_are_those_of_the_photo_or_the_nearest() -> None:
    model = small_cnn(seed=1)
    photos = [np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8) for i in range(3)]
    with serving(model, datatype="UINT8", channels_last=True) as server:
        judge = load_black_box(server.url + AS_TOYS)
        as_they_are, resized = judge.predict(photos), judge.predict(images())
    np.testing.assert_allclose(as_they_are, ClassifierBlackBox(model).predict(photos), rtol=0, atol=1e-6)
    how = model.card.preprocess
    with torch.inference_mode():
        nearest = [(how.center(how.canvas(to_pixels(image))) * 255).round() / 255 for image in images()]
        wanted = model.logits(torch.cat(nearest)).numpy()
    np.testing.assert_allclose(resized, wanted, rtol=0, atol=1e-5)


def test_mean_std_and_an_open_size_are_given_by_options(server: OipServer) -> None:
    server.metadata["inputs"][0]["shape"] = [-1, 3, -1, -1]
    server.metadata["outputs"][0]["shape"] = [-1, -1]
    with pytest.raises(UserError, match="leaves its input size open; add"):
        ask(server.url)
    with pytest.raises(UserError, match="leaves its number of classes open"):
        ask(server.url + "?size=16")
    judge = ask(server.url + AS_TOYS + "&size=16&classes=4&mean=0.5,0.4,0.3&std=0.2,0.3,0.4&task=pets&parent=mine")
    model = small_cnn(seed=1)
    for channel, (mean, std) in enumerate(((0.5, 0.2), (0.4, 0.3), (0.3, 0.4))):
        model.mean[0, channel], model.std[0, channel] = mean, std
    np.testing.assert_allclose(judge.predict(images()), ClassifierBlackBox(model).predict(images()), rtol=0, atol=1e-5)
    assert (judge.card.task, judge.card.parent) == ("pets", "mine")


def test_of_several_inputs_and_outputs_the_named_ones_are_taken(server: OipServer) -> None:
    server.metadata["inputs"].insert(0, {"name": "threshold", "datatype": "FP32", "shape": [1]})
    server.metadata["outputs"].insert(0, {"name": "boxes", "datatype": "FP32", "shape": [-1, 10, 4]})
    with pytest.raises(UserError, match="several inputs: add input= and one of threshold, pixels"):
        ask(server.url)
    with pytest.raises(UserError, match="several outputs: add output= and one of boxes, scores"):
        ask(server.url + "?input=pixels")
    with pytest.raises(UserError, match="no output 'score'; did you mean 'scores'"):
        ask(server.url + "?input=pixels&output=score")
    assert ask(server.url + "?input=pixels&output=scores").card.classes == 4


@pytest.mark.parametrize(
    ("place", "change", "options", "said"),
    [
        ("inputs", {"datatype": "BYTES"}, "", "takes BYTES at 'pixels'"),
        ("inputs", {"shape": [-1, 16, 16]}, "", "where one RGB image is needed"),
        ("inputs", {"shape": [-1, 1, 16, 16]}, "", "where one RGB image is needed"),
        ("inputs", {"shape": [-1, 3, 16, 3]}, "", "where one RGB image is needed"),
        ("inputs", {"shape": [8, 3, 16, 16]}, "", "where one RGB image is needed"),
        ("inputs", {"shape": ["N", 3, 16, 16]}, "", "do not tell its inputs"),
        ("inputs", {"shape": [-1, 3, 10**30, 16]}, "", "do not tell its inputs"),
        ("inputs", {"name": "\x1b[31m"}, "", "do not tell its inputs"),
        ("inputs", {"datatype": "F" * 10**6}, "", "do not tell its inputs"),
        ("inputs", {"shape": None}, "", "do not tell its inputs"),
        ("inputs", {"datatype": "UINT8"}, "?mean=0,0,0", "UINT8 pixels as they are"),
        ("inputs", {}, "?size=32", "takes images of 16x16, not 32x32"),
        ("outputs", {"datatype": "INT64"}, "", "gives INT64"),
        ("outputs", {"shape": [-1, 4, 4]}, "", "where FP32 [-1, classes] is needed"),
        ("outputs", {"shape": []}, "", "two or more"),
        ("outputs", {"shape": [-1, 1]}, "", "two or more"),
        ("outputs", {}, "?classes=5", "gives 4 classes, not 5"),
        ("outputs", {}, "?timeout=0", "timeout must lie in [0.001, 3600]"),
        ("outputs", {}, "?timeout=nan", "timeout must lie in"),
        ("outputs", {}, "?retries=-1", "retries must lie in [0, 10]"),
        ("outputs", {}, "?budget=many", "budget must be a number"),
    ],
)
def test_models_that_cannot_be_used_are_named(
    place: str, change: dict[str, Any], options: str, said: str, server: OipServer
) -> None:
    server.metadata[place][0].update(change)
    with pytest.raises(UserError) as caught:
        ask(server.url + options)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 500
    assert server.questions == []


@pytest.mark.parametrize("metadata", [{}, {"inputs": "pixels"}, {"inputs": []}, {"inputs": [3]}])
def test_metadata_that_say_nothing_are_named(metadata: dict[str, Any], server: OipServer) -> None:
    server.metadata = metadata
    with pytest.raises(UserError, match="metadata do not tell its inputs"):
        ask(server.url)


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
        ("drip:3", [0.5]),
        ("slow:2", [0.5]),
    ],
)
def test_a_failure_that_passes_is_tried_again(fault: str, waits: list[float], server: OipServer) -> None:
    noted: list[float] = []
    judge = ask(server.url + AS_TOYS + f"&timeout={patience(fault, 1)}&budget=2", noted)
    server.faults = [fault]
    wanted = ClassifierBlackBox(server.model).predict(images(1))
    np.testing.assert_allclose(judge.predict(images(1)), wanted, rtol=0, atol=1e-6)
    assert noted == waits
    assert len(server.questions) == judge.sent == 2


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("status:500", "status 500"),
        ("drop", "no connection"),
        ("cut", "no connection"),
        ("slow:0.5", "no answer in 0.1 s"),
        ("drip:0.5", "no answer in 0.1 s"),
    ],
)
def test_a_failure_that_stays_ends_after_the_tries(fault: str, said: str, server: OipServer) -> None:
    noted: list[float] = []
    judge = ask(server.url + f"?timeout={patience(fault, 0.1)}&retries=3", noted)
    server.faults = [fault] * 10
    with pytest.raises(BlackBoxError, match=rf"{said}.*\(4 tries\)"):
        judge.predict(images(1))
    assert noted == [0.5, 1.0, 2.0]
    assert len(server.questions) == judge.sent == 4


@pytest.mark.parametrize("fault", ["status:500", "drop", "slow:1", "cut"])
def test_tries_count_toward_the_budget(fault: str, server: OipServer) -> None:
    judge = ask(server.url + f"?timeout={patience(fault, 0.5)}&retries=5&budget=4")
    server.faults = ["well", *[fault] * 10]
    judge.predict(images(1))
    for _ in range(2):
        with pytest.raises(BudgetSpent, match="budget of 4 queries"):
            judge.predict(images(1))
    assert len(server.questions) == judge.sent == 4


def test_a_budget_of_nothing_sends_nothing(server: OipServer) -> None:
    judge = ask(server.url + "?budget=0")
    with pytest.raises(BudgetSpent):
        judge.predict(images(1))
    assert server.questions == []


@pytest.mark.parametrize("fault", [f"body:{name}" for name in GARBAGE])
def test_answers_that_are_none_are_refused_and_not_asked_for_again(fault: str, server: OipServer) -> None:
    judge = ask(server.url)
    server.faults = [fault]
    with pytest.raises(BlackBoxError, match="the server's answer"):
        judge.predict(images(1))
    assert len(server.questions) == 1


@pytest.mark.parametrize(
    ("change", "said"),
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
def test_scores_that_cannot_be_used_are_refused(change: dict[str, Any], said: str, server: OipServer) -> None:
    judge = ask(server.url)
    server.changes = change
    with pytest.raises(BlackBoxError) as caught:
        judge.predict(images(1))
    assert said in str(caught.value)
    assert len(str(caught.value)) <= 500
    assert len(server.questions) == 1


@pytest.mark.parametrize("data", [[[1, 2.5, -3, 4]], [1, 2.5, -3, 4]])
def test_scores_may_be_nested_and_whole_numbers(data: list[Any], server: OipServer) -> None:
    judge = ask(server.url)
    server.changes = {"data": data, "datatype": "FP64"}
    assert judge.predict(images(1)).tolist() == [[1, 2.5, -3, 4]]


def test_too_large_an_answer_is_not_read_to_its_end(server: OipServer) -> None:
    judge = ask(server.url)
    server.faults = [f"huge:{128 * 2**20}"]
    with pytest.raises(BlackBoxError, match="larger than 16 MiB"):
        judge.predict(images(1))
    assert server.flooded < 64 * 2**20  # the rest is in the sockets
    assert len(server.questions) == 1
    server.metadata_faults = [f"huge:{17 * 2**20}"]
    with pytest.raises(BlackBoxError, match="larger than 16 MiB"):
        ask(server.url)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(status: int, server: OipServer) -> None:
    judge = ask(server.url)
    with serving(small_cnn(seed=2)) as elsewhere:
        server.faults = [f"status:{status} Location={elsewhere.url}/infer"]
        with pytest.raises(BlackBoxError, match=r"redirects to '127\.0\.0\.1:\d+'"):
            judge.predict(images(1))
        assert elsewhere.paths == []
    for location, said in (("/else", "another path"), ("http://[::1", "no address"), ("", "another path")):
        server.faults = [f"status:{status} Location={location}"]
        with pytest.raises(BlackBoxError, match=said):
            judge.predict(images(1))
    assert len(server.questions) == 4


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("status:401", "denies access (401); put a token into OMM_HTTP_TOKEN"),
        ("status:403", "denies access (403)"),
        ("status:404", "says 404"),
        ("status:400", "says 400: Bearer *** [31mfailed"),
        ("status:204", "says 204"),
        ("garble", "does not speak HTTP"),
    ],
)
def test_refusals_are_told_at_once_without_the_token(
    fault: str, said: str, server: OipServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMM_HTTP_TOKEN", " s3cret\n")
    judge = ask(server.url + "?key=hush")
    server.faults = [fault]
    with pytest.raises(BlackBoxError) as caught:
        judge.predict(images(1))
    assert said in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "hush" not in str(caught.value)
    assert len(server.questions) == 1


def test_the_token_and_foreign_options_reach_the_server_and_nothing_else(
    server: OipServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = ask(server.url)
    monkeypatch.setenv("OMM_HTTP_TOKEN", "s3cret")
    judge = ask(server.url + "/versions/1?size=16&zone=a%20b&budget=9&fit=squash&timeout=5")
    judge.predict(images(1))
    assert server.paths[1:] == ["/v2/models/net/versions/1?zone=a%20b", "/v2/models/net/versions/1/infer?zone=a%20b"]
    assert "Authorization" not in server.headers[0]
    assert [sent["Authorization"] for sent in server.headers[1:]] == ["Bearer s3cret"] * 2
    assert "s3cret" not in json.dumps(judge.card.to_json())
    assert judge.card.uri == server.url + "/versions/1"
    assert judge.card.sha256 != plain.card.sha256


@pytest.mark.parametrize("token", ["two words", "line\r\nX-Evil: 1", "schlüssel"])
def test_a_token_that_is_none_is_not_shown(token: str, server: OipServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMM_HTTP_TOKEN", token)
    with pytest.raises(UserError, match="holds characters that no token has") as caught:
        ask(server.url)
    assert token not in str(caught.value)
    assert server.paths == []


def test_an_endpoint_is_known_again_and_a_changed_one_is_not(
    server: OipServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ask(server.url)
    monkeypatch.setenv("OMM_HTTP_TOKEN", "s3cret")
    assert ask(server.url + "/?fit=squash&task=pets").card.sha256 == first.card.sha256
    assert ask(server.url + "?zone=a").card.sha256 != first.card.sha256
    server.metadata["versions"] = ["2"]
    assert ask(server.url).card.sha256 != first.card.sha256


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:net",
        "http://host",
        "http:///v2/models/net",
        "http://host:99999/v2/models/net",
        "http://host:x/v2/models/net",
        "http://host/v1/models/net",
        "http://host/v2/models/",
        "http://host/v2/models/net/infer",
        "http://host/v2/models/net#part",
        "http://host/v2/models/net?zone=a#part",
        "http://host/v2/models/n et",
        "http://host/v2/models/net\r\nX-Evil: 1",
        "http://host/v2/models/net?zone=a\r\nX-Evil:1",
        "http://h" + "o" * 70 + ".org/v2/models/net",
        "http://[::1/v2/models/net",
    ],
)
def test_urls_that_name_no_model_are_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(UserError) as caught:
        ask(url)
    assert not isinstance(caught.value, BlackBoxError)


def test_a_server_that_is_not_there_costs_no_query() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refused
        with pytest.raises(BlackBoxError, match=r"no connection .*refused.* \(3 tries\)"):
            ask(f"http://127.0.0.1:{taken.getsockname()[1]}/v2/models/net")
    with serving(small_cnn(seed=1)) as server:
        judge = ask(server.url)
    with pytest.raises(BlackBoxError, match="no connection"):
        judge.predict(images(1))
    assert judge.sent == 0


def test_a_model_that_is_not_there_is_named(server: OipServer) -> None:
    with pytest.raises(BlackBoxError, match="says 404: Model not found"):
        ask(server.url + "work")


def test_a_plain_server_is_no_tls_server(server: OipServer) -> None:
    with pytest.raises(BlackBoxError, match="no connection"):
        ask(server.url.replace("http:", "https:"))


@pytest.fixture
def tls_server(server: OipServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OipServer:
    """The server behind TLS; its certificate is trusted where SSL_CERT_FILE names it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("OPENSSL ABSENT: no certificate could be made, https was not tested")
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    make = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files]
    subprocess.run(make, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    return server


def test_over_tls_a_model_says_the_same_and_fails_the_same(tls_server: OipServer) -> None:
    url = tls_server.url.replace("http:", "https:") + AS_TOYS
    wanted = ClassifierBlackBox(tls_server.model).predict(images())
    np.testing.assert_allclose(ask(url).predict(images()), wanted, rtol=0, atol=1e-6)
    judge = ask(url + "&timeout=1")
    for fault in ("drip:3", "slow:3", "drop", "cut"):
        tls_server.faults = [fault]
        begun = time.monotonic()
        np.testing.assert_allclose(judge.predict(images()[:1]), wanted[:1], rtol=0, atol=1e-6)
        assert time.monotonic() - begun < 2.5
    assert len(tls_server.questions) == 3 + 8


def test_a_certificate_that_nobody_vouches_for_is_refused(
    tls_server: OipServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(BlackBoxError, match="its certificate is not valid: self"):
        ask(tls_server.url.replace("http:", "https:"))
    assert tls_server.paths == []


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1/v2/models/net", "https://127.0.0.1:1/v2/models/net", "recorded:a"])
def test_a_black_box_cannot_guide(uri: str) -> None:
    with pytest.raises(UserError, match="is a black box: it can judge, not guide"):
        load_model(uri)


RUNTIME = """
import torch
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse
from onlymymodel.surrogates.load import load_model

class Zoo(MLModel):
    async def load(self):
        self.net = load_model("zoo:identity-plain")
        return True

    async def predict(self, payload):
        pixels = torch.from_numpy(NumpyCodec.decode_input(payload.inputs[0]))
        with torch.inference_mode():
            scores = self.net.net(pixels).numpy()
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("scores", scores)])
"""


@pytest.fixture
def mlserver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of a bundled model behind MLServer, an implementation of the protocol that is not ours."""
    monkeypatch.delenv("OMM_HTTP_TOKEN", raising=False)
    beside = Path(sys.executable).with_name("mlserver")
    command = os.environ.get("OMM_MLSERVER") or (str(beside) if beside.exists() else shutil.which("mlserver"))
    if command is None:
        pytest.skip(
            "MLSERVER ABSENT: the client was not tested against a server that is not ours; pip install mlserver"
        )
    with socket.socket() as http, socket.socket() as grpc, socket.socket() as metrics:
        for free in (http, grpc, metrics):
            free.bind(("127.0.0.1", 0))
        ports = [free.getsockname()[1] for free in (http, grpc, metrics)]
    settings = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False, "metrics_endpoint": None}
    settings |= dict(zip(("http_port", "grpc_port", "metrics_port"), ports, strict=True))
    record = load_model("zoo:identity-plain").card
    side = record.preprocess.height
    model = {
        "name": "net",
        "implementation": "zoo_runtime.Zoo",
        "inputs": [{"name": "pixels", "datatype": "FP32", "shape": [-1, 3, side, side]}],
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, record.classes]}],
    }
    (tmp_path / "zoo_runtime.py").write_text(RUNTIME)
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    (tmp_path / "model-settings.json").write_text(json.dumps(model))
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen([command, "start", str(tmp_path)], cwd=tmp_path, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{ports[0]}/v2/models/net"
        end = time.monotonic() + 60
        while not _is_ready(url):
            assert running.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.1)
        yield url
    finally:
        running.kill()
        running.wait()


def _is_ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/ready", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_a_bundled_model_behind_mlserver_says_what_it_says_directly(mlserver: str) -> None:
    card = load_model("zoo:identity-plain").card
    how = {key: ",".join(map(str, getattr(card.preprocess, key))) for key in ("mean", "std")}
    judge = load_black_box(f"{mlserver}?fit=squash&mean={how['mean']}&std={how['std']}&timeout=20")
    wanted = load_black_box("zoo:identity-plain").predict(images())
    np.testing.assert_allclose(judge.predict(images()), wanted, rtol=0, atol=1e-5)
    assert judge.card.preprocess == card.preprocess
    with pytest.raises(BlackBoxError, match="404"):
        load_black_box(f"{mlserver}work")


@pytest.mark.parametrize("host", ["models.example", "192.0.2.1", "[2001:db8::1]"])
def test_a_token_never_travels_in_the_open(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before anything is sent: none of these hosts is asked, or this would take the time-out's seconds."""
    monkeypatch.setenv("OMM_HTTP_TOKEN", "s3cret")
    with pytest.raises(UserError, match="over http anybody could read it") as told:
        load_black_box(f"http://{host}/v2/models/m?timeout=60")
    assert "s3cret" not in str(told.value)

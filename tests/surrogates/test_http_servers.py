"""Served models over TLS and on another server give the same scores as without a server."""

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
from urllib.request import urlopen

import numpy as np
import pytest
from oip_server import AS_TOYS, OipServer, http_box, images
from patience import PATIENCE, RUN_PATIENCE, wait_until

from onlymymodel.surrogates.black_box import BlackBoxError, ClassifierBlackBox
from onlymymodel.surrogates.load import load_black_box, load_model


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


@pytest.mark.slow
def test_over_tls_a_model_says_the_same_and_fails_the_same(tls_server: OipServer) -> None:
    url = tls_server.url.replace("http:", "https:") + AS_TOYS
    wanted = ClassifierBlackBox(tls_server.model).predict(images())
    np.testing.assert_allclose(http_box(url).predict(images()), wanted, rtol=0, atol=1e-6)
    judge = http_box(url + "&timeout=3")
    for fault in (f"drip:{2 * PATIENCE}", f"slow:{2 * PATIENCE}", "drop", "cut"):
        tls_server.faults = [fault]
        begun = time.monotonic()
        np.testing.assert_allclose(judge.predict(images()[:1]), wanted[:1], rtol=0, atol=1e-6)
        assert time.monotonic() - begun < PATIENCE  # it has not waited for the server
    assert len(tls_server.questions) == 3 + 8


def test_an_untrusted_certificate_is_refused(tls_server: OipServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(BlackBoxError, match="its certificate is not valid: self"):
        http_box(tls_server.url.replace("http:", "https:"))
    assert tls_server.paths == []


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

        def is_ready() -> bool:
            assert running.poll() is None, (tmp_path / "log").read_text()
            return _is_ready(url)

        wait_until(is_ready, RUN_PATIENCE)
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


@pytest.mark.slow
def test_a_bundled_model_behind_mlserver_says_what_it_says_directly(mlserver: str) -> None:
    card = load_model("zoo:identity-plain").card
    how = {key: ",".join(map(str, getattr(card.preprocess, key))) for key in ("mean", "std")}
    judge = load_black_box(f"{mlserver}?fit=squash&mean={how['mean']}&std={how['std']}&timeout=20")
    wanted = load_black_box("zoo:identity-plain").predict(images())
    np.testing.assert_allclose(judge.predict(images()), wanted, rtol=0, atol=1e-5)
    assert judge.card.preprocess == card.preprocess
    with pytest.raises(BlackBoxError, match="404"):
        load_black_box(f"{mlserver}work")

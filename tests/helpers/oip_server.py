"""A server of the Open Inference Protocol on this machine, around a real model, with faults on demand."""

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.http_black_box import HttpBlackBox
from onlymymodel.surrogates.uri import parse_uri

GARBAGE = {
    "not json": b"{'outputs': ",
    "a list": b"[1, 2]",
    "deep": b"[" * 100_000,
    "no outputs": b'{"model_name": "net"}',
    "other output": b'{"outputs": [{"name": "else", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}',
    "an error": b'{"error": "out of memory"}',
    "not utf-8": b'{"outputs": "\xff"}',
    "empty": b"",
}


class OipServer(ThreadingHTTPServer):
    """Serves `model` as /v2/models/net.

    Attributes:
        faults: one is taken by each request for an answer; none left, all is well. See `Handler.misbehave`.
        changes: replace parts of the scores' tensor in every answer.
        questions: sha256 of each request's body for an answer, in order of arrival.
        metadata_faults: as `faults`, for requests of the metadata.
        headers, paths: of every request.
        pause: seconds before each answer.
        flooded: bytes of too large an answer that were taken from the server.
    """

    daemon_threads = True

    def __init__(self, model: Classifier, datatype: str = "FP32", channels_last: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        side = model.card.preprocess.height
        shape = [-1, side, side, 3] if channels_last else [-1, 3, side, side]
        self.model = model
        self.metadata: dict[str, Any] = {
            "name": "net",
            "versions": ["1"],
            "platform": "torch",
            "inputs": [{"name": "pixels", "datatype": datatype, "shape": shape}],
            "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, model.card.classes]}],
        }
        self.faults: list[str] = []
        self.metadata_faults: list[str] = []
        self.changes: dict[str, Any] = {}
        self.questions: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.pause = 0.0
        self.flooded = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v2/models/net"

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The model's scores for the tensor in a request, by the protocol's words."""
        (tensor,), stated = request["inputs"], self.metadata["inputs"][0]
        assert (tensor["name"], tensor["datatype"]) == (stated["name"], stated["datatype"])
        assert len(tensor["shape"]) == 4
        assert all(a in (b, -1) or b == -1 for a, b in zip(tensor["shape"], stated["shape"], strict=True))
        kind = {"FP32": np.float32, "UINT8": np.uint8}[tensor["datatype"]]
        values = np.array(tensor["data"], kind).reshape(tensor["shape"])
        pixels = torch.from_numpy(values).float() / (255 if kind is np.uint8 else 1)
        with torch.inference_mode():
            scores = self.model.logits(pixels if tensor["shape"][1] == 3 else pixels.permute(0, 3, 1, 2))
        output = {"name": "scores", "datatype": "FP32", "shape": list(scores.shape), "data": scores.flatten().tolist()}
        return {"model_name": "net", "model_version": "1", "outputs": [{**output, **self.changes}]}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: OipServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._note()
        if self.server.metadata_faults and self.misbehave(self.server.metadata_faults.pop(0)):
            return
        if self.path.partition("?")[0] not in ("/v2/models/net", "/v2/models/net/versions/1"):
            self.send(404, b'{"error": "Model not found"}')
            return
        self.send(200, json.dumps(self.server.metadata).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._note()
        self.server.questions.append(hashlib.sha256(body).hexdigest())
        time.sleep(self.server.pause)
        if self.server.faults and self.misbehave(self.server.faults.pop(0)):
            return
        self.send(200, json.dumps(self.server.answer(json.loads(body))).encode())

    def misbehave(self, fault: str) -> bool:
        """Do what `fault` says; False where an answer is to follow."""
        kind, _, detail = fault.partition(":")
        if kind == "status":
            status, _, header = detail.partition(" ")
            self.send(int(status), b'{"error": "Bearer s3cret\\n\\u001b[31mfailed"}', header)
        elif kind == "body":
            self.send(200, GARBAGE[detail])
        elif kind == "huge":
            self._flood(int(detail))
        elif kind == "drop":
            self.connection.shutdown(socket.SHUT_RDWR)
        elif kind == "cut":
            self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"outputs"')
            self.close_connection = True
        elif kind == "garble":
            self.wfile.write(b"SSH-2.0-not_a_web_server\r\n\r\n")
            self.close_connection = True
        elif kind == "drip":
            self._drip(float(detail))
        elif kind == "slow":
            time.sleep(float(detail))
            return False
        else:
            return kind != "well"
        return True

    def _flood(self, size: int) -> None:
        self.wfile.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size >> 20):
            self.wfile.write(b" " * 2**20)
            self.server.flooded += 2**20

    def _drip(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.wfile.write(b"H")
            time.sleep(0.02)

    def send(self, status: int, body: bytes, header: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if header:
            self.send_header(*header.split("=", 1))
        self.end_headers()
        self.wfile.write(body)

    def _note(self) -> None:
        self.server.headers.append(dict(self.headers))
        self.server.paths.append(self.path)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@contextmanager
def serving(model: Classifier, datatype: str = "FP32", channels_last: bool = False) -> Iterator[OipServer]:
    """The server, running."""
    with OipServer(model, datatype, channels_last) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


AS_TOYS = "?fit=squash"  # as `toys.PLAIN`


def images(count: int = 3, channels: int = 3) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (20 + 7 * i, 31 - 3 * i, channels), dtype=np.uint8) for i in range(count)]


def http_box(url: str, waits: list[float] | None = None) -> HttpBlackBox:
    """A judge that notes how long it would wait between its tries."""
    noted: list[float] = [] if waits is None else waits
    return HttpBlackBox(parse_uri(url), sleep=noted.append)

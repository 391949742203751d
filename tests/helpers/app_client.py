"""A client that talks to the page as a browser does."""

import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch
from numpy.typing import NDArray
from patience import PATIENCE, RUN_PATIENCE, wait_until
from PIL import Image
from torch import Tensor
from toys import PLAIN, BatchBlackBox, Linear, classifier, linear, read_portrait

from onlymymodel.app.form import Policy
from onlymymodel.app.server import running
from onlymymodel.surrogates.classifier import Classifier, ModelCard

LOCAL = Policy(torch.device("cpu"))
FORM: dict[str, Any] = {
    "authorized": "python:toys:mine",
    "surrogates": ["python:toys:theirs"],
    "heldout": ["python:toys:others"],
    "epsilon": 16,
    "recipe": "default",
    "region": "image",
    "steps": 4,
    "metadata": "none",
}


def coded(pixels: Any, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


PHOTO = coded(read_portrait(1))


class Fragile(Linear):
    def forward(self, pixels: Tensor) -> Tensor:
        red, green, _ = pixels.mean((0, 2, 3))
        if red > 0.9 and green < 0.1:
            raise RuntimeError("it is too red in here\nsecond line")
        return super().forward(pixels)


def fragile() -> Classifier:
    """A surrogate that fails on red photos, as `python:app_client:fragile`."""
    net = linear(seed=12, classes=3, scale=0.1).net
    assert isinstance(net, Linear)
    return classifier(Fragile(net.weights.data, net.bias.data), 3, "fragile")


def _judge(name: str, answer: Callable[[int], NDArray[Any]]) -> BatchBlackBox:
    return BatchBlackBox(ModelCard(name, sha256=name, classes=3, preprocess=PLAIN, task="toy"), answer)


def indexes() -> BatchBlackBox:
    """A judge that answers with class indexes, (B,), as `python:app_client:indexes`."""
    return _judge("indexes", lambda count: np.full(count, 2))


def not_a_number() -> BatchBlackBox:
    """A judge whose scores are NaN, as `python:app_client:not_a_number`."""
    return _judge("not-a-number", lambda count: np.full((count, 3), np.nan, np.float32))


def _fail(_: int) -> NDArray[Any]:
    raise RuntimeError("it is too dark in here\nsecond line")


def failing() -> BatchBlackBox:
    """A judge that raises, as `python:app_client:failing`."""
    return _judge("failing", _fail)


class Client:
    """Asks a running page as a browser would."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.place, self.secret, self.cookie = (parts.hostname or "", parts.port), parts.path, ""
        status, headers, _ = self.raw("GET", self.secret)
        assert status == 303, status
        self.root, self.cookie = headers["location"], headers["set-cookie"].partition(";")[0]

    def raw(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection(*self.place, timeout=PATIENCE)
        connection.request(method, path, body, {"Cookie": self.cookie, **(headers or {})})
        answer = connection.getresponse()
        response = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return response

    def __call__(self, method: str, path: str, body: bytes | None = None) -> bytes:
        status, _, content = self.raw(method, self.root + path, body)
        assert status < 300, content
        return content

    def refused(self, method: str, path: str, body: bytes | None = None) -> str:
        status, headers, content = self.raw(method, self.root + path, body)
        assert status >= 400
        assert headers["content-type"].startswith("application/json")
        return str(json.loads(content)["error"])

    def session(self, *photos: bytes) -> str:
        path = f"sessions/{json.loads(self('POST', 'sessions'))['session']}"
        for index, photo in enumerate(photos):
            self("POST", f"{path}/photos?name={index}.png", photo)
        return path

    def state(self, session: str) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self("GET", f"{session}/"))
        return state

    def run(self, session: str, form: dict[str, Any]) -> None:
        self("POST", f"{session}/run", json.dumps(form).encode())

    def wait(self, session: str, until: str = "") -> dict[str, Any]:
        """The state once the run has ended, or is in a phase."""
        state: dict[str, Any] = {}

        def is_reached() -> bool:
            state.update(self.state(session))
            return bool(state["run"]["phase"] == until or not (until or state["run"]["busy"]))

        wait_until(is_reached, RUN_PATIENCE)
        return state


@contextmanager
def page(*, allow_python: bool = True, local: bool = True) -> Iterator[str]:
    """A page that is served by a thread of this process; its address."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        running(listener, device="cpu", allow_python=allow_python, local=local) as (server, url),
    ):
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield url
        finally:
            server.should_exit = True
            thread.join(PATIENCE)

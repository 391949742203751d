"""A client of the page as a browser is one, and a page to talk to."""

import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import torch
from PIL import Image
from torch import Tensor
from toys import Linear, classifier, linear

from onlymymodel.app.choice import Policy
from onlymymodel.app.server import running
from onlymymodel.data.portraits import render
from onlymymodel.surrogates.classifier import Classifier

LOCAL = Policy(torch.device("cpu"))
FORM: dict[str, Any] = {
    "authorized": "python:toys:mine",
    "surrogates": ["python:toys:theirs"],
    "heldout": ["python:toys:others"],
    "epsilon": 16,
    "shape": "flat",
    "recipe": "default",
    "region": "image",
    "steps": 4,
    "keep_metadata": False,
}


def coded(pixels: Any, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


PHOTO = coded(render(4, 1, 9, 40))


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


class Client:
    """Asks a running page as a browser would."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.place, self.root = (parts.hostname or "", parts.port), parts.path

    def raw(self, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection(*self.place, timeout=20)
        connection.request(method, path, body)
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return found

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
        for _ in range(600):
            state = self.state(session)
            if state["run"]["phase"] == until or not (until or state["run"]["busy"]):
                return state
            time.sleep(0.05)
        raise AssertionError(state)


@contextmanager
def page(*, allow_python: bool = True, local: bool = True) -> Iterator[str]:
    """A page that is served by a thread of this process; its address."""
    with (
        socket.create_server(("127.0.0.1", 0)) as place,
        running(place, device="cpu", allow_python=allow_python, local=local) as (server, url),
    ):
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]}, daemon=True)
        thread.start()
        try:
            yield url
        finally:
            server.should_exit = True
            thread.join(20)

"""A server of the OpenAI chat protocol on this machine, which sees the photo that it is sent, with faults on demand."""

import base64
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from oip_server import OipServer
from PIL import Image
from toys import small_cnn

Say = Callable[[NDArray[np.uint8], str], Any]


class ChatServer(OipServer):
    """Serves /v1/chat/completions; `say` gets each photo and the text beside it, and returns the message's content.

    Attributes:
        requests: every request that was answered.
        message: further fields of the message; choice: of the choice.
    """

    def __init__(self, say: Say) -> None:
        super().__init__(small_cnn(0))
        self.say = say
        self.requests: list[dict[str, Any]] = []
        self.photos: list[NDArray[np.uint8]] = []
        self.message: dict[str, Any] = {}
        self.choice: dict[str, Any] = {}

    @property
    def address(self) -> str:
        return f"openai:http://127.0.0.1:{self.server_address[1]}/v1"

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer by the protocol, and check the request by it."""
        assert self.paths[-1].partition("?")[0] == "/v1/chat/completions"
        (message,) = request["messages"]
        text, image = message["content"]
        assert (message["role"], text["type"], image["type"]) == ("user", "text", "image_url")
        prefix, _, data = image["image_url"]["url"].partition(",")
        assert prefix == "data:image/png;base64"
        picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
        assert picture.format == "PNG"
        photo = np.asarray(picture)
        self.requests.append(request)
        self.photos.append(photo)
        said = {"role": "assistant", "content": self.say(photo, text["text"]), **self.message}
        choice = {"index": 0, "message": said, "finish_reason": "stop", **self.choice}
        return {"id": "1", "object": "chat.completion", "model": request["model"], "choices": [choice]}


@contextmanager
def chatting(say: Say) -> Iterator[ChatServer]:
    """The server, running."""
    with ChatServer(say) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

"""Vision-language models as black boxes: any server of the OpenAI chat protocol that takes images.

Protocol: https://platform.openai.com/docs/api-reference/chat, the content parts `text` and `image_url`. vLLM, Ollama,
llama.cpp, LM Studio and hosted models speak it.
"""

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from onlymymodel.data.pixels import to_png
from onlymymodel.errors import UserError
from onlymymodel.surrogates.black_box import BlackBoxError
from onlymymodel.surrogates.chat_answers import NONE, UNCLEAR, Ask, Question, synonyms_of
from onlymymodel.surrogates.http_endpoint import Endpoint
from onlymymodel.surrogates.model_card import READ_ELSEWHERE, ModelCard
from onlymymodel.surrogates.options import numeric_option, override_card, read_names
from onlymymodel.surrogates.query_count import QueryCount
from onlymymodel.surrogates.uri import ModelUri

CHAT_PATH = re.compile(r"(/[^?#]*)?/v1/?")
SETTINGS: dict[str, tuple[type[int] | type[float], str]] = {"max_tokens": (int, "100"), "temperature": (float, "0")}


class ChatBlackBox(QueryCount):
    """`openai:https://HOST/v1?model=NAME&labels=FILE`, which is sent one photo with one question in each query.

    The photo is sent as it is, as a lossless PNG. `ask=choice` (the default) lists the labels, `ask=open` asks what the
    photo shows and finds the labels, or their `synonyms=FILE`, in the answer; see `Question`. Further options:
    `timeout` (60 seconds), `retries` (2), `budget` (queries in all), and `max_tokens` (100) and `temperature` (0),
    which are not sent where they are empty. A token is taken from `OMM_HTTP_TOKEN`. Unknown options are passed on to
    the server.

    The card's sha256 covers address, model, question and settings; the weights of the server are unknown.

    Args:
        uri: of the scheme `openai`.
        sleep: waits for a number of seconds between two tries.

    Raises:
        UserError: an option is missing or wrong.
    """

    def __init__(self, uri: ModelUri, *, sleep: Callable[[float], None] = time.sleep) -> None:
        scheme, _, rest = uri.rest.partition(":")
        if scheme not in ("http", "https"):
            raise UserError(f"model {uri.public!r}: write it as {uri.kind.example}")
        timeout = numeric_option(uri, "timeout", 60, float, 1e-3, 3600)
        retries = int(numeric_option(uri, "retries", 2, int, 0, 10))
        address = replace(uri, scheme=scheme, rest=rest)
        self.endpoint = Endpoint(address, timeout, retries, sleep, path=CHAT_PATH, form="//HOST/v1")
        self.endpoint.public = uri.public
        super().__init__(uri)
        self.model, self.question = _required(uri, "model"), _question(uri)
        self.settings = {key: kind(value) for key, (kind, _) in SETTINGS.items() if (value := _setting(uri, key))}
        asked = hashlib.sha256(json.dumps([self.question.prompt, *self.question.labels]).encode()).hexdigest()
        synonyms = sorted((name, *words) for name, words in self.question.synonyms.items())
        facts = [self.endpoint.address, self.endpoint.query, self.model, asked, self.settings, synonyms]
        card = ModelCard(
            uri=uri.public,
            sha256=hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest(),
            classes=len(self.question.labels),
            preprocess=READ_ELSEWHERE,
            asked=asked,
        )
        named = {key: value for key, value in uri.options.items() if key != "labels"}
        self.card = replace(override_card(card, replace(uri, options=named)), labels=self.question.labels)

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.intp]:
        """See `BlackBox.predict`; class indices.

        Raises:
            QueryBudgetExhausted: no further query may be sent.
            BlackBoxError: no answer, or none of the protocol.
        """
        return np.array([self.question.class_of(self.ask(image)) for image in images], np.intp)

    def ask(self, image: NDArray[np.uint8]) -> str:
        """Return the model's answer to the question about an HWC uint8 image; "" where it refuses.

        Raises:
            QueryBudgetExhausted: no further query may be sent.
            BlackBoxError: no answer, or none of the protocol.
        """
        data = base64.b64encode(to_png(image)).decode()
        parts = [
            {"type": "text", "text": self.question.prompt},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
        ]
        request = {"model": self.model, "messages": [{"role": "user", "content": parts}], **self.settings}
        answer = self.endpoint.post("/chat/completions", json.dumps(request).encode(), self.count_query)
        return self._text_of(answer)

    def _text_of(self, answer: dict[str, object]) -> str:
        choices: Any = answer.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise BlackBoxError(f"model {self.card.uri}: the server's answer has no choices")
        message = choices[0].get("message")
        if not isinstance(message, dict):
            raise BlackBoxError(f"model {self.card.uri}: the server's answer has no message")
        if message.get("refusal") or choices[0].get("finish_reason") == "content_filter":
            return ""
        content = message.get("content")
        if isinstance(content, list):  # of parts, as some servers answer
            content = " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
        if not (content is None or isinstance(content, str)):
            raise BlackBoxError(f"model {self.card.uri}: the server's answer is not text")
        return content or ""


def _required(uri: ModelUri, key: str) -> str:
    if not uri.options.get(key):
        raise UserError(f"model {uri.public!r}: add {key}=, as in {uri.kind.example}")
    return uri.options[key]


def _setting(uri: ModelUri, key: str) -> str:
    """Return a setting of the request as text, "" where it is not to be sent."""
    kind, default = SETTINGS[key]
    if value := uri.options.get(key, default):
        numeric_option(uri, key, float(default), kind, 0, 10_000)
    return value


def _question(uri: ModelUri) -> Question:
    """Return the question that the options describe.

    Raises:
        UserError: an option or a file is wrong.
    """
    _required(uri, "labels")
    names, ask = read_names(uri), uri.options.get("ask", "choice")
    if ask not in get_args(Ask):
        raise UserError(f"model {uri.public!r}: ask must be one of {', '.join(get_args(Ask))}")
    if taken := {NONE, UNCLEAR, "none"} & {name.casefold() for name in names}:
        raise UserError(f"model {uri.public!r}: {taken.pop()!r} is no label: it stands for answers without one")
    synonyms = synonyms_of(uri, names)
    return Question(names, "open" if ask == "open" else "choice", synonyms)

"""Amazon Rekognition as a black box: which of some labels a photo shows, or whether a face is found.

Operations: DetectLabels and DetectFaces, https://docs.aws.amazon.com/rekognition/latest/APIReference/Welcome.html.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onlymymodel.data.pixels import to_png
from onlymymodel.errors import UserError
from onlymymodel.surrogates.black_box import BlackBoxError
from onlymymodel.surrogates.chat_answers import NONE, plain_text, synonyms_of
from onlymymodel.surrogates.detector import NOTHING
from onlymymodel.surrogates.model_card import READ_ELSEWHERE, ModelCard
from onlymymodel.surrogates.options import numeric_option, override_card, read_names
from onlymymodel.surrogates.query_count import QueryCount
from onlymymodel.surrogates.uri import ModelUri

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest

LABELS, FACES = "labels", "faces"
FACE = "face"  # the class of a photo in which a face is found
MAX_BYTES = 5 * 2**20  # of a picture in a request, as the service states
MOST_LABELS = 1000  # in an answer, the most that the service gives
SERVICE = "rekognition"


class RekognitionBlackBox(QueryCount):
    """`rekognition:labels?labels=FILE` or `rekognition:faces`, which is sent one photo in each query.

    `labels` answers which of the names in FILE, or their `synonyms=FILE`, Rekognition is most certain to see, by its
    labels and their aliases; one below `threshold` (0.55) is not seen, and a photo with none of them is `NONE`. `faces`
    answers whether a face of at least that certainty is found. Scores are certainties in [0,1]; that of `NONE`, or of
    no face, is the threshold.

    The photo is sent as a lossless PNG. Further options: `region`, `timeout` (60 seconds), `retries` (2), and `budget`
    (queries in all, retries among them). Region and credentials are otherwise those of the AWS tools: environment,
    profile, role. They are not recorded.

    The card's sha256 covers region, operation and names; the service's model is unknown, and changes.

    Args:
        uri: of the scheme `rekognition`.

    Raises:
        UserError: boto3, the region or credentials are missing, or an option is missing or wrong.
    """

    def __init__(self, uri: ModelUri) -> None:
        self.operation, (names, words) = uri.rest, _names_of(uri)
        # at 0 a photo without any of the names would have the first one
        self.threshold = numeric_option(uri, "threshold", 0.55, float, 1e-3, 1)
        super().__init__(uri)
        self.client = _client(uri)
        self.client.meta.events.register("before-send", self._before_send)
        self._class_of = {plain_text(word): names.index(name) for name, known in words.items() for word in known}
        seen = [uri.rest, self.client.meta.region_name, *names, self.threshold, sorted(words.items())]
        labels = (*names, NONE if uri.rest == LABELS else NOTHING)
        card = ModelCard(
            uri=uri.public,
            sha256=hashlib.sha256(json.dumps(seen).encode()).hexdigest(),
            classes=len(labels),
            preprocess=READ_ELSEWHERE,
            family=SERVICE,
        )
        named = {key: value for key, value in uri.options.items() if key != "labels"}
        self.card = replace(override_card(card, replace(uri, options=named)), labels=labels)

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `BlackBox.predict`.

        Raises:
            QueryBudgetExhausted: no further query may be sent.
            BlackBoxError: no answer, or a photo whose PNG is larger than the service takes.
        """
        rows = [self._scores(image) for image in images]
        return np.stack(rows) if rows else np.zeros((0, self.card.classes), np.float32)

    def _scores(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        scores = np.zeros(self.card.classes, np.float32)
        scores[-1] = self.threshold
        for name, certainty in self._found(image):
            index = self._class_of.get(plain_text(name))
            if index is not None:
                scores[index] = max(scores[index], certainty / 100)
        return scores

    def _found(self, image: NDArray[np.uint8]) -> list[tuple[str, float]]:
        """Return names and certainties in percent of what the service finds in an HWC uint8 image."""
        if self.operation == FACES:
            found = self._ask("detect_faces", image, Attributes=["DEFAULT"]).get("FaceDetails", [])
            return [(FACE, float(face["Confidence"])) for face in found]
        least = 100 * self.threshold
        answer = self._ask("detect_labels", image, MaxLabels=MOST_LABELS, MinConfidence=least)
        return [
            (name, float(label["Confidence"]))
            for label in answer.get("Labels", [])
            for name in (label["Name"], *(alias["Name"] for alias in label.get("Aliases", [])))
        ]

    def _ask(self, operation: str, image: NDArray[np.uint8], **parameters: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        data = to_png(image)
        if len(data) > MAX_BYTES:
            size = f"{len(data) / 2**20:.1f} MiB"
            raise BlackBoxError(f"model {self.card.uri}: the photo's PNG has {size}, and the service takes 5 MiB")
        try:
            answer: dict[str, Any] = getattr(self.client, operation)(Image={"Bytes": data}, **parameters)
        except (BotoCoreError, ClientError) as error:
            raise BlackBoxError(f"model {self.card.uri}: {error}"[:500]) from error
        return answer

    def _before_send(self, request: "AWSPreparedRequest", **_: Any) -> None:  # noqa: ARG002 - botocore names it
        self.count_query()


def _names_of(uri: ModelUri) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Return the names of what is to be found, and for each the words that the service may use for it.

    Raises:
        UserError: neither labels nor faces, or an option or a file is wrong.
    """
    if uri.server_query:
        raise UserError(f"model {uri.public!r}: unknown option {uri.server_query.partition('=')[0]!r}")
    if uri.rest == FACES:
        if {"labels", "synonyms"} & uri.options.keys():
            raise UserError(f"model {uri.public!r}: labels and synonyms belong to {SERVICE}:{LABELS}")
        return (FACE,), {FACE: (FACE,)}
    if uri.rest != LABELS:
        raise UserError(f"model {uri.public!r}: write {SERVICE}:{LABELS}?labels=FILE or {SERVICE}:{FACES}")
    if not uri.options.get("labels"):
        raise UserError(f"model {uri.public!r}: add labels=FILE, with the names of what may be found")
    names = read_names(uri)
    if NONE in names:
        raise UserError(f"model {uri.public!r}: {NONE!r} is no label: it stands for photos without one")
    synonyms = synonyms_of(uri, names)
    return names, {name: (name, *synonyms.get(name, ())) for name in names}


def _client(uri: ModelUri) -> Any:
    """Return a client of the service, with the time-outs and retries of the options.

    Raises:
        UserError: see `RekognitionBlackBox`.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ModuleNotFoundError as error:
        raise UserError(f"model {uri.public!r} needs boto3: pip install 'onlymymodel[rekognition]'") from error
    timeout = numeric_option(uri, "timeout", 60, float, 1e-3, 3600)
    attempts = 1 + int(numeric_option(uri, "retries", 2, int, 0, 10))
    config = Config(
        connect_timeout=timeout, read_timeout=timeout, retries={"total_max_attempts": attempts, "mode": "standard"}
    )
    try:
        session = boto3.session.Session(region_name=uri.options.get("region") or None)
        if session.region_name is None:
            raise UserError(f"model {uri.public!r}: add region=, such as region=eu-west-1, or set AWS_DEFAULT_REGION")
        if session.get_credentials() is None:
            raise UserError(
                f"model {uri.public!r}: no AWS credentials were found: set AWS_PROFILE, or run aws configure"
            )
        return session.client(SERVICE, config=config)
    except BotoCoreError as error:
        raise UserError(f"model {uri.public!r}: {error}") from error

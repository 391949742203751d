"""Amazon Rekognition as a judge: what is sent, what is understood, and what goes wrong; nothing leaves this machine."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.stub import ANY, Stubber
from numpy.typing import NDArray
from PIL import Image
from s3_server import S3Server, s3_server

from onlymymodel.errors import UserError
from onlymymodel.surrogates.answer_cache import AnswerCache
from onlymymodel.surrogates.black_box import BlackBoxError, QueryBudgetExhausted
from onlymymodel.surrogates.cached_black_box import CachedBlackBox
from onlymymodel.surrogates.load import load_black_box, load_model
from onlymymodel.surrogates.rekognition import MAX_BYTES, RekognitionBlackBox

NAMES = ("cat", "mobile phone", "dog")
PHOTO = np.random.default_rng(0).integers(0, 256, (20, 27, 3), np.uint8)


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret of ours")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    (tmp_path / "synonyms.txt").write_text("cat: kitten, Felis Catus\n")
    return tmp_path / "names.txt"


def judge(uri: str) -> RekognitionBlackBox:
    model = load_black_box(uri)
    assert isinstance(model, RekognitionBlackBox)
    return model


def label(name: str, confidence: float, *aliases: str) -> dict[str, Any]:
    return {"Name": name, "Confidence": confidence, "Aliases": [{"Name": alias} for alias in aliases]}


@pytest.mark.parametrize(
    ("found", "scores"),
    [
        ([label("Cat", 99.0), label("Pet", 99.5)], [0.99, 0, 0, 0.6]),
        ([label("Phone", 70.0, "Mobile Phone", "Cell Phone"), label("Dog", 61.0)], [0, 0.7, 0.61, 0.6]),
        ([label("Kitten", 80.0), label("Cat", 65.0)], [0.8, 0, 0, 0.6]),
        ([label("Furniture", 99.0)], [0, 0, 0, 0.6]),
        ([], [0, 0, 0, 0.6]),
    ],
)
def test_an_answer_has_the_certainty_of_each_name(labels: Path, found: list[dict[str, Any]], scores: Any) -> None:
    synonyms = labels.with_name("synonyms.txt")
    model = judge(f"rekognition:labels?labels={labels}&synonyms={synonyms}&region=eu-west-1&threshold=0.6")
    assert model.card.labels == (*NAMES, "none of them")
    asked = {"Image": {"Bytes": ANY}, "MaxLabels": 1000, "MinConfidence": 60.0}
    with Stubber(model.client) as service:
        service.add_response("detect_labels", {"Labels": found}, asked)
        np.testing.assert_allclose(model.predict([PHOTO]), [scores], rtol=1e-6)


def test_a_face_is_found_or_not() -> None:
    model = judge("rekognition:faces?region=eu-west-1")
    assert model.card.labels == ("face", "nothing")
    with Stubber(model.client) as service:
        for faces in ([{"Confidence": 99.5}, {"Confidence": 70.0}], []):
            service.add_response("detect_faces", {"FaceDetails": faces}, {"Image": ANY, "Attributes": ["DEFAULT"]})
        np.testing.assert_allclose(model.predict([PHOTO, PHOTO]), [[0.995, 0.55], [0, 0.55]], rtol=1e-6)


@pytest.fixture
def server() -> Iterator[S3Server]:
    """A server that speaks the protocol of AWS; it sees a mobile phone in every picture."""
    with s3_server() as running:
        yield running


@pytest.mark.slow
@pytest.mark.usefixtures("server")
def test_a_server_is_asked_once_for_each_photo(labels: Path, tmp_path: Path) -> None:
    model = judge(f"rekognition:labels?labels={labels}&budget=2")
    sent: list[bytes] = []
    model.client.meta.events.register("before-send", lambda request, **_: sent.append(request.body))
    cached = CachedBlackBox(model, AnswerCache(tmp_path / "answers.sqlite"))
    for _ in range(2):
        assert cached.predict([PHOTO]).argmax(1).tolist() == [NAMES.index("mobile phone")]
    assert (model.sent, len(sent)) == (1, 1)
    model.predict([PHOTO[::-1]])
    with pytest.raises(QueryBudgetExhausted, match="the budget of 2 queries to rekognition:labels is spent"):
        model.predict([PHOTO])
    assert len(sent) == 2


@pytest.mark.slow
def test_retries_count_as_queries_and_an_error_is_a_sentence(server: S3Server) -> None:
    model = judge("rekognition:faces?retries=1")
    server.fault = lambda *_: True
    with pytest.raises(BlackBoxError, match=r"^model rekognition:faces: .*500.*") as error:
        model.predict([PHOTO])
    assert model.sent == 2
    assert "a secret" not in str(error.value)


def test_the_photo_is_sent_without_loss() -> None:
    model = judge("rekognition:faces?region=eu-west-1")
    sent: list[bytes] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        sent.append(params["Image"]["Bytes"])

    model.client.meta.events.register("provide-client-params.rekognition.DetectFaces", note)
    gray: NDArray[np.uint8] = PHOTO[..., :1]
    with Stubber(model.client) as service:
        for image in (PHOTO, gray):
            service.add_response("detect_faces", {"FaceDetails": []}, {"Image": ANY, "Attributes": ANY})
            model.predict([image])
    for data, image in zip(sent, (PHOTO, gray[..., 0]), strict=True):
        with Image.open(io.BytesIO(data)) as decoded:
            np.testing.assert_array_equal(np.asarray(decoded), image)


def test_a_photo_that_is_too_large_is_not_sent() -> None:
    model = judge("rekognition:faces?region=eu-west-1")
    large = np.random.default_rng(0).integers(0, 256, (1400, 1400, 3), np.uint8)
    assert large.nbytes > MAX_BYTES
    with (
        Stubber(model.client),
        pytest.raises(BlackBoxError, match=r"the photo's PNG has 5\.6 MiB, and the service takes 5"),
    ):
        model.predict([large])
    assert model.sent == 0


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("rekognition:labels?region=eu-west-1", "add labels=FILE"),
        ("rekognition:celebrities?region=eu-west-1", "write rekognition:labels[?]labels=FILE or rekognition:faces"),
        ("rekognition:faces?labels=NAMES&region=eu-west-1", "labels and synonyms belong to rekognition:labels"),
        ("rekognition:faces?region=eu-west-1&colour=blue", "unknown option 'colour'"),
        ("rekognition:faces?region=eu-west-1&threshold=2", "threshold must lie in"),
        ("rekognition:labels?labels=NAMES&region=eu-west-1&threshold=0", r"threshold must lie in \[0.001, 1\]"),
        ("rekognition:faces", "add region=, such as region=eu-west-1"),
        ("rekognition:labels?labels=NAMES&synonyms=MISSING&region=eu-west-1", "synonyms 'missing.txt' cannot be used"),
    ],
)
def test_an_option_that_is_wrong_or_missing_is_named(uri: str, sentence: str, labels: Path) -> None:
    uri = uri.replace("NAMES", str(labels)).replace("MISSING", str(labels.with_name("missing.txt")))
    with pytest.raises(UserError, match=sentence):
        load_black_box(uri)


def test_it_judges_and_cannot_guide() -> None:
    with pytest.raises(UserError, match="it can judge, not guide"):
        load_model("rekognition:faces?region=eu-west-1")


def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(UserError, match="no AWS credentials were found: set AWS_PROFILE"):
        load_black_box("rekognition:faces?region=eu-west-1")


def test_the_card_names_what_is_asked_and_no_secret(labels: Path) -> None:
    one, other = (judge(f"rekognition:labels?labels={labels}&region={region}") for region in ("eu-west-1", "us-east-1"))
    assert one.card.sha256 != other.card.sha256
    assert one.card.sha256 == judge(f"rekognition:labels?labels={labels}&region=eu-west-1&budget=9").card.sha256
    assert one.card.uri == "rekognition:labels"
    assert one.card.family == "rekognition"

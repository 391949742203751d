"""Served models: the same scores as without a server, and errors for unusable servers."""

import socket
from typing import Any

import numpy as np
import pytest
import torch
from oip_server import AS_TOYS, OipServer, http_box, images, serving
from toys import small_cnn

from onlymymodel.errors import UserError
from onlymymodel.surrogates.black_box import BlackBoxError, ClassifierBlackBox, to_pixels
from onlymymodel.surrogates.http_black_box import HttpBlackBox
from onlymymodel.surrogates.load import load_black_box, load_model


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
    with pytest.raises(UserError, match="accepts any input size; add"):
        http_box(server.url)
    with pytest.raises(UserError, match="does not state its number of classes"):
        http_box(server.url + "?size=16")
    judge = http_box(server.url + AS_TOYS + "&size=16&classes=4&mean=0.5,0.4,0.3&std=0.2,0.3,0.4&task=pets&parent=mine")
    model = small_cnn(seed=1)
    for channel, (mean, std) in enumerate(((0.5, 0.2), (0.4, 0.3), (0.3, 0.4))):
        model.mean[0, channel], model.std[0, channel] = mean, std
    np.testing.assert_allclose(judge.predict(images()), ClassifierBlackBox(model).predict(images()), rtol=0, atol=1e-5)
    assert (judge.card.task, judge.card.parent) == ("pets", "mine")


def test_of_several_inputs_and_outputs_the_named_ones_are_taken(server: OipServer) -> None:
    server.metadata["inputs"].insert(0, {"name": "threshold", "datatype": "FP32", "shape": [1]})
    server.metadata["outputs"].insert(0, {"name": "boxes", "datatype": "FP32", "shape": [-1, 10, 4]})
    with pytest.raises(UserError, match="several inputs: add input= and one of threshold, pixels"):
        http_box(server.url)
    with pytest.raises(UserError, match="several outputs: add output= and one of boxes, scores"):
        http_box(server.url + "?input=pixels")
    with pytest.raises(UserError, match="no output 'score'; did you mean 'scores'"):
        http_box(server.url + "?input=pixels&output=score")
    assert http_box(server.url + "?input=pixels&output=scores").card.classes == 4


@pytest.mark.parametrize(
    ("place", "change", "options", "message"),
    [
        ("inputs", {"datatype": "BYTES"}, "", "takes BYTES at 'pixels'"),
        ("inputs", {"shape": [-1, 16, 16]}, "", "where one RGB image is needed"),
        ("inputs", {"shape": [-1, 1, 16, 16]}, "", "where one RGB image is needed"),
        ("inputs", {"shape": [-1, 3, 16, 3]}, "", "where one RGB image is needed"),
        ("inputs", {"shape": [8, 3, 16, 16]}, "", "where one RGB image is needed"),
        ("inputs", {"shape": ["N", 3, 16, 16]}, "", "do not describe its inputs"),
        ("inputs", {"shape": [-1, 3, 10**30, 16]}, "", "do not describe its inputs"),
        ("inputs", {"name": "\x1b[31m"}, "", "do not describe its inputs"),
        ("inputs", {"datatype": "F" * 10**6}, "", "do not describe its inputs"),
        ("inputs", {"shape": None}, "", "do not describe its inputs"),
        ("inputs", {"datatype": "UINT8"}, "?mean=0,0,0", "UINT8 pixels without normalization"),
        ("inputs", {}, "?size=32", "takes images of 16x16, not 32x32"),
        ("outputs", {"datatype": "INT64"}, "", "gives INT64"),
        ("outputs", {"shape": [-1, 4, 4]}, "", "where FP32 [-1, classes] is needed"),
        ("outputs", {"shape": []}, "", "2 or more"),
        ("outputs", {"shape": [-1, 1]}, "", "2 or more"),
        ("outputs", {}, "?classes=5", "gives 4 classes, not 5"),
        ("outputs", {}, "?timeout=0", "timeout must lie in [0.001, 3600]"),
        ("outputs", {}, "?timeout=nan", "timeout must lie in"),
        ("outputs", {}, f"?retries=1{'0' * 400}", "retries must lie in [0, 10]"),
        ("outputs", {}, "?retries=-1", "retries must lie in [0, 10]"),
        ("outputs", {}, "?budget=many", "budget must be a number"),
    ],
)
def test_models_that_cannot_be_used_are_named(
    place: str, change: dict[str, Any], options: str, message: str, server: OipServer
) -> None:
    server.metadata[place][0].update(change)
    with pytest.raises(UserError) as caught:
        http_box(server.url + options)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 500
    assert server.questions == []


@pytest.mark.parametrize("metadata", [{}, {"inputs": "pixels"}, {"inputs": []}, {"inputs": [3]}])
def test_incomplete_metadata_are_named(metadata: dict[str, Any], server: OipServer) -> None:
    server.metadata = metadata
    with pytest.raises(UserError, match="metadata do not describe its inputs"):
        http_box(server.url)


@pytest.mark.parametrize("data", [[[1, 2.5, -3, 4]], [1, 2.5, -3, 4]])
def test_scores_may_be_nested_and_whole_numbers(data: list[Any], server: OipServer) -> None:
    judge = http_box(server.url)
    server.changes = {"data": data, "datatype": "FP64"}
    assert judge.predict(images(1)).tolist() == [[1, 2.5, -3, 4]]


def test_an_endpoint_is_recognized_and_a_changed_one_is_not(server: OipServer, monkeypatch: pytest.MonkeyPatch) -> None:
    first = http_box(server.url)
    monkeypatch.setenv("OMM_HTTP_TOKEN", "s3cret")
    assert http_box(server.url + "/?fit=squash&task=pets").card.sha256 == first.card.sha256
    assert http_box(server.url + "?zone=a").card.sha256 != first.card.sha256
    server.metadata["versions"] = ["2"]
    assert http_box(server.url).card.sha256 != first.card.sha256


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
        http_box(url)
    assert not isinstance(caught.value, BlackBoxError)


def test_a_server_that_is_not_there_costs_no_query() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refused
        with pytest.raises(BlackBoxError, match=r"no connection .*refused.* \(3 tries\)"):
            http_box(f"http://127.0.0.1:{taken.getsockname()[1]}/v2/models/net")
    with serving(small_cnn(seed=1)) as server:
        judge = http_box(server.url)
    with pytest.raises(BlackBoxError, match="no connection"):
        judge.predict(images(1))
    assert judge.sent == 0


def test_an_absent_model_is_named(server: OipServer) -> None:
    with pytest.raises(BlackBoxError, match="answers with status 404: Model not found"):
        http_box(server.url + "work")


def test_an_http_server_is_refused_as_https(server: OipServer) -> None:
    with pytest.raises(BlackBoxError, match="no connection"):
        http_box(server.url.replace("http:", "https:"))


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1/v2/models/net", "https://127.0.0.1:1/v2/models/net", "recorded:a"])
def test_a_black_box_cannot_guide(uri: str) -> None:
    with pytest.raises(UserError, match="is a black box: it can judge, not guide"):
        load_model(uri)

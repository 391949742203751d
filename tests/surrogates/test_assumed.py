"""Preprocessing that nobody stated: which options are reported as assumed, and which are not."""

from pathlib import Path

import pytest
import timm
from oip_server import serving
from tiny_onnx import write_onnx
from tiny_timm import save, tiny
from toys import small_cnn

from onlymymodel.surrogates.assumed import assumed_options, assumption
from onlymymodel.surrogates.black_box import ClassifierBlackBox
from onlymymodel.surrogates.load import load_black_box, load_model

NETWORK = "checkpoint:net.pt?arch=timm:test_vit&classes=7"
ALL = {"crop_pct", "fit", "interpolation", "mean", "std"}


@pytest.mark.parametrize(
    ("given", "assumed"),
    [
        ("", ALL),
        ("&crop_pct=1", ALL - {"crop_pct"}),
        ("&mean=0,0,0&std=1,1,1", {"crop_pct", "fit", "interpolation"}),
        ("&fit=squash", {"interpolation", "mean", "std"}),  # which crops nothing
        ("&fit=align", {"mean", "std"}),  # which neither crops nor resizes
        ("&crop_pct=1&fit=crop&interpolation=bicubic&mean=0,0,0&std=1,1,1", set()),
    ],
)
def test_options_of_a_checkpoint_that_are_not_given_are_assumed(given: str, assumed: set[str], tmp_path: Path) -> None:
    save(tiny().state_dict(), tmp_path / "net.pt")
    model = load_model(NETWORK + given, base=tmp_path)
    assert set(assumed_options(model)) == assumed
    assert assumed_options(ClassifierBlackBox(model)) == assumed_options(model)
    # what is assumed is no part of a model's identity
    assert "assumed" not in model.card.to_json()


def test_the_values_are_those_in_use_and_can_be_given_as_they_stand(tmp_path: Path) -> None:
    save(tiny().state_dict(), tmp_path / "net.pt")
    model = load_model(NETWORK, base=tmp_path)
    options = assumed_options(model)
    config = timm.get_pretrained_cfg("test_vit.r160_in1k")
    assert config is not None
    assert options["crop_pct"] == str(config.crop_pct)
    assert options["interpolation"] == config.interpolation
    assert options["mean"] == ",".join(f"{value:g}" for value in config.mean)
    query = "&".join(f"{name}={value}" for name, value in options.items())
    assert f": {query};" in assumption(options)
    stated = load_model(f"{NETWORK}&{query}", base=tmp_path)
    assert stated.card == model.card
    assert assumed_options(stated) == {}


def test_a_tag_of_timm_says_whose_preprocessing_is_meant(tmp_path: Path) -> None:
    save(tiny().state_dict(), tmp_path / "net.pt")
    model = load_model("checkpoint:net.pt?arch=timm:test_vit.r160_in1k&classes=7", base=tmp_path)
    assert assumed_options(model) == {}


def test_an_onnx_file_records_none_of_it(tmp_path: Path) -> None:
    write_onnx(tmp_path / "net.onnx")
    for load in (load_model, load_black_box):
        assert set(assumed_options(load("onnx:net.onnx", base=tmp_path))) == ALL
        assert set(assumed_options(load("onnx:net.onnx?mean=0,0,0&fit=squash", base=tmp_path))) == {
            "interpolation",
            "std",
        }


def test_a_server_does_not_either_except_for_the_normalization_of_8_bit_pixels() -> None:
    with serving(small_cnn(seed=1)) as server:
        assert set(assumed_options(load_black_box(f"{server.url}?size=16"))) == ALL
    with serving(small_cnn(seed=1), datatype="UINT8") as server:
        assert set(assumed_options(load_black_box(f"{server.url}?size=16"))) == ALL - {"mean", "std"}


def test_a_factorys_network_has_no_record_and_a_classifier_has() -> None:
    assert set(assumed_options(load_model("python:toys:blind", allow_python=True))) == ALL | {"size"}
    sized = load_model("python:toys:bare?size=16", allow_python=True)
    assert assumed_options(sized)["mean"] == "0,0,0"
    assert set(assumed_options(sized)) == ALL
    assert assumed_options(load_model("python:toys:mine", allow_python=True)) == {}


def test_bundled_models_have_a_record() -> None:
    assert assumed_options(load_model("zoo:identity-residual")) == {}

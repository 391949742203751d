"""Model URIs: nothing is guessed, and every error names the nearest valid word."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

from onlymymodel.errors import UserError
from onlymymodel.surrogates.model_card import ModelCard, Preprocess
from onlymymodel.surrogates.options import declared_classes, override_card, override_preprocess
from onlymymodel.surrogates.schemes import SCHEMES, Scheme, import_loader
from onlymymodel.surrogates.uri import LEFT_OUT, parse_uri, redacted


def card(classes: int = 3) -> ModelCard:
    return ModelCard("toy", "0", classes, Preprocess())


@pytest.mark.parametrize(("name", "scheme"), SCHEMES.items())
def test_the_examples_are_valid(name: str, scheme: Scheme) -> None:
    parsed = parse_uri(scheme.example)
    assert (parsed.scheme, parsed.kind) == (name, scheme)
    assert scheme.help.split(" ")[0] == scheme.example


@pytest.mark.parametrize("scheme", SCHEMES.values())
def test_the_loaders_of_a_scheme_exist(scheme: Scheme) -> None:
    assert scheme.loader or scheme.black_box_loader
    for name in filter(None, (scheme.loader, scheme.black_box_loader)):
        assert callable(import_loader(name))


WITHOUT_TORCH = """
import sys
import types

package = types.ModuleType("onlymymodel")
package.__path__ = [sys.argv[1]]
sys.modules["onlymymodel"] = package  # without its public names, which need torch
from onlymymodel.surrogates import model_card, options, schemes, uri

card = model_card.ModelCard("toy", "0", 3, model_card.Preprocess())
parsed = uri.parse_uri("checkpoint:net.pt?arch=timm:resnet18&classes=3&size=64")
assert options.override_preprocess(card.preprocess, parsed).height == 64
assert options.override_card(card, parsed) == card
print("torch" in sys.modules, "numpy" in sys.modules)
"""


def test_uris_and_cards_import_without_torch() -> None:
    package = str(ROOT / "onlymymodel")
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, package], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_a_uri_is_parsed_into_scheme_rest_and_options() -> None:
    parsed = parse_uri("checkpoint:a/b.pt?arch=timm:resnet18&classes=7&labels=emotion%20names.txt")
    assert (parsed.scheme, parsed.rest) == ("checkpoint", "a/b.pt")
    assert parsed.options == {"arch": "timm:resnet18", "classes": "7", "labels": "emotion names.txt"}


def test_colons_after_the_first_belong_to_the_rest() -> None:
    assert parse_uri("python:package.module:make").rest == "package.module:make"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resnet50", "has no scheme; did you mean 'timm:resnet50' or 'torchvision:resnet50@DEFAULT'?"),
        ("net.onnx", "did you mean 'onnx:net.onnx'?"),
        ("net.safetensors", "did you mean 'checkpoint:net.safetensors?arch=timm:NAME'?"),
        ("tim:resnet50", "unknown scheme 'tim'; did you mean 'timm'?"),
        ("Timm:resnet50", "did you mean 'timm'"),
        ("checkpiont:a.pt", "did you mean 'checkpoint'"),
        ("ftp://example.org/net", "unknown scheme 'ftp'; did you mean 'http'"),
        ("onnx:~no-such-user/net.onnx", "there is no home folder of '~no-such-user'"),
        ("zoo:identity-vit?labels=~no-such-user/names.txt", "there is no home folder of '~no-such-user'"),
        ("xyz:net", "unknown scheme 'xyz'; known are timm, "),
        ("HTTP://example.org/v2/models/net", "unknown scheme 'HTTP'"),
        ("http:?timeout=1", "names nothing after 'http'"),
        ("http://h/v2/models/x?budgte=100", "unknown option 'budgte'; did you mean 'budget'"),
        ("http://h/v2/models/x?=1", "unknown option ''"),
        ("recorded:a.jsonl?size=64", "unknown option 'size'"),
        (":resnet50", "has no scheme"),
        ("", "has no scheme"),
        ("timm:", "names nothing after 'timm'; write it as timm:resnet50.a1_in1k"),
        ("checkpoint:?arch=timm:resnet18", "names nothing after 'checkpoint'"),
        ("zoo:x?tasks=emotion", "unknown option 'tasks'; did you mean 'task'"),
        ("timm:resnet50.a1_in1k?arch=timm:resnet18", "unknown option 'arch'"),
        ("checkpoint:a.pt?arhc=timm:resnet18", "did you mean 'arch'"),
        ("zoo:x?=1", "unknown option ''"),
        ("zoo:x?size=64&size=32", "option 'size' is given twice"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_uri(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "changed"),
    [
        ("size=112", {"height": 112, "width": 112}),
        ("size=112x96", {"height": 112, "width": 96}),
        ("crop_pct=1", {"crop_pct": 1.0}),
        ("fit=squash&interpolation=nearest", {"fit": "squash", "interpolation": "nearest"}),
        ("mean=0.5,0.4,0.3&std=1,2,3", {"mean": (0.5, 0.4, 0.3), "std": (1.0, 2.0, 3.0)}),
        ("", {}),
    ],
)
def test_options_override_the_record(query: str, changed: dict[str, Any]) -> None:
    record = Preprocess(height=64, width=32, crop_pct=0.5)
    assert override_preprocess(record, parse_uri(f"zoo:x?{query}")) == replace(record, **changed)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("size=large", "size must be a number, not 'large'"),
        ("size=", "size must be a number, not ''"),
        ("size", "size must be a number, not ''"),
        ("size=0", "size is a side or HEIGHTxWIDTH"),
        ("size=-224", "size is a side or HEIGHTxWIDTH"),
        ("size=1x2x3", "size is a side or HEIGHTxWIDTH"),
        ("size=100000", "the limit is 4096 pixels a side"),
        ("size=32x4097", "the limit is 4096 pixels a side"),
        ("size=1024&crop_pct=0.2", "the limit is 4096 pixels a side"),
        ("crop_pct=0", "crop_pct must lie in (0, 1]"),
        ("crop_pct=1.01", "crop_pct must lie in (0, 1]"),
        ("crop_pct=nan", "crop_pct must lie in (0, 1]"),
        ("crop_pct=all", "crop_pct must be a number"),
        ("fit=stretch", "fit must be one of crop, squash"),
        ("interpolation=cubic", "interpolation must be one of bicubic, bilinear, nearest"),
        ("mean=0.5", "mean needs three numbers"),
        ("mean=0.5,0.5,half", "mean must be a number, not 'half'"),
        ("mean=0,0,inf", "mean must be finite"),
        ("std=0.5,0.5,0", "std must be finite and above 0"),
        ("std=1,1,nan", "std must be finite and above 0"),
    ],
)
def test_options_out_of_range_are_named(query: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        override_preprocess(Preprocess(), parse_uri(f"zoo:x?{query}"))
    assert message in str(caught.value)


def test_declarations_go_onto_the_card(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\ufeffcat\nhot dog\n\nKätzchen\n", encoding="utf-8")
    uri = parse_uri("zoo:x?task=pets&family=cnn&parent=mine&licence=MIT&classes=3&labels=names.txt", tmp_path)
    assert override_card(card(), uri) == replace(
        card(), task="pets", family="cnn", parent="mine", licence="MIT", labels=("cat", "hot dog", "Kätzchen")
    )


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("classes=7", "gives 3 classes, not 7"),
        ("classes=many", "classes must be a number"),
        ("labels=two.txt", "has 3 classes but 2 class names"),
        ("labels=none.txt", "has 3 classes but 0 class names"),
        ("labels=latin.txt", "is not UTF-8 text"),
        ("labels=absent.txt", "there is no label file"),
    ],
)
def test_declarations_that_disagree_are_named(query: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text("cat\ndog\n")
    (tmp_path / "none.txt").write_text("\n")
    (tmp_path / "latin.txt").write_bytes("Kätzchen\n".encode("latin-1"))
    with pytest.raises(UserError) as caught:
        override_card(card(), parse_uri(f"zoo:x?{query}", tmp_path))
    assert message in str(caught.value)


def test_the_public_uri_has_no_folder() -> None:
    parsed = parse_uri("checkpoint:/home/someone/net.pt?arch=timm:resnet18&labels=/home/someone/names.txt")
    assert parsed.public == "checkpoint:net.pt?arch=timm:resnet18"
    assert parse_uri("torchvision:resnet50@IMAGENET1K_V2").public == "torchvision:resnet50@IMAGENET1K_V2"


@pytest.mark.parametrize("name", ["net.pt", "deeper/net.pt", "../net.pt", "ne t+1%.pt"])
@pytest.mark.parametrize("folder", ["out", ".", "../elsewhere/out"])
def test_a_uri_relative_to_a_folder_names_the_same_files(name: str, folder: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "deeper").mkdir(parents=True)
    (home / name).touch()
    (home / "a&b+c?d%20.txt").touch()
    uri = f"checkpoint:{name}?arch=timm:resnet18&labels=a%26b+c?d%2520.txt&parent=x%26y"
    here = parse_uri(uri, home)
    there = parse_uri(here.relative_to(home / folder), home / folder)
    assert not Path(here.relative_to(home / folder).partition(":")[2].partition("?")[0]).is_absolute()
    (home / folder).mkdir(parents=True, exist_ok=True)
    assert there.file().samefile(home / name)
    assert Path(there.options["labels"]).samefile(home / "a&b+c?d%20.txt")
    assert {**there.options, "labels": ""} == {"arch": "timm:resnet18", "labels": "", "parent": "x&y"}


def test_a_link_keeps_its_own_name_which_tells_the_format(tmp_path: Path) -> None:
    (tmp_path / "blob").write_text("weights")
    (tmp_path / "net.safetensors").symlink_to(tmp_path / "blob")
    parsed = parse_uri("checkpoint:net.safetensors?arch=timm:resnet18", tmp_path)
    assert parsed.relative_to(tmp_path / "out") == "checkpoint:../net.safetensors?arch=timm:resnet18"


def test_a_uri_without_files_is_the_same_relative_to_any_folder(tmp_path: Path) -> None:
    assert parse_uri("zoo:identity-plain?task=who").relative_to(tmp_path) == "zoo:identity-plain?task=who"


def test_the_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "net.onnx").touch()
    assert parse_uri("onnx:~/net.onnx").file() == tmp_path / "net.onnx"
    assert parse_uri("onnx:~/net.onnx", Path("elsewhere")).file() == tmp_path / "net.onnx"


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UserError, match=r"there is no file 'absent\.onnx'"):
        parse_uri("onnx:absent.onnx").file()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("user", ["name:s3cret", "s3cret", ":s3cret", "a:s3cret@b"])
def test_a_password_in_a_url_is_refused_and_not_shown(scheme: str, user: str) -> None:
    with pytest.raises(UserError, match="OMM_HTTP_TOKEN") as caught:
        parse_uri(f"{scheme}://{user}@example.org:8080/v2/models/net?badoption")
    assert "s3cret" not in str(caught.value)


def test_a_urls_other_options_are_the_servers_as_they_were_written() -> None:
    uri = parse_uri("http://h:1/v2/models/x?size=64&api-version=2%2B1+a&&key=s3cret%20x&budget=3&flag")
    assert uri.server_query == "api-version=2%2B1+a&key=s3cret%20x&flag"
    assert uri.public == "http://h:1/v2/models/x"
    assert uri.relative_to(Path()) == "http://h:1/v2/models/x?size=64&budget=3&api-version=2%2B1+a&key=s3cret%20x&flag"
    assert parse_uri(uri.relative_to(Path())).options == uri.options
    assert parse_uri("http://h/v2/models/x?size=64").server_query == ""
    assert parse_uri("http://h/v2/models/x?arch=s3cret").public == "http://h/v2/models/x"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://h/v2/models/x?apikey=s3cret", "https://h/v2/models/x?apikey=***"),
        ("--heldout=https://h/v2/models/x?a=s3cret&size=64", "--heldout=https://h/v2/models/x?a=***&size=64"),
        ("https://h/v2/models/x?s3cret&&budget=3", "https://h/v2/models/x?***&&budget=3"),
        ("https://h/v2/models/x?key=s3cret with spaces", "https://h/v2/models/x?key=***"),
        ("HTTPS://h/v2/models/x?key=a=s3cret", "HTTPS://h/v2/models/x?key=***"),
        ("https://me:s3cret@h/v2/models/x", "https://***@h/v2/models/x"),
        ("http://a/v2/models/x?size=64 http://b/v2/models/x?key=s3cret", "http://a/v2/models/x?size=***"),
        ("https://h/v2/models/x?timeout=5&labels=names.txt", "https://h/v2/models/x?timeout=5&labels=names.txt"),
        ("checkpoint:a.pt?arch=timm:resnet18", "checkpoint:a.pt?arch=timm:resnet18"),
        ("photos/why?key=1", "photos/why?key=1"),
    ],
)
def test_what_is_recorded_holds_no_secret(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert redacted(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "https://h/v2/models/x?apikey=s3cret&budgte=64",
        "https://h/v2/models/x?apikey=s3cret&apikey=s3cret",
        "https:?apikey=s3cret",
        "HTTPS://h/v2/models/x?apikey=s3cret",
        "h/v2/models/x?apikey=s3cret",
        "htps://h/v2/models/x?apikey=s3cret",
    ],
)
def test_a_mistake_in_a_url_is_named_without_its_secret(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_uri(text)
    assert "s3cret" not in str(caught.value)


def test_a_recorded_url_cannot_be_used_without_its_secret() -> None:
    uri = parse_uri("https://h/v2/models/x?apikey=s3cret&size=64")
    assert uri.text == f"https://h/v2/models/x?apikey={LEFT_OUT}&size=64"
    with pytest.raises(UserError, match="left out where this URI was recorded; give the whole URI again"):
        parse_uri(uri.text)


def test_recorded_answers_are_a_file_like_others(tmp_path: Path) -> None:
    uri = parse_uri("recorded:sub/a.jsonl?classes=3", tmp_path)
    assert uri.rest == str(tmp_path / "sub" / "a.jsonl")
    assert uri.public == "recorded:a.jsonl"
    assert uri.relative_to(tmp_path / "out") == "recorded:../sub/a.jsonl?classes=3"


def test_the_number_of_classes_is_declared_or_counted(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\ncow\n")
    for query, classes in (("", None), ("?classes=7", 7), ("?labels=names.txt", 3), ("?labels=names.txt&classes=4", 4)):
        assert declared_classes(parse_uri(f"recorded:a.jsonl{query}", tmp_path)) == classes
    with pytest.raises(UserError, match="at least 2 classes, not 1"):
        declared_classes(parse_uri("recorded:a.jsonl?classes=1"))

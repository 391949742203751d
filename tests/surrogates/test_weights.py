"""Weights that libraries download: pinned at first use, refused if changed, and fetched for machines without a network.

A small server on this machine plays the download servers.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler
from threading import Thread
from typing import Any

import huggingface_hub.constants as hub
import pytest
import safetensors.torch
import torch
import torchvision
from PIL import Image
from tiny_timm import TINY, crop, error_of, fill_cache, tiny
from torch import nn

from onlymymodel.cli.main import main
from onlymymodel.errors import UserError
from onlymymodel.surrogates.fetch import fetch_weights
from onlymymodel.surrogates.load import load_model
from onlymymodel.surrogates.schemes import VARIABLE
from onlymymodel.surrogates.uri import parse_uri
from onlymymodel.surrogates.weight_files import PICKLED, Caches, WeightFiles, files_of
from onlymymodel.surrogates.weight_lock import NAME, WeightLock
from onlymymodel.surrogates.weights import missing_weights, weight_paths

SQUEEZENET = "torchvision:squeezenet1_1@IMAGENET1K_V1"
SQUEEZENET_FILE = "squeezenet1_1-b8a52dc0.pth"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def serve() -> Iterator[Callable[[Any], str]]:
    """Start a server with a handler of requests; return its address."""
    with ExitStack() as stack:

        def start(handler: Any) -> str:
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            thread = Thread(target=server.serve_forever, daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}"

        yield start


@pytest.fixture
def served(tmp_path: Path, serve: Callable[[Any], str]) -> tuple[Path, str]:
    """A folder, and the address at which it is served."""
    folder = tmp_path / "served"
    folder.mkdir()
    return folder, serve(partial(Quiet, directory=str(folder)))


@pytest.fixture
def offline_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `OMM_MODELS` with a timm model; no network is asked for it."""
    folder = tmp_path / "models"
    fill_cache(folder / "hub", model__safetensors=safetensors.torch.save(tiny(1000).state_dict()))
    monkeypatch.setenv(VARIABLE, str(folder))
    monkeypatch.setattr("onlymymodel.surrogates.hub._hub_is_reachable", pytest.fail)
    return folder


def weights(tensor: float) -> bytes:
    return safetensors.torch.save({"weight": torch.full((2,), tensor)})


def test_files_are_pinned_at_their_first_use(offline_folder: Path) -> None:
    load_model(f"timm:{TINY}")
    lock = json.loads((offline_folder / "hub" / NAME).read_bytes())
    (path,) = (offline_folder / "hub").rglob("model.safetensors")
    recorded = lock[f"timm/{TINY}"]
    assert recorded["revision"] == "0" * 40
    assert recorded["files"]["model.safetensors"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert recorded["files"]["model.safetensors"]["bytes"] == path.stat().st_size
    path.write_bytes(safetensors.torch.save(tiny(1000).double().state_dict()))
    assert "is not the file that was first used on" in error_of(f"timm:{TINY}")


@pytest.mark.usefixtures("offline_folder")
def test_a_file_that_only_another_model_needs_is_pinned_too(offline_folder: Path) -> None:
    (weights_file,) = (offline_folder / "hub").rglob("model.safetensors")
    config = weights_file.with_name("config.json")
    config.write_text('{"architecture": "test_vit", "num_classes": 1000}')
    load_model(f"timm:{TINY}")
    load_model(f"hf-hub:timm/{TINY}")  # of the same repository
    config.write_text('{"architecture": "test_vit", "num_classes": 1000, "global_pool": "avg"}')
    assert "config.json is not the file that was first used on" in error_of(f"hf-hub:timm/{TINY}")


def test_a_repository_stays_at_the_revision_that_was_used_first(offline_folder: Path) -> None:
    before = load_model(f"timm:{TINY}").card.sha256
    repository = offline_folder / "hub" / f"models--timm--{TINY}"
    newer = repository / "snapshots" / ("1" * 40)
    newer.mkdir()
    (newer / "model.safetensors").write_bytes(safetensors.torch.save(nn.Linear(2, 2).state_dict()))
    (repository / "refs" / "main").write_text("1" * 40)
    assert load_model(f"timm:{TINY}").card.sha256 == before


def test_what_is_not_in_the_folder_is_named_with_the_command_that_fetches_it(offline_folder: Path) -> None:
    for uri in (SQUEEZENET, "facenet:vggface2", "hf-hub:timm/other@main", "timm:resnet18.a1_in1k"):
        message = error_of(uri)
        assert f"omm models fetch {uri} --to {offline_folder}" in message
    assert list(missing_weights([f"timm:{TINY}", SQUEEZENET, "zoo:identity-vit"])) == [SQUEEZENET]


def test_torchvision_reads_plain_tensors_from_the_folder(offline_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = torchvision.models.squeezenet1_1().eval()
    path = offline_folder / "torch" / "hub" / "checkpoints" / SQUEEZENET_FILE
    path.parent.mkdir(parents=True)
    torch.save(net.state_dict(), path)
    assert "its SHA-256 does not begin with b8a52dc0" in error_of(SQUEEZENET)
    monkeypatch.setattr(WeightFiles, "hash_prefix", "")
    model = load_model(SQUEEZENET)
    how = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1.transforms()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (how.mean, how.std))
    torch.testing.assert_close(model.logits(crop()), net((crop() - mean) / std))
    torch.save(Pickled(), path)
    (path.parent / NAME).unlink()
    assert "hold other weights, or more than plain tensors" in error_of(SQUEEZENET)


@pytest.mark.usefixtures("offline_folder")
@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02]q\x00."])
@pytest.mark.parametrize("uri", [SQUEEZENET, "facenet:vggface2", f"timm:{TINY}"])
def test_damaged_files_end_in_one_sentence(
    offline_folder: Path, monkeypatch: pytest.MonkeyPatch, uri: str, content: bytes
) -> None:
    monkeypatch.setattr(WeightFiles, "hash_prefix", "")
    files = files_of(parse_uri(uri), Caches.below(offline_folder))
    assert files is not None
    found = files.find()
    path = files.folder / files.names[0] if found is None else next(iter(found.values())).with_name(PICKLED)
    if found is not None:
        path.with_name(files.names[0]).unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    assert "its files hold other weights, or more than plain tensors" in error_of(uri)


class Pickled:
    """An object that a stranger may have pickled."""


def test_a_download_is_checked_by_the_hash_in_its_name(tmp_path: Path, served: tuple[Path, str]) -> None:
    folder, address = served
    good = hashlib.sha256(weights(1)).hexdigest()[:8]
    (folder / f"net-{good}.pth").write_bytes(weights(1))
    (folder / "net-00000000.pth").write_bytes(weights(1))
    files = WeightFiles(f"{address}/net-{good}.pth", tmp_path / "to", (f"net-{good}.pth",))
    assert files.size() == len(weights(1))
    assert files.find() is None
    files.download(progress=False)
    (path,) = (files.find() or {}).values()
    assert path.read_bytes() == weights(1)
    other = WeightFiles(f"{address}/net-00000000.pth", tmp_path / "to", ("net-00000000.pth",))
    with pytest.raises(RuntimeError, match="invalid hash"):
        other.download(progress=False)
    assert other.find() is None
    assert [path.name for path in (tmp_path / "to").iterdir()] == [f"net-{good}.pth"]


class Interrupted(Quiet):
    """A server whose connection is lost in the middle of a file."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        outputfile.write(source.read()[:-1])


def test_half_a_file_is_not_kept(
    tmp_path: Path, served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, serve: Callable[[Any], str]
) -> None:
    folder, _ = served
    (folder / "net.pt").write_bytes(weights(1))
    address = serve(partial(Interrupted, directory=str(folder)))
    monkeypatch.setattr("onlymymodel.surrogates.weight_files.ADDRESSES", {"vggface2": f"{address}/net.pt"})
    caches, count = Caches.below(tmp_path / "to", fixed=False), len(weights(1))
    with pytest.raises(UserError, match=f"the connection was lost after {count - 1} of {count} bytes"):
        weight_paths(parse_uri("facenet:vggface2"), caches, progress=False)
    assert missing_weights(["facenet:vggface2"], caches)
    assert [path for path in caches.torch.rglob("*") if path.is_file()] == []


class Closing(BaseRequestHandler):
    """A server that ends every connection without a word."""


def test_a_lost_connection_to_the_hub_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve: Callable[[Any], str]
) -> None:
    address, place = serve(Closing), hub.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(hub.ENDPOINT)
    monkeypatch.setattr(hub, "ENDPOINT", address)
    monkeypatch.setattr(hub, "HUGGINGFACE_CO_URL_TEMPLATE", address + place)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for fetch in (weight_paths, lambda uri, caches: fetch_weights([uri.text], caches)):
        with pytest.raises(UserError, match=r"could not be downloaded \(.*; to continue offline, run omm models fetch"):
            fetch(parse_uri(f"timm:{TINY}"), Caches.below(tmp_path, fixed=False))


def test_a_lock_that_is_broken_or_cannot_be_written(tmp_path: Path) -> None:
    files = WeightFiles("http://example.org/net.pth", tmp_path, ("net.pth",))
    (tmp_path / "net.pth").write_bytes(b"x")
    (tmp_path / NAME).write_text("{")
    assert "cannot be read" in error_of_lock(tmp_path)
    (tmp_path / NAME).write_text('{"a": 3}')
    assert "cannot be read" in error_of_lock(tmp_path)
    (tmp_path / NAME).unlink()
    WeightLock(tmp_path).check("net", files, {"net.pth": tmp_path / "net.pth"})
    assert WeightLock(tmp_path).entries.keys() == {files.key}


def error_of_lock(folder: Path) -> str:
    with pytest.raises(Exception, match=r"weights\.lock\.json") as caught:
        WeightLock(folder)
    return str(caught.value)


def test_fetched_files_are_found_by_a_run(
    tmp_path: Path, served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = served
    (folder / SQUEEZENET_FILE).write_bytes(weights(1))
    record = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    monkeypatch.setattr(WeightFiles, "hash_prefix", "")
    monkeypatch.setattr(
        "onlymymodel.surrogates.weight_files.torchvision_record", lambda _: Renamed(f"{address}/{SQUEEZENET_FILE}")
    )
    fetched = weight_paths(parse_uri(SQUEEZENET), Caches.below(tmp_path / "fetched", fixed=False), progress=False)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "fetched"))
    assert weight_paths(parse_uri(SQUEEZENET)) == fetched
    assert record.url.endswith(SQUEEZENET_FILE)
    (tmp_path / "fetched" / "torch" / "hub" / "checkpoints" / SQUEEZENET_FILE).write_bytes(weights(2))
    assert "is not the file that was first used on" in error_of(SQUEEZENET)


class Renamed:
    """torchvision's record of weights, at another address."""

    def __init__(self, url: str) -> None:
        self.url = url


def test_several_models_are_fetched_after_their_sizes_were_told(
    tmp_path: Path, served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, address = served
    (folder / SQUEEZENET_FILE).write_bytes(b"x" * 2_000_000)
    monkeypatch.setattr(WeightFiles, "hash_prefix", "")
    monkeypatch.setattr(
        "onlymymodel.surrogates.weight_files.torchvision_record", lambda _: Renamed(f"{address}/{SQUEEZENET_FILE}")
    )
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    to = tmp_path / "fetched"
    assert main(["models", "fetch", SQUEEZENET, "--to", str(to)]) == 0
    out, err = capsys.readouterr()
    assert "1 model to download, 2 MB, once:" in err
    assert f"2 MB  {SQUEEZENET}" in err
    assert f"the weights of 1 model are in {to}; use them with {VARIABLE}={to}" in out
    (folder / SQUEEZENET_FILE).unlink()
    monkeypatch.setenv(VARIABLE, str(to))
    fetch_weights([SQUEEZENET, "zoo:identity-vit"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["fetch"], "name what to fetch"),
        (["fetch", "zoo:identity-vit"], "there is nothing to fetch"),
        (["fetch", "--preset", "foto"], "did you mean 'photos'?"),
        (["fetch", "timm:resnet15.a1_in1k"], "timm has no 'resnet15'"),
        (["--to", "x"], "are for fetching weights"),
    ],
)
def test_mistakes_of_fetching_are_named(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", *words]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.usefixtures("offline_folder")
def test_a_preset_names_all_models_that_are_missing_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "photo.png")
    out = tmp_path / "out"
    assert main(["protect", str(tmp_path / "photo.png"), "--out", str(out), "--preset", "photos"]) == 2
    error = capsys.readouterr().err
    assert "the weights of torchvision:resnet50@IMAGENET1K_V2 and 6 more are not in OMM_MODELS" in error
    assert "run omm models fetch --preset NAME" in error

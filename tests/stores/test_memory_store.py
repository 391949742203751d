"""Runs with source and output in a store, here the memory of this process, against runs in folders."""

import gc
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from patience import PATIENCE
from PIL import Image
from stored import contents, fill, lines_of, photos_of, protect
from toys import read_portrait

from onlymymodel.cli.main import main
from onlymymodel.data.stores.lock import lock_remote
from onlymymodel.data.stores.remote import open_remote
from onlymymodel.errors import UserError
from onlymymodel.protect import batches as batches_module
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protector import Protector

SOURCE, OUT = "memory://bucket/photos", "memory://bucket/protected"

pytestmark = pytest.mark.usefixtures("memory_store")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos in two folders, and what else lies about in a folder."""
    source = tmp_path / "photos"
    for folder in ("trip", ".hidden/deep", "album.png", "@eaDir"):
        (source / folder).mkdir(parents=True)
    for index in range(3):
        Image.fromarray(read_portrait(index)).save(source / "trip" / f"{index}.png")
    Image.fromarray(read_portrait(3)).save(source / "without-suffix", "PNG")
    (source / "trip" / "broken.jpg").write_bytes(b"no photo")
    (source / "empty.png").write_bytes(b"")
    (source / "notes.txt").write_text("not a photo")
    (source / "film.heif").write_bytes(b"\0\0\0\x18ftypmif1" + bytes(40))
    for place in (".hidden/deep/a.png", "album.png/b.png", "@eaDir/c.png"):
        (source / place).write_bytes(b"a photo of another program")
    return source


@pytest.fixture
def local(photos: Path, tmp_path: Path) -> dict[str, bytes]:
    """Return the files of a run in folders."""
    assert protect(photos, tmp_path / "local") == 1
    return contents(tmp_path / "local")


def test_a_run_in_a_store_writes_what_a_run_in_a_folder_writes(
    photos: Path, local: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    fill(SOURCE, photos)
    assert protect(SOURCE, OUT) == 1
    assert f"photos protected, in {OUT}" in capsys.readouterr().out
    found = contents(open_remote(OUT))
    assert photos_of(found) == photos_of(local)
    assert found.keys() == local.keys()
    assert lines_of(found) == lines_of(local)
    assert json.loads(found["run.json"])["source"] == SOURCE
    assert json.loads(found["run.json"])["settings"] == json.loads(local["run.json"])["settings"]
    left = [file.key for file in open_remote(OUT).files() if file.key.startswith(".omm-")]
    assert left == [".omm-results.jsonl", ".omm-sources.jsonl"]
    assert main(["verify", OUT, "--allow-python", "--quiet"]) == 0
    open_remote(OUT).put("trip/1.png", b"spoiled")
    open_remote(OUT).put("trip/new.png", b"a stranger's")
    assert main(["verify", OUT, "--allow-python", "--quiet"]) == 1
    errors = capsys.readouterr().err
    assert "FAULT  trip/1.png" in errors
    assert "FAULT  trip/new.png: is not in the manifest" in errors


@pytest.mark.slow
@pytest.mark.parametrize("side", ["source", "output"])
def test_only_one_side_may_be_in_a_store(
    photos: Path, tmp_path: Path, local: dict[str, bytes], side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if side == "source":
        fill(SOURCE, photos)
        out = tmp_path / "out"
        assert protect(SOURCE, out) == 1
        found = contents(out)
        assert (out / "trip" / "1.png").stat().st_mode & 0o777 == 0o600
    else:
        assert protect(photos, OUT) == 1
        found = contents(open_remote(OUT))
        assert json.loads(found["run.json"])["source"] == "photos"
    assert photos_of(found) == photos_of(local)
    assert lines_of(found) == lines_of(local)
    monkeypatch.setattr(batches_module, "protect_photos", lambda *_: pytest.fail("computed again"))
    again = (SOURCE, tmp_path / "out") if side == "source" else (photos, OUT)
    assert protect(*again, "--exclude", "*.nothing") == 2  # other settings
    assert main(["verify", str(again[1]), "--allow-python", "--quiet"]) == 0


def test_a_resumed_run_reads_and_computes_nothing_that_has_not_changed(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "trip" / "broken.jpg").unlink()
    (photos / "empty.png").unlink()
    source = fill(SOURCE, photos)
    protect(SOURCE, OUT)
    before = contents(open_remote(OUT))
    read: list[str] = []
    cat_file = type(source.client).cat_file

    def counting(client: object, path: str, **limits: int) -> bytes:
        read.append(path)
        data: bytes = cat_file(client, path, **limits)
        return data

    monkeypatch.setattr(type(source.client), "cat_file", counting)
    monkeypatch.setattr(batches_module, "protect_photos", lambda *_: pytest.fail("computed again"))
    protect(SOURCE, OUT)
    # what is no photo is looked at again, and the records are
    assert {path for path in read if path.endswith(".png") and "album" not in path} == set()
    monkeypatch.undo()
    assert contents(open_remote(OUT)) == before
    Image.fromarray(read_portrait(4)).save(photos / "trip" / "1.png")
    fill(SOURCE, photos / "trip")  # beside the others: new photos
    source.put("trip/1.png", (photos / "trip" / "1.png").read_bytes())
    protect(SOURCE, OUT)
    after = contents(open_remote(OUT))
    assert after["trip/1.png"] != before["trip/1.png"]
    assert after["trip/0.png"] == before["trip/0.png"]
    assert len(lines_of(after)) == len(lines_of(before)) + 3


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("a//b.png", "its key is no path of a file"),
        ("../b.png", "its key is no path of a file"),
        ("trip/./b.png", "its key is no path of a file"),
        ("x" * 256 + ".png", "its key is no path of a file"),
    ],
)
def test_a_key_that_is_no_path_is_skipped(key: str, reason: str, photos: Path, tmp_path: Path) -> None:
    source = fill(SOURCE, photos / "trip")
    source.client.store[f"{source.root}/{key}"] = source.client.store[f"{source.root}/0.png"]
    assert protect(SOURCE, tmp_path / "out") == 1
    lines = {line["reason"]: line for line in lines_of(contents(tmp_path / "out"))}
    assert lines[reason]["status"] == "skipped"
    assert main(["verify", str(tmp_path / "out"), "--allow-python", "--quiet"]) == 0


def test_keys_that_are_one_name_elsewhere_are_refused(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = fill(SOURCE, photos / "trip")
    source.put("A.png", (photos / "trip" / "0.png").read_bytes())
    source.put("a.PNG", (photos / "trip" / "0.png").read_bytes())
    assert protect(SOURCE, OUT) == 2
    assert "1 output name would be used twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "out", "message"),
    [
        (SOURCE, f"{SOURCE}/protected", "is, or is inside, the source"),
        (f"{SOURCE}/trip", SOURCE, "is inside the output folder"),
        (SOURCE, SOURCE, "is, or is inside, the source"),
        ("memory://bucket/nothing", OUT, "memory://bucket/nothing is empty"),
        (f"{SOURCE}/trip", f"{SOURCE}/notes.txt", "is an object; it must be a folder"),
        ("s4://bucket/photos", OUT, "no store is known by s4://"),
        ("s3://key:secret@bucket/photos", OUT, "may have no user, password, key"),
        ("s3://bucket/photos?token=secret", OUT, "may have no user, password, key"),
        ("memory://", OUT, "names no folder"),
        ("ftp://localhost:1/photos", OUT, "ftp://localhost:1/photos cannot be used: Connection refused"),
        ("http://localhost:1/photos", OUT, "http://localhost:1/photos cannot be used: "),
        ("github://photos", OUT, "github:// cannot be used: its client needs org and repo, which no address has"),
        ("generic://photos", OUT, "generic://photos cannot be used: "),
        (SOURCE, "hf://datasets/a/b", "a commit for each photo"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_sentence(
    source: str, out: str, message: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(SOURCE, photos)
    assert protect(source, out) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert "secret" not in error


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_client_that_cannot_be_made_says_nothing_when_it_is_collected() -> None:
    for address in ("ftp://localhost:1/photos", "ftp:///photos"):
        with pytest.raises(UserError, match=r"^ftp://.* cannot be used: "):
            open_remote(address)
        gc.collect()


def test_clients_of_two_servers_are_two_stores() -> None:
    one, other = (open_remote(f"http://localhost:{port}/photos") for port in (1, 2))
    assert one.is_inside(one)
    assert not one.is_inside(other)


def test_a_photo_of_a_web_server_is_a_source(photos: Path, tmp_path: Path) -> None:
    """The server of the standard library sends whole files, whatever part is asked for."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=photos / "trip")) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert protect(f"http://127.0.0.1:{server.server_port}/1.png", tmp_path / "out") == 0
        server.shutdown()
    assert protect(photos / "trip" / "1.png", tmp_path / "local") == 0
    assert photos_of(contents(tmp_path / "out")) == photos_of(contents(tmp_path / "local"))


def test_a_folder_of_others_is_not_written_to(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(OUT, photos)
    assert protect(photos, OUT) == 2
    assert f"{OUT} is not empty and was not written by omm protect" in capsys.readouterr().err
    assert protect(photos, "memory://bucket/new", "--heldout", "python:toys:others") == 2
    assert "judges are asked about photos of this machine" in capsys.readouterr().err
    assert main(["merge", OUT]) == 2
    assert "copy the folder to this machine first" in capsys.readouterr().err


@pytest.mark.slow
def test_shards_in_a_store_are_merged_in_a_copy(photos: Path, tmp_path: Path, local: dict[str, bytes]) -> None:
    fill(SOURCE, photos)
    for shard in ("1/2", "2/2"):
        protect(SOURCE, OUT, "--shard", shard)
    for file in open_remote(OUT).files():
        path = tmp_path / "copy" / file.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.read_all())
    assert main(["merge", str(tmp_path / "copy")]) == 1
    assert photos_of(contents(tmp_path / "copy")) == photos_of(local)


def test_protected_photos_in_a_store_are_not_protected_again(photos: Path) -> None:
    fill(SOURCE, photos)
    protect(SOURCE, OUT)
    assert protect(f"{OUT}/trip", "memory://bucket/twice") == 1
    lines = lines_of(contents(open_remote("memory://bucket/twice")))
    assert {line["reason"].partition(":")[0] for line in lines} == {"it is a protected photo already"}


def test_a_program_names_stores_as_the_command_line_does(photos: Path) -> None:
    fill(SOURCE, photos / "trip")
    assert protect(SOURCE, OUT) == 1
    by_program = Protector(
        authorized="python:toys:mine", surrogates=["python:toys:theirs"], allow_python=True, device="cpu", epsilon=16,
        recipe=make_recipe("default", steps=2, step_share=1.0, views=("center",), kappa=0.5),
    )  # fmt: skip
    by_program.protect_folder(SOURCE, "memory://bucket/by-program", batch_size=2)
    found, expected = contents(open_remote("memory://bucket/by-program")), contents(open_remote(OUT))
    assert found.keys() == expected.keys()
    assert lines_of(found) == lines_of(expected)


def test_one_object_is_a_source(photos: Path, tmp_path: Path) -> None:
    fill(SOURCE, photos)
    assert protect(f"{SOURCE}/trip/1.png", tmp_path / "out") == 0
    assert [line["source"] for line in lines_of(contents(tmp_path / "out"))] == ["1.png"]


def test_a_dry_run_leaves_nothing_in_a_store(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(SOURCE, photos)
    assert protect(SOURCE, OUT, "--dry-run") == 0
    assert f"files in {OUT}" in capsys.readouterr().out
    assert open_remote(OUT).files() == []


def test_of_runs_that_begin_at_once_at_most_one_holds_the_store() -> None:
    folder, rounds, runs = open_remote(OUT), 30, 4
    held: list[int] = []
    begun, ended = threading.Barrier(runs), threading.Barrier(runs)

    def run() -> None:
        for number in range(rounds):
            begun.wait(PATIENCE)
            try:
                with lock_remote(folder, {}):
                    held.append(number)
                    ended.wait(PATIENCE)
            except UserError:
                ended.wait(PATIENCE)

    threads = [threading.Thread(target=run) for _ in range(runs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == len(set(held))
    assert folder.files() == []

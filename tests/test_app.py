"""The page's server without a browser: who may see what, what is refused, what is left behind."""

import io
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from toys import Linear, classifier, linear

from onlymymodel.app.choice import MAX_PIXELS, Choice, Policy, load, read_choice, to_toml
from onlymymodel.app.picture import AMPLIFY, MAX_BYTES, Result, clean_name
from onlymymodel.app.readings import _verdict
from onlymymodel.app.routes import HEADERS
from onlymymodel.app.samples import samples
from onlymymodel.app.server import is_loopback, running, serve
from onlymymodel.app.session import MAX_PHOTOS, MAX_SESSIONS, Progress, Session, Sessions
from onlymymodel.cli import main
from onlymymodel.data.image_io import decode
from onlymymodel.data.portraits import render
from onlymymodel.errors import UserError
from onlymymodel.evaluate.results import Role
from onlymymodel.run_file import read_run_file
from onlymymodel.surrogates.classifier import Classifier

LOCAL = Policy(torch.device("cpu"))
FORM: dict[str, Any] = {
    "authorized": "python:toys:mine",
    "surrogates": ["python:toys:theirs"],
    "heldout": ["python:toys:others"],
    "epsilon": 16,
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
    """A surrogate that fails on red photos, as `python:test_app:fragile`."""
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


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with page() as url:
        yield Client(url)


# ---- the form


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"authorized": " "}, "must still read"),
        ({"surrogates": []}, "at least one model"),
        ({"heldout": ["python:toys:theirs"]}, "named twice"),
        ({"heldout": [f"zoo:{n}" for n in range(20)]}, "too many"),
        ({"heldout": ["zoo:a\nb"]}, "no URI"),
        ({"heldout": ["zoo:" + "a" * 3000]}, "no URI"),
        ({"heldout": [3]}, "reload"),
        ({"surprise": 1}, "reload"),
        ({"epsilon": 0}, "1 to 32"),
        ({"epsilon": 33}, "1 to 32"),
        ({"epsilon": True}, "1 to 32"),
        ({"epsilon": 8.5}, "1 to 32"),
        ({"steps": 0}, "1 to 1000"),
        ({"recipe": "fmd"}, "default, robust"),
        ({"recipe": ["default"]}, "default, robust"),
        ({"region": "mask"}, "image, face"),
    ],
)
def test_a_form_that_cannot_be_is_refused_by_a_sentence(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_choice(FORM | change)


@pytest.mark.parametrize("content", [None, [], "x", 3])
def test_what_is_no_form_is_refused(content: object) -> None:
    with pytest.raises(UserError, match="reload"):
        read_choice(content)


def test_models_that_would_send_photos_away_or_read_files_for_strangers_are_refused() -> None:
    with pytest.raises(UserError, match="sends photos nowhere"):
        LOCAL.check("https://example.org/v2/models/net")
    stranger = replace(LOCAL, local=False)
    for uri in ("onnx:/a.onnx", "checkpoint:a.safetensors?arch=timm:resnet18", "recorded:a.jsonl",
                "timm:resnet18?labels=/etc/passwd", "timm:resnet18?task=identity&gallery=/home"):  # fmt: skip
        LOCAL.check(uri)
        with pytest.raises(UserError, match="names a file of the machine"):
            stranger.check(uri)
    stranger.check("zoo:identity-vit")
    with pytest.raises(UserError, match="--allow-python"):
        load(read_choice(FORM), LOCAL)


def test_a_model_cannot_judge_itself() -> None:
    form = FORM | {"authorized": "zoo:identity-residual", "surrogates": ["zoo:identity-vit"]}
    with pytest.raises(UserError, match="same weights"):
        load(read_choice(form | {"heldout": ["zoo:identity-vit?family=other"]}), LOCAL)


def test_the_run_file_names_the_same_models_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / 'a "b" \\ c', tmp_path / "elsewhere"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    uri = "checkpoint:mine.safetensors?arch=timm:resnet18&labels=names 100%26.txt"
    choice = Choice(
        uri, ("zoo:identity-vit", "onnx:/abs/x.onnx"), ("timm:vit?mean=0.5,0.5,0.5",), 12, "robust", steps=7
    )
    (there / "run.toml").write_text(to_toml(choice), encoding="utf-8")
    monkeypatch.chdir("/")
    run = read_run_file(there / "run.toml")
    at = str(here)[1:]
    assert run.authorized == f"checkpoint:{at}/mine.safetensors?arch=timm:resnet18&labels=" + quote(
        f"{at}/names 100&.txt", safe=":/,@+ "
    )
    assert run.surrogates == ("zoo:identity-vit", "onnx:abs/x.onnx")
    assert run.heldout == ("timm:vit?mean=0.5,0.5,0.5",)
    assert (run.epsilon, run.recipe) == (12, {"name": "robust", "steps": 7})


# ---- photos in


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("../../etc/passwd.png", "passwd.png"),
        ("C:\\Users\\me\\a.png", "a.png"),
        ("a\r\nSet-Cookie: b.png", "aSet-Cookie b.png"),
        ('<img src=x onerror="1">.png', "img src=x onerror=1.png"),
        ("", "photo"),
        ("...", "photo"),
        ("/", "photo"),
        (".png", "png"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}gnp.png", "gnp.png"),
        ("u\N{COMBINING DIAERESIS}.png", "\N{LATIN SMALL LETTER U WITH DIAERESIS}.png"),
        ("x" * 500 + ".jpeg", "x" * 115 + ".jpeg"),
    ],
)
def test_names_are_made_harmless(name: str, clean: str) -> None:
    assert clean_name(name) == clean


def test_what_is_no_photo_is_refused_and_leaves_nothing(client: Client) -> None:
    session = client.session()
    bad = [
        ("empty", b""),
        ("not a picture", b"hello, I am text"),
        ("damaged", PHOTO[:300]),
        ("GIF", coded(render(4, 1, 9, 40), "GIF")),
        ("too small", coded(np.zeros((8, 8, 3), np.uint8))),
        ("the limit is 40,000,000 pixels", coded(np.zeros((6400, 6400), np.uint8))),
        ("up to 20 MB", b"\0" * (MAX_BYTES + 1)),
    ]
    for sentence, data in bad:
        refusal = client.refused("POST", f"{session}/photos?name=some.png", data)
        assert refusal.startswith("some.png: ")
        assert sentence in refusal
    assert client.state(session)["photos"] == []


def test_the_fifty_first_photo_is_refused(tmp_path: Path) -> None:
    session, photo = Session(tmp_path), coded(np.zeros((16, 16, 3), np.uint8))
    for _ in range(MAX_PHOTOS):
        session.add("same.png", photo)
    with pytest.raises(UserError, match="50 photos already"):
        session.add("same.png", photo)
    assert len({picture.saved_name for picture in session.pictures.values()}) == MAX_PHOTOS
    session.remove(1)
    assert session.add("other.png", photo).number == MAX_PHOTOS + 1
    assert len(list(session.folder.iterdir())) == MAX_PHOTOS


def test_files_that_differ_in_their_suffix_alone_are_saved_under_two_names(tmp_path: Path) -> None:
    session = Session(tmp_path)
    names = [session.add(name, PHOTO).saved_name for name in ("a.jpg", "A.png", "a.webp", "a-2.png")]
    assert len({name.casefold() for name in names}) == 4


# ---- a run


def test_what_the_page_saves_is_what_the_command_in_its_run_file_makes(client: Client, tmp_path: Path) -> None:
    name, portrait = samples()[1]
    form = FORM | {
        "authorized": "zoo:identity-residual",
        "surrogates": ["zoo:identity-plain", "zoo:identity-depthwise"],
        "heldout": [],
    }
    tagged = Image.Exif()
    tagged[271] = "camera"
    photo = coded(np.asarray(Image.open(io.BytesIO(portrait)).resize((80, 80))), exif=tagged.tobytes())
    session = client.session()
    client("POST", f"{session}/photos?name={quote(name)}", photo)
    client.run(session, form)
    (state,) = client.wait(session)["photos"]
    assert state["status"] == "protected", state["reason"]
    saved = client("GET", f"{session}/photos/1/file")
    assert decode(saved).exif is None
    run_file = tmp_path / "omm-run.toml"
    run_file.write_bytes(client("GET", f"{session}/run.toml"))
    (tmp_path / "PHOTOS").mkdir()
    (tmp_path / "PHOTOS" / name).write_bytes(photo)
    command = shlex.split(run_file.read_text(encoding="utf-8").splitlines()[1].removeprefix("#"))[1:]
    places = {"PHOTOS": str(tmp_path / "PHOTOS"), "PROTECTED": str(tmp_path / "out"), "omm-run.toml": str(run_file)}
    assert main([*(places.get(word, word) for word in command), "--quiet", "--device", "cpu"]) == 0
    assert (tmp_path / "out" / name).read_bytes() == saved
    with zipfile.ZipFile(io.BytesIO(client("GET", f"{session}/all.zip"))) as archive:
        assert archive.namelist() == [name, "omm-run.toml"]
        assert archive.read(name) == saved
        assert archive.read("omm-run.toml") == run_file.read_bytes()


@pytest.mark.parametrize("kind", ["RGB", "L", "RGBA"])
def test_the_pictures_of_the_page_are_the_very_pixels(client: Client, kind: str) -> None:
    photo = np.asarray(Image.open(io.BytesIO(PHOTO)).convert(kind))
    session = client.session(coded(photo))
    assert "not be" not in client.refused("GET", f"{session}/photos/1/after.png")
    client.run(session, FORM)
    (state,) = client.wait(session)["photos"]
    assert state["status"] == "protected", state["reason"]
    before, after, difference = (
        np.asarray(Image.open(io.BytesIO(client("GET", f"{session}/photos/1/{view}.png")))).astype(int)
        for view in ("before", "after", "difference")
    )
    assert np.array_equal(before, photo)
    assert np.abs(after - before).max() == state["figures"]["linf"] == 16
    colors = slice(None) if kind == "L" else slice(3)
    assert np.array_equal(difference, np.clip(128 + AMPLIFY * (after - before)[..., colors], 0, 255))
    after_file = client("GET", f"{session}/photos/1/file")
    assert after_file == client("GET", f"{session}/photos/1/after.png")


def test_what_models_say_is_what_they_say_of_the_files(client: Client) -> None:
    session = client.session(PHOTO)
    client.run(session, FORM)
    (state,) = client.wait(session)["photos"]
    context, (judge,) = load(read_choice(FORM), replace(LOCAL, allow_python=True))
    after = decode(client("GET", f"{session}/photos/1/file")).pixels
    models = [context.authorized, *context.surrogates, judge.classifier]  # type: ignore[attr-defined]
    for model, row in zip(models, state["readings"], strict=True):
        for pixels, said in ((decode(PHOTO).pixels, row["before"]), (after, row["after"])):
            scores = model(torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255)
            assert said == str(int(scores.argmax()))
    assert [row["role"] for row in state["readings"]] == ["authorized", "surrogate", "held-out"]


@pytest.mark.parametrize(
    ("role", "truth", "before", "after", "verdict"),
    [
        ("authorized", 1, 1, 1, ("still reads it", True)),
        ("authorized", 1, 1, 2, ("no longer reads it", False)),
        ("held-out", 1, 1, 1, ("still reads it", False)),
        ("held-out", 1, 1, 2, ("misreads it", True)),
        ("surrogate", 1, 0, 2, ("never read it", None)),
        ("surrogate", 1, 0, 1, ("still reads it", False)),
        ("held-out", None, 5, 5, ("says the same", False)),
        ("held-out", None, 5, 6, ("says something else", True)),
    ],
)
def test_verdicts(role: Role, truth: int | None, before: int, after: int, verdict: tuple[str, bool | None]) -> None:
    assert _verdict(role, truth, before, after) == verdict


def test_a_photo_on_which_a_model_breaks_down_takes_neither_page_nor_neighbors_down(client: Client) -> None:
    red = coded(np.full((40, 40, 3), (255, 0, 0), np.uint8))
    session = client.session(red, PHOTO)
    client.run(session, FORM | {"surrogates": ["python:test_app:fragile"]})
    state = client.wait(session)
    assert [photo["status"] for photo in state["photos"]] == ["failed", "protected"]
    assert "it is too red in here (the terminal" in state["photos"][0]["reason"]
    assert state["run"]["phase"] == "done"


def test_a_run_that_cannot_be_is_refused_by_a_sentence_and_the_next_one_works(client: Client) -> None:
    session = client.session()
    assert "no photo yet" in client.refused("POST", f"{session}/run", json.dumps(FORM).encode())
    client("POST", f"{session}/photos?name=a.png", PHOTO)
    assert "reload" in client.refused("POST", f"{session}/run", b"[" * 50_000)
    assert "too long" in client.refused("POST", f"{session}/run", b" " * 200_000)
    assert "unknown scheme" in client.refused(
        "POST", f"{session}/run", json.dumps(FORM | {"authorized": "zo:x"}).encode()
    )
    client.run(session, FORM | {"authorized": "zoo:identity-residul"})
    state = client.wait(session)
    assert state["run"]["phase"] == "refused"
    assert "did you mean" in state["run"]["sentence"]
    assert [photo["status"] for photo in state["photos"]] == ["ready"]
    client.run(session, FORM)
    assert client.wait(session)["photos"][0]["status"] == "protected"


def test_stop_ends_the_run_that_is_at_work_and_the_one_that_waits(client: Client) -> None:
    endless = FORM | {"surrogates": ["python:toys:slow"], "steps": 1000}
    first, second = client.session(PHOTO, PHOTO), client.session(PHOTO)
    client.run(first, endless)
    client.run(second, endless)
    assert "stop that first" in client.refused("POST", f"{first}/photos?name=a.png", PHOTO)
    assert "stop that first" in client.refused("DELETE", f"{first}/photos/1")
    assert "stop that first" in client.refused("POST", f"{first}/run", json.dumps(FORM).encode())
    assert client.wait(first, "working")["photos"][1]["status"] == "waiting"
    client("POST", f"{second}/stop")
    assert client.state(second)["run"]["phase"] == "stopped"  # at once: it had not begun
    assert client.state(first)["run"]["busy"]
    client("POST", f"{first}/stop")
    state = client.wait(first)
    assert state["run"]["phase"] == "stopped"
    assert [photo["status"] for photo in state["photos"]] == ["ready", "ready"]
    client.run(first, FORM)
    assert [photo["status"] for photo in client.wait(first)["photos"]] == ["protected", "protected"]


# ---- who may see what


def test_nothing_is_found_without_the_secrets(client: Client) -> None:
    session = client.session(PHOTO)
    assert client.raw("GET", "/")[0] == 404
    assert client.raw("GET", "/" + session + "/")[0] == 404
    assert client.raw("GET", client.root[:-2] + "x/")[0] == 404
    other = client.session()
    assert client.state(other)["photos"] == []
    assert "no such photo" in client.refused("GET", f"{other}/photos/1/before.png")
    assert "reload" in client.refused("GET", f"{session[:-1]}/photos/1/before.png")
    for path in (
        "static/..%2fserver.py", "static/../server.py", "static/%2e%2e/server.py",
        f"{session}/photos/1/..%2fsource.png",
        f"{session}/photos/1/source.png", f"{session}/photos/1/%2fetc%2fpasswd.png", f"{session}/photos/-1/before.png",
        "sessions/../", "static//etc/passwd", f"{session}/photos/1/file",
    ):  # fmt: skip
        assert client.raw("GET", client.root + path)[0] == 404, path


def test_every_answer_forbids_what_the_page_does_not_need(client: Client) -> None:
    for path in ("/", client.root, client.root + "static/app.js", client.root + client.session(PHOTO) + "/"):
        headers = client.raw("GET", path)[1]
        assert {name: headers.get(name.lower()) for name in HEADERS} == HEADERS
        assert "server" not in headers


def test_the_page_names_no_other_place(client: Client) -> None:
    for path in ("", "static/app.js", "static/card.js", "static/app.css", "static/base.css"):
        text = client("GET", path).decode()
        assert "//" not in text.replace("// ", "").replace("http://www.w3.org/2000/svg", ""), path


def test_beyond_sixteen_tabs_the_one_unseen_for_longest_goes_unless_it_works(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path)
    opened = [sessions.new() for _ in range(MAX_SESSIONS)]
    opened[0].busy = True
    assert sessions.get(opened[1].id) is opened[1]  # seen just now
    sessions.new()
    assert [sessions.get(one.id) is not None for one in opened[:4]] == [True, True, False, True]
    assert not opened[2].folder.exists()
    for session in opened:
        session.busy = True
    sessions.close(opened[-1].id)
    last = sessions.new()
    assert last.folder.exists()


def test_a_tab_that_closes_takes_its_files_along_even_at_work(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path)
    idle, working, waiting = (sessions.new() for _ in range(3))
    with ThreadPoolExecutor(1) as executor:
        for session in (working, waiting):
            session.add("a.png", PHOTO)
            session.begin(read_choice(FORM))
        hold = threading.Event()
        working.job = executor.submit(_wait, hold)
        waiting.job = executor.submit(lambda: None)
        while not working.job.running():
            time.sleep(0.01)
        sessions.close_all()
        assert sorted(tmp_path.iterdir()) == [working.folder]
        hold.set()
    working.end(Progress("stopped"))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="closed"):
        idle.add("a.png", PHOTO)


def _wait(event: threading.Event) -> None:
    event.wait(10)


def test_an_old_result_is_gone_when_a_new_run_begins(tmp_path: Path) -> None:
    session = Session(tmp_path)
    picture = session.add("a.png", PHOTO)
    picture.protected.write_bytes(PHOTO)
    picture.result = Result("protected")
    assert picture.view("difference") is not None
    session.begin(read_choice(FORM))
    assert picture.view("after") is None
    assert picture.view("before") is not None
    assert sorted(path.name for path in picture.folder.iterdir()) == ["before.png", "source", "thumb.png"]


# ---- the server


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.0.3", False), ("example.org", False), ("localhost.example.org", False)],
)  # fmt: skip
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_places_that_cannot_be_are_refused_by_a_sentence() -> None:
    with pytest.raises(UserError, match="--allow-python would let whoever"):
        serve("0.0.0.0", allow_python=True, browser=False)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError, match="give another"):
        serve(port=taken.getsockname()[1], browser=False)
    with pytest.raises(UserError, match="65535"):
        serve(port=99999, browser=False)
    with pytest.raises(UserError, match="device"):
        serve(device="abacus", browser=False)


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_however_the_server_is_ended_its_folder_goes(tmp_path: Path, ending: signal.Signals) -> None:
    code = (
        "import sys, onlymymodel.cli\n"
        "assert not {'starlette', 'uvicorn', 'onlymymodel.app'} & sys.modules.keys()\n"
        "from onlymymodel.app.server import serve\n"
        "sys.exit(serve('localhost', browser=False, device='cpu'))\n"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        assert process.stdout is not None
        client = Client(process.stdout.readline().removeprefix("omm app: ").strip())
        form = FORM | {"authorized": "zoo:identity-vit", "surrogates": ["zoo:identity-plain"], "steps": 1000}
        session = client.session(samples()[0][1])
        client.run(session, form | {"heldout": []})
        client.wait(session, "working")
        assert list(tmp_path.glob("omm-app-*/*/1/source"))
        process.send_signal(ending)
        _, errors = process.communicate()
        watchdog.cancel()
    assert process.returncode == 0
    assert list(tmp_path.glob("omm-app-*")) == []
    assert "Traceback" not in errors


def test_the_page_says_what_it_takes(client: Client) -> None:
    html = client("GET", "").decode()
    assert f"up to {MAX_BYTES // 10**6} MB and {MAX_PIXELS // 10**6} megapixels each, {MAX_PHOTOS} at most" in html
    assert f'data-max-bytes="{MAX_BYTES}"' in html

"""The page's server without a browser: access to sessions, and removal of their files."""

import ast
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from app_client import FORM, PHOTO, Client, page
from patience import PATIENCE, RUN_PATIENCE, wait_until

from onlymymodel.app.form import MAX_PIXELS, read_form
from onlymymodel.app.routes import HEADERS, STATIC
from onlymymodel.app.samples import samples
from onlymymodel.app.server import is_loopback, serve
from onlymymodel.app.session import MAX_PHOTOS, MAX_SESSIONS, Progress, Session, Sessions
from onlymymodel.app.uploaded_photo import MAX_BYTES, PhotoResult
from onlymymodel.errors import UserError


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with page() as url:
        yield Client(url)


def test_nothing_is_found_without_the_secrets(client: Client) -> None:
    session = client.session(PHOTO)
    assert client.raw("GET", "/")[0] == 404
    assert client.raw("GET", "/" + session + "/")[0] == 404
    for path in (client.root, client.secret):
        other_letter = "y" if path[-2] == "x" else "x"
        assert client.raw("GET", path[:-2] + other_letter + "/")[0] == 404
    for cookie in ("", client.cookie[:-1], client.cookie + "x", "omm=", client.cookie.upper(), "omm=\u00e4"):
        for method, path in (
            ("GET", client.root),
            ("GET", f"{client.root}{session}/"),
            ("POST", client.root + "sessions"),
        ):
            assert client.raw(method, path, headers={"Cookie": cookie})[0] == 404, cookie
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
    for path in ("", "example/", *(f"static/{name}" for name in STATIC if not name.endswith(".svg"))):
        text = client("GET", path).decode()
        assert "//" not in text.replace("// ", "").replace("http://www.w3.org/2000/svg", ""), path


def test_beyond_sixteen_tabs_the_one_unseen_for_longest_goes_unless_it_works(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path)
    opened = [sessions.new() for _ in range(MAX_SESSIONS)]
    opened[0].busy = True
    assert sessions.get(opened[1].id) is opened[1]  # seen just now
    sessions.new()
    assert [sessions.get(session.id) is not None for session in opened[:4]] == [True, True, False, True]
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
            session.begin(read_form(FORM))
        hold = threading.Event()
        working.job = executor.submit(_wait, hold)
        waiting.job = executor.submit(lambda: None)
        wait_until(working.job.running)
        sessions.close_all()
        assert sorted(tmp_path.iterdir()) == [working.folder]
        hold.set()
    working.end(Progress("stopped"))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="closed"):
        idle.add("a.png", PHOTO)


def _wait(event: threading.Event) -> None:
    event.wait(PATIENCE)


def test_an_old_result_is_gone_when_a_new_run_begins(tmp_path: Path) -> None:
    session = Session(tmp_path)
    photo = session.add("a.png", PHOTO)
    photo.protected.write_bytes(PHOTO)
    photo.result = PhotoResult("protected")
    assert photo.view("difference") is not None
    session.begin(read_form(FORM))
    assert photo.view("after") is None
    assert photo.view("before") is not None
    assert sorted(path.name for path in photo.folder.iterdir()) == ["before.png", "source", "thumb.png"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.0.3", False), ("example.org", False), ("localhost.example.org", False)],
)  # fmt: skip
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_places_that_cannot_be_are_refused_by_a_sentence() -> None:
    with pytest.raises(UserError, match="--allow-python would let anybody"):
        serve("0.0.0.0", allow_python=True, browser=False)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError, match="give another"):
        serve(port=taken.getsockname()[1], browser=False)
    with pytest.raises(UserError, match="65535"):
        serve(port=99999, browser=False)
    with pytest.raises(UserError, match="device"):
        serve(device="abacus", browser=False)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_however_the_server_is_ended_its_folder_goes(tmp_path: Path, ending: signal.Signals) -> None:
    code = (
        "import sys, onlymymodel.cli.main\n"
        "assert not {'starlette', 'uvicorn', 'onlymymodel.app'} & sys.modules.keys()\n"
        "from onlymymodel.app.server import serve\n"
        "sys.exit(serve('localhost', browser=False, device='cpu'))\n"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        watchdog = threading.Timer(RUN_PATIENCE, process.kill)
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


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
def test_the_command_line_of_the_browser_does_not_hold_the_secret(tmp_path: Path) -> None:
    """Whoever has an account on the machine can list it."""
    (tmp_path / "browser.py").write_text('import sys; print("opened", sys.argv[1:], sep="\\n", flush=True)')
    environment = os.environ | {
        "TMPDIR": str(tmp_path),
        "OMP_NUM_THREADS": "1",
        "BROWSER": f"{sys.executable} {tmp_path / 'browser.py'} %s",
    }
    code = "from onlymymodel.app.server import serve; serve(device='cpu')"
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as process:
        watchdog = threading.Timer(RUN_PATIENCE, process.kill)
        watchdog.start()
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("omm app: ").strip()
        lines = iter(process.stdout.readline, "")
        while next(lines) != "opened\n":
            pass
        (opened,) = ast.literal_eval(next(lines))
        secret = urlsplit(url).path.strip("/")
        assert len(secret) == 32
        assert secret not in opened
        assert urlsplit(opened).scheme == "file"
        file = Path(unquote(urlsplit(opened).path))
        assert [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent)] == [0o600, 0o700]
        (led_to,) = re.findall(r'http-equiv="refresh" content="0; url=([^"]+)"', file.read_text())
        assert led_to == url
        assert b"<html" in Client(led_to)("GET", "")
        process.send_signal(signal.SIGINT)
        process.wait()
        watchdog.cancel()
    assert process.returncode == 0
    assert not file.parent.exists()


def test_the_page_says_what_it_takes(client: Client) -> None:
    html = client("GET", "").decode()
    assert f"up to {MAX_BYTES // 10**6} MB and {MAX_PIXELS // 10**6} megapixels each, {MAX_PHOTOS} at most" in html
    assert f'data-max-bytes="{MAX_BYTES}"' in html

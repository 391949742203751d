"""Access to the page is refused to other sites in the browser and to other servers of the machine."""

from collections.abc import Iterator
from http.cookies import SimpleCookie

import pytest
from app_client import PHOTO, Client, page

from onlymymodel.app.access import Hosts


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with page() as url:
        yield Client(url)


def test_the_first_visit_takes_the_secret_out_of_the_address(client: Client) -> None:
    status, headers, content = client.raw("GET", client.secret)
    assert (status, content) == (303, b"")
    home = headers["location"]
    assert client.secret.strip("/") not in home
    (morsel,) = SimpleCookie(headers["set-cookie"]).values()
    assert (morsel["path"], morsel["httponly"], morsel["samesite"]) == (home, True, "lax")
    assert morsel.value != client.secret.strip("/")
    assert len(morsel.value) == 32
    html = client("GET", "").decode()
    for hidden in (client.secret.strip("/"), morsel.value, home.strip("/")):
        assert hidden not in html
    # the address that was printed opens further tabs
    assert client.raw("GET", client.secret, headers={"Cookie": ""})[0] == 303


def test_the_cookie_is_of_no_use_on_another_path(client: Client) -> None:
    """Browsers send cookies to every port of a host, but only below their path."""
    for path in ("/", "/sessions", "/static/app.js", client.root.rstrip("/")):
        assert client.raw("GET", path)[0] == 404


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:1", 200),
        ("localhost:9000", 200),
        ("LOCALHOST", 200),
        ("[::1]:80", 200),
        ("evil.example", 421),
        ("evil.example:8000", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("192.168.0.3", 421),
        ("0.0.0.0", 421),
        ("[::", 421),
        ("", 421),
    ],
)
def test_another_name_for_this_address_is_another_site(client: Client, header: str, status: int) -> None:
    assert client.raw("GET", client.root, headers={"Host": header})[0] == status
    assert client.raw("GET", client.secret, headers={"Host": header})[0] == (303 if status == 200 else status)


def test_a_page_for_other_machines_has_addresses_and_its_own_name() -> None:
    hosts = Hosts(local=False, names=frozenset({"localhost", "desk", "photos.example"}))
    for header in ("192.168.0.3:8000", "[fe80::1]:80", "desk:1", "Photos.example", "127.0.0.1"):
        assert hosts.allow(header), header
    for header in ("evil.example", "desk.evil.example", ""):
        assert not hosts.allow(header), header


def own(client: Client) -> str:
    return f"http://{client.place[0]}:{client.place[1]}"


def test_another_sites_requests_are_refused_even_with_the_cookie(client: Client) -> None:
    session = client.session(PHOTO)
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": own(client).replace("http:", "https:")},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},  # another port of this host
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ):
        for method, path in (("POST", "sessions"), ("DELETE", f"{session}/photos/1"), ("GET", f"{session}/")):
            assert client.raw(method, client.root + path, headers=headers)[0] == 403, headers
    assert (
        client.raw(
            "POST", client.root + "sessions", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        )[0]
        == 403
    )
    assert len(client.state(session)["photos"]) == 1


def test_its_own_requests_are_not(client: Client) -> None:
    for headers in (
        {},
        {"Origin": own(client)},
        {"Origin": own(client), "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
        {"Origin": "null", "Sec-Fetch-Site": "same-origin"},  # as browsers send it where there is no referrer
        {"Sec-Fetch-Site": "none"},
    ):
        assert client.raw("POST", client.root + "sessions", headers=headers)[0] == 200, headers
    # a link on another page, or the file that opens the browser
    opened = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.raw("GET", client.root, headers=opened)[0] == 200

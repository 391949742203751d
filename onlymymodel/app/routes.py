"""What the page asks for, and the answers. Every address begins with a secret of this process: without it, nothing."""

import json
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import jinja2
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from onlymymodel.app.choice import MAX_EPSILON, MAX_PIXELS, MAX_STEPS, RUN_FILE, Policy, read_choice, to_toml
from onlymymodel.app.picture import AMPLIFY, MAX_BYTES, VIEWS, Picture, View
from onlymymodel.app.samples import samples
from onlymymodel.app.session import MAX_PHOTOS, Session, Sessions
from onlymymodel.app.work import work
from onlymymodel.demo import BUNDLED
from onlymymodel.errors import UserError
from onlymymodel.protect.recipe import STRENGTHS
from onlymymodel.surrogates import zoo

MAX_JSON = 100_000  # bytes
GONE = "this page's photos are no longer here: reload the page"
HERE = Path(__file__).parent
STATIC = {
    "base.css": (HERE.parent / "evaluate" / "templates" / "base.css", "text/css"),
    "app.css": (HERE / "static" / "app.css", "text/css"),
    "app.js": (HERE / "static" / "app.js", "text/javascript"),
    "card.js": (HERE / "static" / "card.js", "text/javascript"),
    "icon.svg": (HERE / "static" / "icon.svg", "image/svg+xml"),
}
HEADERS = {
    # no request can leave the machine, whatever a name or an answer contains
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",  # photos have no business in a browser's cache
}


def build(secret: str, sessions: Sessions, policy: Policy, executor: Executor) -> ASGIApp:
    """The application.

    Args:
        secret: first part of every path. Other people of this machine and other sites in the browser cannot know it.
        executor: of one thread: runs of several tabs queue up, they would only slow one another down.
    """
    of_session = [
        Route("/", _state),
        Route("/close", _close, methods=["POST"]),
        Route("/photos", _upload, methods=["POST"]),
        Route("/samples", _samples, methods=["POST"]),
        Route("/photos/{number:int}", _remove, methods=["DELETE"]),
        Route("/photos/{number:int}/{view}.png", _picture),
        Route("/photos/{number:int}/file", _file),
        Route("/run", _run, methods=["POST"]),
        Route("/stop", _stop, methods=["POST"]),
        Route("/all.zip", _zip),
        Route("/run.toml", _run_file),
    ]
    routes = [
        Route("/", _page),
        Route("/static/{name}", _static),
        Route("/sessions", _new, methods=["POST"]),
        Mount("/sessions/{session}", routes=of_session),
    ]
    handlers: dict[Any, Callable[[Request, Any], Any]] = {UserError: _refused, HTTPException: _http_error}
    app = Starlette(routes=[Mount(f"/{secret}", routes=routes)], exception_handlers=handlers)
    app.state.sessions, app.state.policy, app.state.executor = sessions, policy, executor
    return _with_headers(app)


def _with_headers(app: ASGIApp) -> ASGIApp:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await app(scope, receive, send_on)

    return wrapped


async def _refused(_: Request, error: UserError) -> Response:
    return JSONResponse({"error": str(error)}, 400)


async def _http_error(_: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code)


async def _page(request: Request) -> Response:
    # model names and words of this package only, yet everything is escaped
    loader = jinja2.FileSystemLoader(HERE / "static")
    template = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined).get_template(
        "page.html"
    )
    policy: Policy = request.app.state.policy
    html = template.render(
        authorized=BUNDLED.authorized,
        tasks=_bundled(),
        strengths=STRENGTHS,
        max_epsilon=MAX_EPSILON,
        max_steps=MAX_STEPS,
        max_photos=MAX_PHOTOS,
        max_bytes=MAX_BYTES,
        max_pixels=MAX_PIXELS,
        amplify=AMPLIFY,
        local=policy.local,
        allow_python=policy.allow_python,
    )
    return HTMLResponse(html)


def _bundled() -> list[tuple[str, list[dict[str, str]]]]:
    """The bundled models of each task, with the parts that they play in the demo."""
    judges = {uri.rpartition("-")[2] for uri in BUNDLED.heldout}
    return [
        (
            task,
            [
                {"uri": f"zoo:{name}", "name": family, "role": "heldout" if family in judges else "surrogates"}
                for name in zoo.NAMES
                for family in (name.partition("-")[2],)
                if name.startswith(f"{task}-")
            ],
        )
        for task in zoo.TASKS
    ]


async def _static(request: Request) -> Response:
    try:
        path, kind = STATIC[request.path_params["name"]]
    except KeyError as error:
        raise HTTPException(404) from error
    return FileResponse(path, media_type=kind)


async def _new(request: Request) -> Response:
    session = await run_in_threadpool(_sessions(request).new)
    return JSONResponse({"session": session.id})


async def _state(request: Request) -> Response:
    return JSONResponse(_session(request).state())


async def _close(request: Request) -> Response:
    await run_in_threadpool(_sessions(request).close, request.path_params["session"])
    return Response(status_code=204)


async def _upload(request: Request) -> Response:
    session, name = _session(request), request.query_params.get("name", "photo")
    data = await _body(request, MAX_BYTES, f"{name}: too large; the page takes files up to {MAX_BYTES // 10**6} MB")
    picture = await run_in_threadpool(session.add, name, data)
    return JSONResponse({"number": picture.number})


async def _samples(request: Request) -> Response:
    session = _session(request)
    for name, data in await run_in_threadpool(samples):
        await run_in_threadpool(session.add, name, data)
    return Response(status_code=204)


async def _remove(request: Request) -> Response:
    await run_in_threadpool(_session(request).remove, request.path_params["number"])
    return Response(status_code=204)


async def _picture(request: Request) -> Response:
    view = request.path_params["view"]
    if view not in VIEWS:
        raise HTTPException(404, "there is no such view")
    path = await run_in_threadpool(_find(request).view, cast(View, view))
    if path is None:
        raise HTTPException(404, "there is no such picture yet")
    return FileResponse(path, media_type="image/png")


async def _file(request: Request) -> Response:
    picture = _find(request)
    if picture.result.status != "protected":
        raise HTTPException(404, "there is no protected file")
    return FileResponse(picture.protected, media_type="image/png", headers=_saved_as(picture.saved_name))


async def _run(request: Request) -> Response:
    session, policy = _session(request), request.app.state.policy
    try:
        content = json.loads(await _body(request, MAX_JSON, "the settings are too long"))
    except (ValueError, RecursionError) as error:
        raise UserError("the settings could not be read: reload the page") from error
    choice = read_choice(content)
    for uri in choice.uris:
        policy.check(uri)
    await run_in_threadpool(session.begin, choice)
    session.job = request.app.state.executor.submit(work, session, choice, policy)
    return Response(status_code=202)


async def _stop(request: Request) -> Response:
    await run_in_threadpool(_session(request).halt)
    return Response(status_code=204)


async def _zip(request: Request) -> Response:
    path = await run_in_threadpool(_session(request).pack)
    remove = BackgroundTask(path.unlink, missing_ok=True)
    return FileResponse(path, media_type="application/zip", headers=_saved_as("protected.zip"), background=remove)


async def _run_file(request: Request) -> Response:
    choice = _session(request).choice
    if choice is None:
        raise UserError("there was no run yet whose settings could be saved")
    return PlainTextResponse(to_toml(choice), media_type="application/toml", headers=_saved_as(RUN_FILE))


async def _body(request: Request, most: int, sentence: str) -> bytes:
    """The request's body, never more of it in memory than allowed.

    Raises:
        UserError: it is longer.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise UserError(sentence)
    return bytes(body)


def _sessions(request: Request) -> Sessions:
    found: Sessions = request.app.state.sessions
    return found


def _session(request: Request) -> Session:
    session = _sessions(request).get(request.path_params["session"])
    if session is None:
        raise HTTPException(404, GONE)
    return session


def _find(request: Request) -> Picture:
    """A picture by its number: a path is never made of what was asked for."""
    picture = _session(request).pictures.get(request.path_params["number"])
    if picture is None:
        raise HTTPException(404, "there is no such photo")
    return picture


def _saved_as(name: str) -> dict[str, str]:
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}

"""Routes of the page, behind `access.guarded`."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from onlymymodel.app.access import Hosts, Keys, guarded
from onlymymodel.app.form import RUN_FILE, Policy, read_form, run_file
from onlymymodel.app.page import render_page
from onlymymodel.app.samples import samples
from onlymymodel.app.session import Session, Sessions
from onlymymodel.app.uploaded_photo import MAX_BYTES, VIEWS, UploadedPhoto, View
from onlymymodel.app.worker import run_session
from onlymymodel.errors import UserError
from onlymymodel.example import VIEWS as EXAMPLE_VIEWS
from onlymymodel.example import example, example_picture

MAX_JSON = 100_000  # bytes
CHUNK_SECONDS, BODY_SECONDS = 30.0, 600.0  # until the next part of an upload, and for all of it
GONE = "this page's photos are no longer here: reload the page"
HERE = Path(__file__).parent
SCRIPTS = ("app.js", "card.js", "form.js", "preview.js", "progress.js")
STATIC = {
    "base.css": (HERE.parent / "evaluate" / "templates" / "base.css", "text/css"),
    **{name: (HERE / "static" / name, "text/css") for name in ("app.css", "card.css")},
    **{name: (HERE / "static" / name, "text/javascript") for name in SCRIPTS},
    "icon.svg": (HERE / "static" / "icon.svg", "image/svg+xml"),
}
HEADERS = {
    # no request can leave the machine, even if a name or an answer contains markup
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",  # photos must not stay in a browser's cache
}


def build(
    keys: Keys,
    hosts: Hosts,
    trust: Callable[[Scope], None],
    sessions: Sessions,
    policy: Policy,
    executor: Executor,
) -> ASGIApp:
    """Build the application.

    Args:
        keys: secrets that other users of this machine and other sites in the browser do not know.
        hosts: names under which the page may be opened.
        trust: called with each request that has a secret.
        sessions: of the open tabs.
        policy: which models may be loaded.
        executor: of one thread: the runs of several tabs are queued, since they would only slow each other down.
    """
    session_routes = [
        Route("/", _state),
        Route("/close", _close, methods=["POST"]),
        Route("/photos", _upload, methods=["POST"]),
        Route("/samples", _samples, methods=["POST"]),
        Route("/photos/{number:int}", _remove, methods=["DELETE"]),
        Route("/photos/{number:int}/{view}.png", _photo_view),
        Route("/photos/{number:int}/preview", _preview),
        Route("/photos/{number:int}/file", _file),
        Route("/run", _run, methods=["POST"]),
        Route("/stop", _stop, methods=["POST"]),
        Route("/all.zip", _zip),
        Route("/run.toml", _run_file),
    ]
    routes = [
        Route("/", _page),
        Route("/static/{name}", _static),
        Route("/example/", _example),
        Route("/example/{view}.webp", _example_view),
        Route("/sessions", _new, methods=["POST"]),
        Mount("/sessions/{session}", routes=session_routes),
    ]
    handlers: dict[Any, Callable[[Request, Any], Any]] = {UserError: _refused, HTTPException: _http_error}
    app = Starlette(routes=[Mount(f"/{keys.home}", routes=routes)], exception_handlers=handlers)
    app.state.sessions, app.state.policy, app.state.executor = sessions, policy, executor
    return _with_headers(guarded(app, keys, hosts, trust))


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
    return HTMLResponse(await run_in_threadpool(render_page, request.app.state.policy))


async def _example(_: Request) -> Response:
    return JSONResponse(example())


async def _example_view(request: Request) -> Response:
    view = request.path_params["view"]
    if view not in EXAMPLE_VIEWS:
        raise HTTPException(404, "there is no such view")
    return Response(await run_in_threadpool(example_picture, view), media_type="image/webp")


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
    photo = await run_in_threadpool(session.add, name, data)
    return JSONResponse({"number": photo.number})


async def _samples(request: Request) -> Response:
    session = _session(request)
    for name, data in await run_in_threadpool(samples):
        await run_in_threadpool(session.add, name, data)
    return Response(status_code=204)


async def _remove(request: Request) -> Response:
    await run_in_threadpool(_session(request).remove, request.path_params["number"])
    return Response(status_code=204)


async def _photo_view(request: Request) -> Response:
    view = request.path_params["view"]
    if view not in VIEWS:
        raise HTTPException(404, "there is no such view")
    picture = await run_in_threadpool(_photo(request).view, cast(View, view))
    if picture is None:
        raise HTTPException(404, "there is no such picture yet")
    return Response(picture, media_type="image/png")


async def _preview(request: Request) -> Response:
    faces = request.query_params.get("region") == "face"
    preview = await run_in_threadpool(_photo(request).preview, faces=faces)
    if preview is None:
        raise HTTPException(404, GONE)
    return JSONResponse(preview)


async def _file(request: Request) -> Response:
    photo = _photo(request)
    picture = await run_in_threadpool(photo.view, "after")
    if picture is None:
        raise HTTPException(404, "there is no protected file")
    return Response(picture, media_type="image/png", headers=_saved_as(photo.saved_name))


async def _run(request: Request) -> Response:
    session, policy = _session(request), request.app.state.policy
    try:
        content = json.loads(await _body(request, MAX_JSON, "the settings are too long"))
    except (ValueError, RecursionError) as error:
        raise UserError("the settings could not be read: reload the page") from error
    settings = read_form(content, local=policy.local)
    for uri in settings.models:
        policy.check(uri)
    await run_in_threadpool(session.begin, settings)
    session.job = request.app.state.executor.submit(run_session, session, settings, policy)
    return Response(status_code=202)


async def _stop(request: Request) -> Response:
    await run_in_threadpool(_session(request).halt)
    return Response(status_code=204)


async def _zip(request: Request) -> Response:
    path = await run_in_threadpool(_session(request).pack)
    remove = BackgroundTask(path.unlink, missing_ok=True)
    return FileResponse(path, media_type="application/zip", headers=_saved_as("protected.zip"), background=remove)


async def _run_file(request: Request) -> Response:
    settings = _session(request).settings
    if settings is None:
        raise UserError("there are no settings to save before the first run")
    return PlainTextResponse(run_file(settings), media_type="application/toml", headers=_saved_as(RUN_FILE))


async def _body(request: Request, most: int, sentence: str) -> bytes:
    """Read the request's body, with at most `most` bytes and one chunk in memory.

    Raises:
        UserError: the body is longer than `most` bytes; `sentence` is the message.
        HTTPException: it does not arrive in time.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            stream = request.stream()
            while (chunk := await asyncio.wait_for(anext(stream, None), CHUNK_SECONDS)) is not None:
                body += chunk
                if len(body) > most:
                    raise UserError(sentence)
    except TimeoutError as error:
        raise HTTPException(408, "the upload did not arrive in time: try again") from error
    return bytes(body)


def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


def _session(request: Request) -> Session:
    session = _sessions(request).get(request.path_params["session"])
    if session is None:
        raise HTTPException(404, GONE)
    return session


def _photo(request: Request) -> UploadedPhoto:
    """Return the requested photo, looked up by its number: no path is made from a request."""
    photo = _session(request).photos.get(request.path_params["number"])
    if photo is None:
        raise HTTPException(404, "there is no such photo")
    return photo


def _saved_as(name: str) -> dict[str, str]:
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}

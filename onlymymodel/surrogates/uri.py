"""Parse model URIs: `scheme:rest?key=value&key=value`. Nothing is guessed; errors name the nearest valid word.

Importing this module does not import torch.
"""

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from onlymymodel.data.regular_file import is_file
from onlymymodel.errors import UserError, did_you_mean
from onlymymodel.surrogates.schemes import PATH_OPTIONS, SCHEMES, Scheme

LEFT_OUT = "***"  # stands for a secret in records and messages
SERVER_URL = re.compile(r"(https?:[^?]*\?)(.*)", re.IGNORECASE | re.DOTALL)
PASSWORD = re.compile(r"(https?://)[^/?#]*@", re.IGNORECASE)
QUERY_SAFE = ":/,@+ "  # characters that need no quoting in the value of an option
TYPO_CUTOFF = 0.8  # difflib similarity above which an unknown option is taken for a misspelled one


@dataclass(frozen=True)
class ModelUri:
    """A parsed URI.

    Attributes:
        text: as the user wrote it, for errors; without a server's own options, see `redacted`.
        scheme, rest: before and after the first colon.
        options: the query, e.g. {"arch": "timm:resnet50"}.
        server_query: the part of a URL's query that is passed on to the server, as it was written; empty if none is.
    """

    text: str
    scheme: str
    rest: str
    options: Mapping[str, str] = field(default_factory=dict)
    server_query: str = ""

    @property
    def kind(self) -> Scheme:
        """The row of `SCHEMES` that describes its scheme."""
        return SCHEMES[self.scheme]

    @property
    def names_local_files(self) -> bool:
        """Return whether it, or one of its options, names a file or folder of this machine."""
        return self.kind.is_file or bool(set(PATH_OPTIONS) & self.options.keys())

    @property
    def public(self) -> str:
        """The URI without this machine's folders and a server's own options, fit for a manifest or a results file."""
        rest = Path(self.rest).name if self.kind.is_file else self.rest
        key = "model" if self.kind.is_remote else "arch"
        part = f"?{key}={self.options[key]}" if key in self.options else ""
        return f"{self.scheme}:{rest}{part}"

    def relative_to(self, folder: Path) -> str:
        """Return the whole URI with its files relative to `folder`, so that folder and files can move together."""
        options = dict(self.options)
        options |= {key: _relative(options[key], folder) for key in PATH_OPTIONS if options.get(key)}
        rest = _relative(self.rest, folder) if self.kind.is_file else self.rest
        own = [f"{key}={quote(options[key], safe=QUERY_SAFE)}" for key in options if key in self.kind.options]
        query = "&".join(filter(None, [*own, self.server_query]))
        return f"{self.scheme}:{rest}" + (f"?{query}" if query else "")

    def file(self) -> Path:
        """Return the file that the URI names.

        Raises:
            UserError: it does not exist.
        """
        path = Path(self.rest).expanduser()
        if not is_file(path):
            raise UserError(f"model {self.text!r}: there is no file {self.rest!r}")
        return path


def parse_uri(text: str, base: Path | None = None) -> ModelUri:
    """Parse `scheme:rest?options`.

    Args:
        text: the URI.
        base: folder that relative files are resolved against (a run file's folder); None leaves them as they are.

    Raises:
        UserError: no scheme, an unknown scheme or an unknown option, with the nearest known ones.
    """
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in SCHEMES:
        raise UserError(_unknown_scheme(redacted(text).partition("?")[0], scheme if colon else ""))
    kind = SCHEMES[scheme]
    rest, _, query = rest.partition("?")
    written, text = text, redacted(text)
    if not rest:
        raise UserError(f"model {text!r} names nothing after {scheme!r}; write it as {kind.example}")
    if kind.is_remote and "@" in rest.partition("//")[2].partition("/")[0]:
        raise UserError("a model's URL may not hold a user or a password: put a token into OMM_HTTP_TOKEN")
    options = _parse_options(text, query, kind)
    for name in [*([rest] if kind.is_file else []), *(options.get(key, "") for key in PATH_OPTIONS)]:
        _check_home(text, name)
    if base is not None and kind.is_file:
        rest = str(base / Path(rest).expanduser())
    if base is not None:
        options |= {key: str(base / Path(options[key]).expanduser()) for key in PATH_OPTIONS if options.get(key)}
    return ModelUri(text, scheme, rest, options, _server_query(written, kind))


def lacks_gallery(text: str) -> bool:
    """Return whether a URI takes the gallery of the run: it has `gallery=` without a folder."""
    return "gallery=" in text.partition("?")[2].split("&")


def with_gallery(text: str, folder: str) -> str:
    """Return a URI with the gallery of the run, where it takes that; any other URI unchanged."""
    if not lacks_gallery(text):
        return text
    rest, _, query = text.partition("?")
    named = f"gallery={quote(folder, safe=QUERY_SAFE)}"
    return f"{rest}?" + "&".join(named if part == "gallery=" else part for part in query.split("&"))


def redacted(text: str) -> str:
    """Return a URI, or a word that contains one, without secrets: fit to be recorded or printed.

    A server's own options may hold an API key. Their values become `***`, and so does a user with a password.
    """
    return SERVER_URL.sub(lambda url: url[1] + _redacted_query(url[2]), PASSWORD.sub(rf"\1{LEFT_OUT}@", text))


def redacted_message(text: str) -> str:
    """Return a message without the secrets of the URIs that it names; see `redacted`."""
    return re.sub(r"\S+", lambda word: redacted(word[0]), text)


def _redacted_query(query: str) -> str:
    return "&".join(_redacted_part(part) for part in query.split("&"))


def _redacted_part(part: str) -> str:
    key, equals, value = part.partition("=")
    if not part or (key in {*SCHEMES["http"].options, *SCHEMES["openai"].options} and not re.search(r"[\s?]", value)):
        return part
    return f"{key}={LEFT_OUT}" if equals else LEFT_OUT


def _check_home(text: str, name: str) -> None:
    """Refuse a file in the home folder of a user who does not exist. Raises UserError."""
    try:
        Path(name).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"model {text!r}: there is no home folder of {Path(name).parts[0]!r}; write the whole path"
        ) from error


def _server_query(text: str, kind: Scheme) -> str:
    """Return the parts of a URL's query that are no options of ours.

    Raises:
        UserError: a value was left out where the URI was recorded.
    """
    parts = [part for part in text.partition("?")[2].split("&") if part and part.partition("=")[0] not in kind.options]
    if any(part.rpartition("=")[2] == LEFT_OUT for part in parts):
        raise UserError(
            f"model {redacted(text)!r}: the server's own options were left out where this URI was recorded; "
            "give the whole URI again"
        )
    return "&".join(parts)


def _parse_options(text: str, query: str, kind: Scheme) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        key, _, value = part.partition("=")
        if key not in kind.options and not (kind.is_remote and _is_server_option(key, kind.options)):
            raise UserError(f"model {text!r}: unknown option {key!r}{did_you_mean(key, kind.options)}")
        if key in options:
            raise UserError(f"model {text!r}: option {key!r} is given twice")
        options[key] = unquote(value)
    return options


def _is_server_option(key: str, known: Iterable[str]) -> bool:
    """Return whether an unknown option is meant for the server, and not one of ours misspelled (`budgte`)."""
    return bool(key) and not difflib.get_close_matches(key, known, n=1, cutoff=TYPO_CUTOFF)


def _relative(name: str, folder: Path) -> str:
    """Return `name` relative to `folder`. A link keeps its own name, and with it the suffix that tells its format."""
    path = Path(name).expanduser()
    return Path(os.path.relpath(path.parent.resolve() / path.name, folder.resolve())).as_posix()


def _unknown_scheme(text: str, scheme: str) -> str:
    if not scheme and Path(text).suffix in (".onnx", ".safetensors", ".pt", ".pth", ".ckpt"):
        meant = f"onnx:{text}" if text.endswith(".onnx") else f"checkpoint:{text}?arch=timm:NAME"
        return f"model {text!r} has no scheme; did you mean {meant!r}?"
    if not scheme:
        return f"model {text!r} has no scheme; did you mean 'timm:{text}' or 'torchvision:{text}@DEFAULT'?"
    return f"model {text!r}: unknown scheme {scheme!r}{did_you_mean(scheme, SCHEMES)}"

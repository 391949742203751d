"""Print the output of a command: text for people, or one JSON object for programs."""

import json
import math
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

FILE_COLUMNS = 100  # width of tables and sentences in a file or a pipe


class Output:
    """The standard output of a command.

    Args:
        as_json: print one JSON object at the end instead of text.
        json_lines: whether standard error has JSON lines.
    """

    def __init__(self, as_json: bool, *, json_lines: bool = False) -> None:
        self.as_json, self.json_lines = as_json, json_lines
        self._fields: dict[str, Any] = {}
        self._finished = False
        self._stream: TextIO = sys.stdout

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Keep standard output free of all but the JSON object; what models or libraries print goes elsewhere."""
        with redirect_stdout(sys.stderr) if self.as_json else nullcontext():
            yield

    @property
    def columns(self) -> int:
        """The width of the terminal; where standard output is none, a width for files."""
        return shutil.get_terminal_size((FILE_COLUMNS, 24)).columns if sys.stdout.isatty() else FILE_COLUMNS

    def say(self, *lines: str) -> None:
        """Print lines for people; nothing where the output is JSON."""
        if lines and not self.as_json:
            print(*lines, sep="\n", flush=True)

    def add(self, **fields: object) -> None:
        """Add fields to the JSON object."""
        self._fields |= fields

    def finish(self, command: str, code: int) -> None:
        """Print the JSON object, where the output is JSON and none was printed before.

        Args:
            command: name of the command.
            code: the exit code.
        """
        if self.as_json and not self._finished:
            self._finished = True
            print(self.text(command, code), file=self._stream, flush=True)

    def text(self, command: str, code: int, **further: object) -> str:
        """Return the JSON object with further fields.

        Args:
            command: name of the command.
            code: the exit code.
            further: fields that are not kept.
        """
        content = {"command": command, "exit_code": code, **self._fields, **further}
        return json.dumps(plain(content), allow_nan=False)


def plain(value: Any) -> Any:
    """Return a value as JSON values: paths as text, numbers that are not finite as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value

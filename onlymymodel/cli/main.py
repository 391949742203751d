"""The command line: parse, run a command, and report every mistake in one sentence."""

import argparse
import errno
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import pairwise
from pathlib import Path
from typing import NoReturn, cast

from onlymymodel.cli.commands import COMMANDS
from onlymymodel.cli.interrupt import INTERRUPTED, exit_on_interrupt, interrupts_noted, set_last_words
from onlymymodel.cli.output import Output
from onlymymodel.cli.parser import Parser
from onlymymodel.errors import UserError
from onlymymodel.evaluate.text import replace_unprintable
from onlymymodel.surrogates.uri import redacted_message
from onlymymodel.version import __version__

UNEXPECTED = 1  # as Python ends after a traceback
USAGE = 2
CLOSED_PIPE = 141  # 128 + SIGPIPE, as a shell reports a program that this signal ended
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
REFUSED = (errno.EACCES, errno.EPERM, errno.ENOTDIR)  # to read or to write
NEW_LINE = "\n"
CONTINUED = ("protect", "evaluate", "tune", "merge")  # commands that go on where they were stopped


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit code: 0 success, 1 not for all photos, 2 an error that the user can correct, 130 Ctrl-C, 141 standard
        output was closed.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    output = Output("--json" in words, json_lines="json" in _values_of("--progress", words))
    answer = output.text(_command(words), INTERRUPTED, error="stopped") + "\n" if output.as_json else ""
    set_last_words(answer, ("" if output.json_lines else "\n") + _event("stopped", output) + "\n")
    try:
        try:
            code = _run(words, output)
            try:
                output.finish(_command(words), code)
            except BrokenPipeError:
                raise
            except OSError as error:
                return _report_unusable(error, output)
            return code
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not _output_is_closed():
            raise
        return CLOSED_PIPE


def _run(words: list[str], output: Output) -> int:
    """Run a command, and report what ends it before it is complete."""
    try:
        with exit_on_interrupt():
            arguments = build_parser().parse_args(words)
        arguments.words, arguments.output = words, output
        with interrupts_noted(), _shown(arguments), output.reserved():
            code: int = arguments.run(arguments)
            return code
    except UserError as error:
        return _report(str(error), USAGE, output)
    except BrokenPipeError:
        raise
    except OSError as error:
        return _report_unusable(error, output)
    except KeyboardInterrupt:
        if not output.json_lines:
            print(file=sys.stderr)  # the terminal shows ^C
        kept = "; finished work is kept, run the same command again to continue"
        return _report("stopped" + (kept if _command(words) in CONTINUED else ""), INTERRUPTED, output)
    except Exception as error:
        output.add(error=f"{type(error).__name__}: {error}")
        output.finish(_command(words), UNEXPECTED)
        raise


def _report_unusable(error: OSError, output: Output) -> int:
    """Report a file that cannot be read or written; raise any other error of the system again."""
    unwritable = error.errno in UNWRITABLE
    if error.filename is None and not unwritable and error.errno not in REFUSED:
        raise error
    cannot = " cannot be written" if unwritable else ""
    name = os.fsdecode(error.filename or "the output")
    return _report(f"{name}{cannot}: {error.strerror}; finished work is kept", USAGE, output)


def _report(message: str, code: int, output: Output) -> int:
    """Print a mistake without control characters, and without secrets: a URI may be given for a path."""
    message = replace_unprintable(redacted_message(message.replace(NEW_LINE, " ")))
    print(_event(message, output), file=sys.stderr)
    output.add(error=message)
    return code


def _event(message: str, output: Output) -> str:
    """Return a mistake as a line of standard error."""
    return json.dumps({"event": "error", "text": message}) if output.json_lines else f"omm: {message}"


@contextmanager
def _shown(arguments: argparse.Namespace) -> Iterator[None]:
    """Show progress and messages as the flags say while a command runs."""
    from onlymymodel.cli.messages import messages_on_stderr
    from onlymymodel.progress import Display, Mode, shown

    mode = getattr(arguments, "progress", "none")
    if mode == "auto":
        mode = "bar" if sys.stderr.isatty() else "lines"
    display = Display(cast(Mode, mode), verbose=getattr(arguments, "verbose", False))
    with shown(display), messages_on_stderr(arguments.log_level):
        yield


def _values_of(flag: str, words: Sequence[str]) -> list[str]:
    """Return the values of a flag among words that may not have been parsed."""
    values = [value for word, value in pairwise(words) if word == flag]
    return values + [word.partition("=")[2] for word in words if word.startswith(f"{flag}=")]


def _command(words: Sequence[str]) -> str:
    """Return the name of the command that the words begin with, or else the first word."""
    names = [word for word in words if not word.startswith("-")]
    both = " ".join(names[:2])
    return both if both in COMMANDS else replace_unprintable(redacted_message(" ".join(names[:1])))


def _output_is_closed() -> bool:
    """Return whether standard output was closed (`omm models | head -1`); the rest of the output is then dropped."""
    try:
        print(flush=True)  # an unbuffered output has nothing left to flush
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def build_parser() -> Parser:
    """Return the parser of all commands; each command adds its flags when it is used."""
    parser = Parser(prog="omm", description="One authorized model still reads the photo; unseen models do not.")
    parser.epilog = (
        "omm COMMAND --help shows the usual flags of a command and examples, omm COMMAND --help-all every flag.\n"
        "Begin with: omm demo"
    )
    parser.add_argument("--version", action="version", version=f"omm {__version__}", help="show the version")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", parser_class=Parser)
    subparsers.required = True
    for name, command in COMMANDS.items():
        if " " not in name:
            module = f"onlymymodel.cli.{name.replace('-', '_')}"
            subparsers.add_parser(name, help=command.summary, description=command.summary, module=module)
    return parser


def entry() -> NoReturn:
    """Run the `omm` script."""
    _prepare_streams()
    sys.exit(main())


def _prepare_streams() -> None:
    """Let standard output and error take all that is printed: any character, and anything where they are closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # it also takes the number of the closed stream, which a file of the run would get otherwise
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

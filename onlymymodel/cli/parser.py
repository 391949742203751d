"""The parser of all commands: help in two lengths, and errors of one sentence that name the remedy."""

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, NoReturn

from onlymymodel.cli.commands import COMMANDS, Command
from onlymymodel.cli.flags import add_output, decimal, whole
from onlymymodel.errors import UserError, did_you_mean, listed, nearest

EXAMPLE_WIDTH = 78  # columns
NUMBER = re.compile(r"-\.?\d")
# how argparse words the mistakes that are worded otherwise here
REQUIRED = "the following arguments are required: "
ONE_VALUE, SOME_VALUES = "expected one argument", "expected at least one argument"
EMPTY = "is empty"
NO_VALUE, EXCLUDED = "ignored explicit argument", "not allowed with argument "


class Parser(argparse.ArgumentParser):
    """A parser whose `--help` shows the usual flags and examples, and whose `--help-all` shows every flag.

    Which flags are usual, and the examples, are in `commands.COMMANDS`. Abbreviated flags are not accepted, since an
    abbreviation may become ambiguous in a later version.

    Args:
        module: module whose `add_flags` adds the flags when the command is used, since their tables take time to
            import; none if empty.

    Attributes:
        details: tables and remarks that `--help-all` shows below the description.
    """

    def __init__(self, *args: Any, module: str = "", **kwargs: Any) -> None:
        kwargs |= {"allow_abbrev": False, "add_help": False, "exit_on_error": False}
        kwargs["formatter_class"] = argparse.RawDescriptionHelpFormatter
        super().__init__(*args, **kwargs)
        self.details = ""
        self._module = module
        self.register("type", float, decimal)
        self.register("type", int, whole)
        if self.command is None:
            self.add_argument("-h", "--help", action=_Help, nargs=0, help="show the commands")
        else:
            self.add_argument("-h", "--help", action=_Help, nargs=0, help="show the usual flags and examples")
            self.add_argument("--help-all", action=_HelpAll, nargs=0, help="show every flag")

    @property
    def command(self) -> Command | None:
        """The command that it parses; None for `omm` itself."""
        return COMMANDS.get(self.prog.partition(" ")[2])

    def complete(self) -> None:
        """Add the flags of the command and of its own commands, unless that was done before."""
        if self._module:
            module, self._module = self._module, ""
            import_module(module).add_flags(self)
            for leaf in leaves(self):
                if leaf.command is not None:
                    add_output(leaf, leaf.command)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Add the flags, then parse.

        Raises:
            UserError: an unknown flag, command or choice, a value that is missing or malformed, a word too many.
        """
        self.complete()
        self._refuse_unknown_flags(args)
        try:
            parsed, rest = super().parse_known_args(args, namespace)
        except argparse.ArgumentError as error:
            raise UserError(self._sentence(error.argument_name, error.message)) from error
        if rest:
            raise UserError(self._too_many(rest))
        return parsed, rest

    def error(self, message: str) -> NoReturn:
        """Raise a mistake for which argparse names no single flag."""
        raise UserError(self._sentence(None, message))

    def format_help(self, *, everything: bool = False) -> str:
        """Return the text of `--help`, or of `--help-all`."""
        self.complete()
        if self.command is None or leaves(self) != [self]:
            return super().format_help()
        hidden = [] if everything else [action for action in self._actions if not self._is_usual(action)]
        helps, description, self.usage = [action.help for action in hidden], self.description, self._short_usage()
        self.epilog = self._epilog()
        for action in hidden:
            action.help = argparse.SUPPRESS
        if everything and self.details:
            self.description = f"{description}\n\n{self.details}"
        try:
            return super().format_help()
        finally:
            self.description = description
            for action, text in zip(hidden, helps, strict=True):
                action.help = text

    def flags(self) -> list[argparse.Action]:
        """Return the flags that `--help-all` shows."""
        self.complete()
        return [action for action in self._actions if action.option_strings and action.help != argparse.SUPPRESS]

    def usual_flags(self) -> list[argparse.Action]:
        """Return the flags that `--help` shows."""
        return [action for action in self.flags() if self._is_usual(action)]

    def _is_usual(self, action: argparse.Action) -> bool:
        usual = {"--help", "--help-all", *(self.command.usual if self.command else ())}
        return not action.option_strings or bool(usual & set(action.option_strings))

    def _short_usage(self) -> str:
        words = [self.prog]
        for action in self._actions:
            name = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
            if not action.option_strings:
                words.append({"?": f"[{name}]", "*": f"[{name} ...]"}.get(str(action.nargs), name))
            elif action.required:
                words.append(f"{action.option_strings[-1]} {name}")
        return " ".join([*words, "[flags]"])

    def _epilog(self) -> str:
        assert self.command is not None
        lines = ["examples:"]
        for purpose, line in self.command.examples:
            lines += [f"  # {purpose}", *_continued(line)]
        if len(self.flags()) > len(self.usual_flags()):
            lines += ["", f"all {len(self.flags())} flags: {self.prog} --help-all"]
        return "\n".join(lines)

    def _refuse_unknown_flags(self, words: Sequence[str]) -> None:
        """Refuse flags that do not exist before argparse says that another one is missing.

        Raises:
            UserError: such a flag, with the nearest one that exists.
        """
        known = self._option_string_actions
        if {"-h", "--help", "--help-all"} & set(words):
            return
        has_commands = leaves(self) != [self]
        for word in words:
            name = word.partition("=")[0]
            if word == "--" or (has_commands and not word.startswith("-")):
                return
            if not word.startswith("-") or word == "-" or " " in word or NUMBER.match(word) or name in known:
                continue
            if not word.startswith("--") and word[:2] in known:
                continue  # -qv
            if has_commands:
                raise UserError(f"unknown flag {name!r} before the command: write flags after it ({self.prog} --help)")
            names = [name for action in self.flags() for name in action.option_strings]
            raise UserError(f"unknown flag {name!r}{_near_flags(name, names) or f'; {self.prog} --help-all lists all'}")

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """Refuse an empty text, such as that of an unset variable of a shell, which would be the current folder.

        A setting of the recipe may be empty: the flag then takes away what a run file sets.
        """
        if "" in arg_strings and action.type is not str and not isinstance(action, argparse._SubParsersAction):
            raise argparse.ArgumentError(action, EMPTY)
        return super()._get_values(action, arg_strings)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a word that is not among the choices of a flag, or no command."""
        if action.choices is None or value in action.choices:
            return
        near = did_you_mean(str(value), map(str, action.choices))
        what = "command" if isinstance(action, argparse._SubParsersAction) else "value"
        raise argparse.ArgumentError(action, f"unknown {what} {value!r}{near}")

    def _sentence(self, name: str | None, message: str) -> str:
        """Return a mistake as one sentence.

        Args:
            name: names of the flag as argparse joins them, or of the positional argument.
            message: what argparse says of it.
        """
        if message.startswith(REQUIRED):
            missing = message.removeprefix(REQUIRED).split(", ")
            verb = "is" if len(missing) == 1 else "are"
            return f"{listed(missing)} {verb} missing: {self.prog} --help has examples"
        flag = (name or "").rpartition("/")[2]
        if message.startswith("unknown command"):
            return message
        if message in (ONE_VALUE, SOME_VALUES):
            return f"{flag} needs a value: {self._example(flag)}"
        if message.startswith(EXCLUDED):
            return f"{flag} cannot be given together with {message.removeprefix(EXCLUDED)}: give one of them"
        if message.startswith(NO_VALUE):
            return f"{flag} takes no value: write it alone"
        if message == EMPTY or message.startswith("must "):
            return f"{flag} {message}"
        return f"{flag}: {message}" if flag else message

    def _too_many(self, words: Sequence[str]) -> str:
        """Return what is wrong with words for which the command has no use, such as what a shell makes of `*.png`."""
        more = f" and {len(words) - 1} more" if len(words) > 1 else ""
        names = [str(action.metavar) for action in self._actions if not action.option_strings]
        if not names:
            return f"{self.prog} has no use for {words[0]!r}{more}: {self.prog} --help has examples"
        folder = "--exclude" in self._option_string_actions
        remedy = "name the folder of the photos (--exclude GLOB leaves some out)" if folder else "leave the rest out"
        return f"{self.prog} takes one {names[-1]}, and {words[0]!r}{more} came after it: {remedy}"

    def _example(self, flag: str) -> str:
        action = self._option_string_actions.get(flag)
        metavar = getattr(action, "metavar", None) or "VALUE"
        return f"{flag} {'|'.join(map(str, action.choices)) if action is not None and action.choices else metavar}"


def leaves(parser: argparse.ArgumentParser) -> list[Any]:
    """Return the parsers of the commands of a parser; the parser itself if it has none."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [leaf for group in groups for child in group.choices.values() for leaf in leaves(child)] or [parser]


def _continued(line: str) -> list[str]:
    """Return the lines of a command that is too long for one; each but the last ends with a backslash."""
    parts = re.split(r" (?=--)", line)
    lines = [f"  {parts[0]}"]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) < EXAMPLE_WIDTH:
            lines[-1] += f" {part}"
        else:
            lines.append(f"      {part}")
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]


def _near_flags(word: str, flags: Iterable[str]) -> str:
    """Return `; did you mean --x?`, or "" where no flag is near."""
    names = {flag.lstrip("-"): flag for flag in flags if flag.startswith("--")}
    near = nearest(word.lstrip("-"), names, cutoff=0.6)
    return f"; did you mean {' or '.join(names[name] for name in near)}?" if near else ""


class _Help(argparse.Action):
    """`--help`."""

    everything = False

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print the help and end the program."""
        assert isinstance(parser, Parser)
        parser._print_message(parser.format_help(everything=self.everything), sys.stdout)
        parser.exit()


class _HelpAll(_Help):
    """`--help-all`."""

    everything = True

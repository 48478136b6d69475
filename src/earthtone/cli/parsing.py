"""How options are typed: a parser of dataclasses of options, whose errors name the nearest option.

`--help` shows what most calls need on one page; `--help-all` shows everything, in sections.
"""

import argparse
import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar, get_args, get_origin

from earthtone.cli import EVERYWHERE, with_options
from earthtone.errors import ConfigError, did_you_mean, one_line
from earthtone.files import read_yaml, read_yaml_file
from earthtone.value_types import (
    NOT_TYPED,
    Options,
    Removed,
    Renamed,
    current_names,
    help_texts,
    is_empty,
    read_text,
    type_hints,
)

O = TypeVar("O", bound=Options)  # noqa: E741


GIVE_PARSER = "--parser\0"  # for completions; a word with a null byte cannot be typed
#: Words that ask what a verb takes.
ASKED = ("-h", "--help", "--help_all", GIVE_PARSER)
_MOST_IN_SHORT_HELP = 12  # of all options of a verb that names no usual ones


class ParserAsked(Exception):  # noqa: N818 - no error: how completions get a verb's parser
    """Carries the parser of a verb that was called with `GIVE_PARSER`."""

    def __init__(self, parser: "Parser") -> None:
        super().__init__()
        self.parser = parser


class _Hand(argparse.Action):
    def __call__(self, parser: Any, *_: Any) -> NoReturn:
        raise ParserAsked(parser)


class _Help(argparse.Action):
    """Print the help and leave; of `--help_all` the whole one."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> NoReturn:
        parser.everything = option_string == "--help_all"
        parser.print_help()
        raise SystemExit(0)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one ConfigError that names the nearest option."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, add_help=False)
        self._negative_number_matcher = re.compile(r"-\.?\d")  # `-20,-5` and `-1e2` are values: no option begins so
        self.everything = False
        self.usual: list[str] = []
        self.stray = ""
        """The option that a word without one was probably meant for."""
        self.former: dict[str, Renamed | Removed] = {}
        self.values: dict[str, tuple[str, ...]] = {}
        """What an option may be, by name, where that is a list."""
        none: dict[str, Any] = {"nargs": 0, "default": argparse.SUPPRESS, "dest": argparse.SUPPRESS}
        self.add_argument("-h", "--help", action=_Help, help="show what most calls need", **none)
        self.add_argument("--help_all", action=_Help, help="show all options, in sections", **none)
        self.add_argument(GIVE_PARSER, action=_Hand, help=argparse.SUPPRESS, **none)

    def error(self, message: str) -> NoReturn:
        known = [*(option for action in self._actions for option in action.option_strings), *EVERYWHERE]
        typed = [word.partition("=")[0].rstrip(":,") for word in message.split() if word.startswith("--")]
        unknown = next((word for word in typed if word not in known), "")
        told = " ".join(message.split())
        helps = "--help" if self._is_short() else "--help-all"
        stray = message.partition("unrecognized arguments: ")[2]
        if self.stray and stray and not stray.startswith("-"):
            told += f"; did you mean --{self.stray} {stray}?"
        raise ConfigError(f"{told}; {did_you_mean(unknown, known)}{self.prog} {helps} names all options")

    def _current_name(self, option: str) -> str:
        """Return what an option of an earlier version is called now. Raises ConfigError for one that is no more."""
        [name] = current_names({option[2:]: None}, self, "--{}")
        return f"--{name}"

    def parse_args(self, words: Sequence[str]) -> argparse.Namespace:  # type: ignore[override]
        words = list(with_options(words, self._current_name))
        for word in words:
            if word == "--":
                break
            if word.startswith("--") and word.partition("=")[0] not in self._option_string_actions:
                self.error(f"unrecognized arguments: {word}")  # said before what lacks: it may be that, misspelt
        return super().parse_args(words)

    def format_help(self) -> str:
        needed = [action for action in self._actions if action.required]
        words = [" ".join([*action.option_strings[:1], action.dest.upper()]) for action in needed]
        indent = " " * len("usage: ")
        told = " ".join([self.prog, *words, "[options]"])
        self.usage = textwrap.fill(told, 80 - len(indent), subsequent_indent=indent, break_on_hyphens=False)
        return super().format_help() if self.everything else self._short_help()

    def _told_options(self) -> list[argparse.Action]:
        return [action for action in self._actions if argparse.SUPPRESS not in (action.help, action.dest)]

    def _is_short(self) -> bool:
        """Whether `--help` shows all options."""
        options = self._told_options()
        return len(options) <= _MOST_IN_SHORT_HELP and not any("." in action.dest for action in options)

    def _short_help(self) -> str:
        """Return the help on one page of 80 columns: the options that most calls need, in a sentence each."""
        options, few = self._told_options(), self._is_short()
        usual = [action for action in options if action.required or action.dest in self.usual]
        formatter = argparse.HelpFormatter(self.prog, max_help_position=26, width=80)
        formatter.add_usage(self.usage, [], [])
        formatter.add_text(self.description)
        formatter.start_section("options" if few else "usual options")
        for action in options if few else usual:
            brief = copy(action)
            brief.help = first_sentence(action.help or "")
            formatter.add_argument(brief)
        formatter.end_section()
        if not few:
            formatter.add_text(f"{self.prog} --help-all shows all {len(options)} options.")
        return formatter.format_help()


def first_sentence(text: str) -> str:
    """Return a help text up to its first full stop or semicolon, with the default that stands at its end."""
    brief = re.split(r"(?<=[a-z0-9)`])[.;] ", text, maxsplit=1)[0].rstrip(".")
    default = re.search(r" \(default: [^()]*\)$", text)
    return brief + (default[0] if default and default[0] not in brief else "")


def make_parser(verb: str, description: str) -> Parser:
    return Parser(prog=f"earthtone {verb}", description=description, allow_abbrev=False)


def parsed(
    verb: str, kind: type[O], words: Sequence[str], more: Callable[[Parser], None] | None = None, **given: Any
) -> tuple[O, argparse.Namespace]:
    """Return the options of a verb as they were typed, and all that the parser found, `more` options too.

    `given` are options of Python alone. Raises ConfigError.
    """
    parser = make_parser(verb, " ".join((kind.__doc__ or "").split()))
    add_options(parser, kind)
    parser.usual += getattr(kind, "usual", ())
    parser.stray = getattr(kind, "stray", "")
    if more is not None:
        more(parser)
    found = parser.parse_args(words)
    return options_of(kind, found, **given), found


def options_of(kind: type[O], found: argparse.Namespace, **given: Any) -> O:
    """Return a verb's options of what its parser found. Raises ConfigError."""
    typed = {field.name: getattr(found, field.name) for field in fields(kind) if hasattr(found, field.name)}
    return kind(**{**typed, **given})


def add_options(parser: Parser, kind: type, prefix: str = "", values: Mapping[str, Any] | None = None) -> None:
    """Add each option of a dataclass and of its sections, but those of Python alone; what is not typed is not set.

    `values` by dotted keys are what the help shows as defaults, in place of the dataclass's own.
    """
    texts, by_name = help_texts(kind), {field.name: field for field in fields(kind)}
    group = parser.add_argument_group(prefix[:-1], " ".join((kind.__doc__ or "").split())) if prefix else parser
    for name, then in getattr(kind, "former", {}).items():
        if isinstance(then, Removed) or then.value is None:  # others were never typed
            parser.former[prefix + name] = replace(then, now=prefix + then.now) if isinstance(then, Renamed) else then
    sections: list[tuple[str, Any]] = []
    for name, hint in type_hints(kind).items():
        if is_dataclass(hint):
            sections.append((name, hint))
        elif get_origin(hint) is not Annotated or NOT_TYPED not in get_args(hint):
            default = by_name[name].default
            shown = default if values is None else values.get(prefix + name, default)
            _add(group, kind, prefix + name, hint, texts[name], default is MISSING and not prefix, shown)
            if values_of := listed_values(hint):
                parser.values[prefix + name] = values_of
    for name, hint in sections:
        add_options(parser, hint, f"{prefix}{name}.", values)


def _add(group: Any, kind: type, name: str, hint: Any, text: str, required: bool, default: Any) -> None:
    shown_anyway = default is None or default is MISSING or default is False or default in ("", ())
    if not shown_anyway and "default" not in text:
        shown = ",".join(map(str, default)) if isinstance(default, (tuple, list)) else default
        text = f"{text} (default: {shown})"
    settings: dict[str, Any] = {"help": text.replace("%", "%%"), "default": argparse.SUPPRESS}
    if name in getattr(kind, "positional", ()):
        place = {} if required else {"nargs": "?", "default": None}
        group.add_argument(name, type=reader(name, hint), **{**settings, **place})
    elif hint is bool and "." not in name:
        group.add_argument(f"--{name}", action="store_true", **settings)
    elif hint == Sequence[str]:
        several = {"nargs": "+"} if required else {"action": "append"}
        group.add_argument(f"--{name}", required=required, **several, **settings)
    else:
        last = name.rpartition(".")[2].upper()
        group.add_argument(f"--{name}", type=reader(f"--{name}", hint), metavar=last, required=required, **settings)


def listed_values(hint: Any) -> tuple[str, ...]:
    """Return what an option of a type may be where that is a list: `mean, attention`, or `true, false`."""
    if get_origin(hint) is Literal:
        return tuple(map(str, get_args(hint)))
    if hint is bool:
        return ("true", "false")
    if get_origin(hint) is Annotated:
        return listed_values(get_args(hint)[0])
    if get_origin(hint) in (dict, Mapping):
        return ()
    return tuple(value for part in get_args(hint) for value in listed_values(part))


def reader(option: str, hint: Any) -> Callable[[str], Any]:
    """Return what reads the text of an option; its ConfigError names the option."""

    def read(text: str) -> Any:
        try:
            return read_text(text, hint)
        except ConfigError as error:
            raise ConfigError(f"{option} {error}") from error

    return read


def read_overrides(parser: Parser, words: Sequence[str], section: type, prefix: str = "") -> argparse.Namespace:
    """Return what a parser with the options of a recipe's `section` finds; options of losses may be typed one by one.

    A section is typed as a file or in braces, `--train FILE.yaml` or `--train {epochs: 3}`. Raises ConfigError.
    """
    single = list(option_words(words, section, prefix))
    for word in single:
        option = word.partition("=")[0]
        owner = option.rpartition(".")[0]
        if (
            owner.endswith(".options")
            and owner in parser._option_string_actions
            and option not in parser._option_string_actions
        ):
            hint = bool | int | float | str | None
            parser.add_argument(option, type=reader(option, hint), default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser.parse_args(single)


def option_words(words: Sequence[str], section: type, prefix: str = "") -> Iterator[str]:
    """Yield the words with sections of the dataclass `section` as single options. Raises ConfigError."""
    kinds = dict(_sections(section, prefix))
    sections = {f"--{name}": name for name in kinds}
    left = iter(words)
    for word in left:
        option, equals, typed = word.partition("=")
        text = typed if equals or option not in sections else next(left, None)
        if option not in sections or text is None:
            yield word
            continue
        for key, value in _leaves(_section(option, text, kinds[sections[option]]), f"{sections[option]}.", sections):
            shown = "" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)
            yield f"--{key}={shown}"


def _sections(section: type, prefix: str) -> Iterator[tuple[str, type]]:
    """Dotted names of a dataclass's sections and their dataclasses, its own first."""
    if prefix:
        yield prefix, section
    for name, hint in type_hints(section).items():
        if is_dataclass(hint):
            yield from _sections(hint, f"{prefix}.{name}" if prefix else name)  # type: ignore[arg-type]


def _leaves(values: Mapping[str, Any], prefix: str, sections: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values; an empty mapping is a value where it is no section: `{options: {}}`."""
    for key, value in values.items():
        if isinstance(value, Mapping) and (value or f"--{prefix}{key}" in sections):
            yield from _leaves(value, f"{prefix}{key}.", sections)
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value


def _section(option: str, text: str, kind: type) -> dict[str, Any]:
    inline = text.lstrip().startswith("{")
    if not inline and text.strip() and not Path(text).exists():
        one = next(iter(type_hints(kind)))
        raise ConfigError(
            f"{option} {one_line(text, 60)}: no such file; {option} is a section of options: FILE.yaml, "
            f"'{{KEY: VALUE}}', or a single one of it, such as {option}.{one}, expected"
        )
    try:
        values = read_yaml(text) if inline else read_yaml_file(Path(text))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{option} {text[:60]} is no YAML of plain values: {error}") from error
    if not isinstance(values, dict):
        found = "nothing" if is_empty(values) else type(values).__name__
        raise ConfigError(f"{option} {text[:60]}: {found} found; a mapping of options expected")
    return values


def early_option(words: Sequence[str], name: str, default: str) -> str:
    """Return the value of an option before the real parser is made; of several the last, as there."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument(name, default=default, dest="found", nargs="?")
    return early.parse_known_args(list(words))[0].found or ""


def typed_options(words: Sequence[str], *names: str) -> list[str]:
    """Return the options that were typed whose names begin with one of `names`, with their values."""
    found: list[str] = []
    for position, word in enumerate(words):
        if word.startswith(names):
            found += [word] if "=" in word else words[position : position + 2]
    return found

"""What the verbs' command lines share: parsers whose errors name the nearest option, common arguments."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, NoReturn, TypeVar, Union, get_args, get_origin

from earthtone.errors import ConfigError, did_you_mean, flat
from earthtone.value_types import (
    NOT_TYPED,
    Options,
    Typed,
    expected,
    help_texts,
    is_empty,
    is_huge,
    may_be_null,
    type_hints,
    wrong,
)

O = TypeVar("O", bound=Options)  # noqa: E741

_NULLS = ("null", "~")  # what YAML takes for nothing


def make_parser(verb: str, description: str) -> Any:
    """A parser whose errors name the nearest option, and which refuses empty values where null has no meaning."""
    import jsonargparse

    from earthtone.files import refuse_hostile_options

    refuse_hostile_options()
    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)

    class Parser(jsonargparse.ArgumentParser):
        def parse_args(self, words: Sequence[str]) -> Any:  # type: ignore[override]
            known = {option: action for action in self._actions for option in action.option_strings}
            found = super().parse_args(list(_full(words, known)))
            for action in self._actions:
                if action.dest in found:
                    _refuse_empty(action, found[action.dest])
            return found

        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            key = message.partition('Parser key "')[2].partition('"')[0]
            hint = next((_hint(action) for action in self._actions if action.dest == key), None)
            given = (message.partition("Given value: ")[2] or message.partition("Got value: ")[2]).split("\n")[0]
            if given and hint is not None:
                raise ConfigError(f"--{key} {given}; {expected(hint)} expected")
            unknown = [word for word in message.split() if word.startswith("--")]
            known = [option for action in self._actions for option in action.option_strings]
            wrong = next((word.split("=")[0] for word in unknown if word.split("=")[0] not in known), "")
            raise ConfigError(
                f"{' '.join(message.split())}; {did_you_mean(wrong, known)}{self.prog} --help names all options"
            )

    return Parser(prog=f"earthtone {verb}", description=description, allow_abbrev=False)


def _full(words: Sequence[str], known: Mapping[str, Any]) -> Iterator[str]:
    """Words with `null` for empty values, and `[0,1,2]` for lists that are typed `0,1,2`.

    Raises ConfigError where that, or a number, is none that an option has.
    """
    left = iter(words)
    for word in left:
        option, equals, typed = word.partition("=")
        action = known.get(option)
        text = typed if equals or action is None or action.nargs == 0 else next(left, None)
        if action is None or action.nargs == 0 or text is None:
            yield word
            continue
        hint = _hint(action)
        if hint is not None and _could_be(int, hint) and is_huge(_whole(text)):
            raise ConfigError(f"{option} is {wrong(_whole(text), hint)}")
        if hint is not None and _is_list(hint) and not is_empty(text) and text.strip() not in _NULLS:
            text = text if text.lstrip()[:1] in ("[", "{") else f"[{text}]"
        if text == action.default or not is_empty(text):
            yield from (f"{option}={text}",) if equals else (option, text)
        elif hint is not None and not may_be_null(hint):
            raise ConfigError(_empty(option, hint))
        else:
            yield f"{option}=null"


def _refuse_empty(action: Any, value: Any) -> None:
    """Raise ConfigError where an option has nothing and null has no meaning."""
    hint = _hint(action)
    if hint is None or value == action.default or may_be_null(hint):
        return
    name = next(iter(action.option_strings), action.dest)
    for part in value if isinstance(value, list) else [value]:
        if is_empty(part) or (part in _NULLS and "." in action.dest):
            raise ConfigError(_empty(name, hint))


def _empty(option: str, hint: Any) -> str:
    return f"{option} is {wrong(None, hint)}; leave it out for the default"


def _hint(action: Any) -> Any:
    return getattr(action, "_typehint", None) or action.type


def _could_be(kind: type, hint: Any) -> bool:
    return hint in (kind, float) or any(_could_be(kind, part) for part in get_args(hint))


def _is_list(hint: Any) -> bool:
    """Whether a type hint has lists of numbers, or tuples, and no text."""
    return hint is not str and (get_origin(hint) in (list, tuple) or any(map(_is_list, _alternatives(hint))))


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) and str not in get_args(hint) else ()


def _whole(text: str) -> int:
    digits = text.strip()
    return int(digits[:50]) if digits.lstrip("+-").isdecimal() else 0


def option_words(words: Sequence[str], config: type, prefix: str = "") -> list[str]:
    """Words with sections of the dataclass `config`, `--train FILE.yaml` or `--train {epochs: 3}`, as single options.

    So that each of their values is read and checked like one that was typed. Raises ConfigError.
    """
    sections = {f"--{name}": name for name in _sections(config, prefix)}
    out: list[str] = []
    left = iter(words)
    for word in left:
        option, equals, typed = word.partition("=")
        text = typed if equals or option not in sections else next(left, None)
        if option not in sections or text is None:
            out.append(word)
            continue
        for key, value in flat(_section(option, text), f"{sections[option]}.").items():
            shown = "" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)
            out.append(f"--{key}={shown}")
    return out


def _sections(config: type, prefix: str) -> Iterator[str]:
    """Dotted names of a dataclass's sections, its own first."""
    from dataclasses import fields, is_dataclass
    from typing import get_type_hints

    if prefix:
        yield prefix
    hints = get_type_hints(config)
    for entry in fields(config):
        if is_dataclass(hints[entry.name]):
            yield from _sections(hints[entry.name], f"{prefix}.{entry.name}" if prefix else entry.name)


def _section(option: str, text: str) -> dict[str, Any]:
    from earthtone.files import read_yaml, read_yaml_file

    inline = text.lstrip().startswith("{")
    try:
        values = read_yaml(text) if inline else read_yaml_file(Path(text))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{option} {text[:60]} is no YAML of plain values: {error}") from error
    if not isinstance(values, dict):
        found = "nothing" if is_empty(values) else type(values).__name__
        raise ConfigError(f"{option} {text[:60]}: {found} found; a mapping of options expected")
    return values


def parsed(
    verb: str, kind: type[O], words: Sequence[str], more: Callable[[Any], None] | None = None, **given: Any
) -> tuple[O, Any]:
    """Return the options of a verb as they were typed, and all that the parser found, `more` options too.

    `given` are options of Python alone. Raises ConfigError.
    """
    parser = make_parser(verb, " ".join((kind.__doc__ or "").split()))
    add_options(parser, kind)
    if more is not None:
        more(parser)
    found = parser.parse_args(words)
    return options_of(kind, found, **given), found


def options_of(kind: type[O], found: Any, **given: Any) -> O:
    """Return a verb's options of what its parser found. Raises ConfigError."""
    typed = {field.name: found[field.name] for field in fields(kind) if field.name in found}
    return kind(**{**typed, **given})


def add_options(parser: Any, kind: type[Options]) -> None:
    """Add each option of a verb but those of Python alone."""
    texts = help_texts(kind)
    by_name = {field.name: field for field in fields(kind)}
    for name, hint in type_hints(kind).items():
        field, text = by_name[name], texts[name]
        required = field.default is MISSING
        if get_origin(hint) is Annotated and NOT_TYPED in get_args(hint):
            continue
        typed = _typed(hint)
        default = {} if required else {"default": _plain(field.default, typed)}
        if field.name in kind.positional:
            parser.add_argument(field.name, type=typed, help=text, **(default and {"nargs": "?", **default}))
        elif hint is bool:
            parser.add_argument(f"--{field.name}", action="store_true", help=text)
        elif hint == Sequence[str]:
            several = {"nargs": "+", "required": True} if required else {"action": "append", "default": []}
            parser.add_argument(f"--{field.name}", type=str, help=text, **several)
        else:
            parser.add_argument(f"--{field.name}", type=typed, help=text, required=required, **default)


def _plain(default: Any, typed: Any) -> Any:
    """A default as it would be typed: several texts as one, numbers as a list."""
    if isinstance(default, tuple):
        return list(default) if typed == list[int] else ",".join(default)
    return default


def _typed(hint: Any) -> Any:
    """The type of which the parser reads an option: numbers and lists of them; all else is a text."""
    kinds = [kind for kind in _alternatives_of(hint) if kind is not type(None)]
    kind = kinds[0] if len(kinds) == 1 else str
    if get_origin(kind) is Annotated:
        kind = str if any(isinstance(note, Typed) for note in get_args(kind)) else get_args(kind)[0]
    if kind == Sequence[int]:
        kind = list[int]
    elif kind not in (int, float) and get_origin(kind) is not tuple:
        kind = str
    return kind | None if len(kinds) < len(_alternatives_of(hint)) else kind


def _alternatives_of(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def early_option(words: list[str], name: str, default: str) -> str:
    """The value of an option before the real parser exists; of several the last, as there."""
    found = default
    for position, word in enumerate(words):
        if word == name and position + 1 < len(words):
            found = words[position + 1]
        if word.startswith(f"{name}="):
            found = word.split("=", 1)[1]
    return found


def typed_options(words: list[str], *names: str) -> list[str]:
    """Return the options that were typed whose names begin with one of `names`, with their values."""
    found: list[str] = []
    for position, word in enumerate(words):
        if word.startswith(names):
            found += [word] if "=" in word else words[position : position + 2]
    return found


def flat_recipe(recipe: Any) -> dict[str, Any]:
    """The recipe's values by dotted key, as the parser takes defaults; the options of a loss are one value."""
    from dataclasses import asdict

    values = asdict(recipe)
    options = {f"{section}.options": values[section].pop("options") for section in ("loss", "within")}
    return {**flat(values), **options}

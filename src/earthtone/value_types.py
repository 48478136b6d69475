"""Types of options: whether a value is what its type says, and how a dataclass of options becomes arguments.

Null and an empty text are both empty: where the type has `None` they mean it, anywhere else they are refused.
"""

import ast
import re
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, getsource, signature
from itertools import pairwise
from numbers import Integral, Real
from pathlib import Path
from textwrap import dedent
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    ParamSpec,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from earthtone.errors import ConfigError, RenamedWarning, did_you_mean, needed_by, one_line
from earthtone.files import read_yaml

_NAMES: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a text",
}
#: The mark of options of Python alone.
NOT_TYPED = "not on the command line"
_NULLS = ("null", "~")  # what YAML takes for nothing
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_WHOLE = re.compile(r"[-+]?\d+")
_BITS = 63  # of a whole number: what tensors and seeds hold


P = ParamSpec("P")
O = TypeVar("O")  # noqa: E741
R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True)
class Rule:
    """What a value must be beside its type: `Annotated[int, Rule("1 or more", lambda n: n >= 1)]`."""

    expected: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Typed:
    """How a text becomes a value of the type that it annotates."""

    parse: Callable[[str], Any]


def may_be_null(hint: Any) -> bool:
    """Return whether a type hint has `None`."""
    return hint is type(None) or type(None) in _choices(hint)


def is_empty(value: Any) -> bool:
    """Return whether a value is null or an empty text."""
    return value is None or (isinstance(value, str) and not value.strip())


def is_huge(value: Any) -> bool:
    """Return whether a whole number is more than tensors, seeds and floats hold."""
    return isinstance(value, Integral) and abs(int(value)) >= 2**_BITS


def fits(value: Any, hint: Any) -> bool:
    """Return whether a value is of a type hint; whole numbers are numbers too, booleans are none."""
    if choices := _choices(hint):
        return any(fits(value, choice) for choice in choices)
    if hint is type(None):
        return value is None
    if hint is Any:
        return True
    if get_origin(hint) is Annotated:
        kind, *notes = get_args(hint)
        return fits(value, kind) and all(note.holds(value) for note in notes if isinstance(note, Rule))
    if get_origin(hint) is Literal:
        return any(isinstance(value, type(choice)) and value == choice for choice in get_args(hint))
    if get_origin(hint) is Callable:
        return callable(value)
    if get_origin(hint) in (list, Sequence) or _is_open(hint):
        return isinstance(value, (tuple, list)) and all(fits(part, get_args(hint)[0]) for part in value)
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        return (
            isinstance(value, (tuple, list))
            and len(value) == len(parts)
            and all(fits(part, kind) for part, kind in zip(value, parts, strict=True))
        )
    if get_origin(hint) in (dict, Mapping):
        key, kind = get_args(hint)
        # an empty text is for who knows the option
        return isinstance(value, Mapping) and all(fits(k, key) and (v == "" or fits(v, kind)) for k, v in value.items())
    if hint in (int, float):
        number = Integral if hint is int else Real
        return isinstance(value, number) and not isinstance(value, bool) and not is_huge(value)
    return isinstance(value, hint) and not (hint is str and is_empty(value))


def _is_open(hint: Any) -> bool:
    """Return whether a type hint is a tuple of any length."""
    return get_origin(hint) is tuple and get_args(hint)[-1:] == (...,)


def expected(hint: Any) -> str:
    """Return what a type hint expects, in words.

    >>> expected(tuple[float, float] | None)
    '[a number, a number], or null'
    """
    kinds = _choices(hint) or (hint,)
    told = " or ".join(dict.fromkeys(_word(kind) for kind in kinds if kind is not type(None)))
    return f"{told}, or null" if may_be_null(hint) else told


def wrong(value: Any, hint: Any) -> str | None:
    """Return what is wrong with a value, `empty; a number expected`, or None where it fits its type hint."""
    if fits(value, hint):
        return None
    if is_empty(value):
        return f"empty; {expected(hint)} expected"
    kinds = [kind for kind in _choices(hint) if kind is not type(None)]
    if len(kinds) == 1 and get_origin(kinds[0]) in (Annotated, Literal):
        return wrong(value, kinds[0])
    if get_origin(hint) is Annotated and not fits(value, get_args(hint)[0]):
        return wrong(value, get_args(hint)[0])
    if get_origin(hint) is Literal and isinstance(value, str):
        return f"{one_line(value):.60}; {did_you_mean(value, get_args(hint))}{expected(hint)} expected"
    if get_origin(hint) is Sequence and isinstance(value, tuple):
        return next(told for part in value if (told := wrong(part, *get_args(hint))) is not None)
    parts = value if isinstance(value, (list, tuple)) else [value]
    if any(map(is_huge, parts)):
        return f"a number of more than {_BITS} bits; {expected(hint)} expected"
    shown = ",".join(map(str, value)) if isinstance(value, tuple) else f"{value!r}"
    return f"{one_line(shown):.60}; {expected(hint)} expected"


def _choices(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else ()


def as_typed(value: Any, hint: Any) -> Any:
    """Return a value as an option of this type holds it; what cannot be brought to the type stays as it is.

    A text as its type reads it, a list as a tuple, a whole number as a float, and so is `1e-4`, which YAML has as text;
    32 as the choice "32".
    """
    if choices := _choices(hint):
        typed = ((as_typed(value, choice), choice) for choice in choices)
        return next((found for found, choice in typed if fits(found, choice)), value)
    if get_origin(hint) is Annotated:
        kind, *notes = get_args(hint)
        readers = [note.parse for note in notes if isinstance(note, Typed)]
        return readers[0](value) if readers and isinstance(value, str) else as_typed(value, kind)
    if get_origin(hint) in (dict, Mapping) and isinstance(value, Mapping):
        return {key: as_typed(part, get_args(hint)[1]) for key, part in value.items()}
    if get_origin(hint) in (tuple, Sequence) and hasattr(value, "tolist"):
        value = value.tolist()  # NumPy's and torch's arrays of numbers; of a single number none is a list
    if get_origin(hint) in (tuple, Sequence) and isinstance(value, (list, tuple, range)):
        closed = get_origin(hint) is tuple and not _is_open(hint)
        kinds = get_args(hint) if closed else get_args(hint)[:1] * len(value)
        return tuple(map(as_typed, value, kinds)) if len(kinds) == len(value) else tuple(value)
    if get_origin(hint) is Literal and fits(value, int) and str(value) in get_args(hint):
        return str(value)  # YAML and Python take `precision: 32` for a number
    if hint is float and (fits(value, int) or (isinstance(value, str) and _NUMBER.fullmatch(value))):
        return float(value)
    return value


def read_text(text: str, hint: Any) -> Any:
    """Return the value of a type that a typed text means: `null` and nothing as None, `4,3,2` and `[4,3,2]` as a tuple.

    Whether it follows its rules is asked later. Raises ConfigError, whose text follows the option's name.
    """
    if is_empty(text) or text.strip() in _NULLS:
        if may_be_null(hint):
            return None
        raise ConfigError(f"is {wrong(None, hint)}; leave it out for the default")
    found: list[Any] = []
    kinds = [get_args(kind) if get_origin(kind) is Annotated else (kind,) for kind in _choices(hint) or (hint,)]
    for kind, *notes in kinds:
        if get_origin(kind) is Literal or any(isinstance(note, Typed) for note in notes):
            return text
        found.append(_of_kind(text, kind))
        if fits(found[-1], kind):
            return found[-1]
    plain = " or ".join(dict.fromkeys(_word(kind) for kind, *_ in kinds if kind is not type(None)))
    if any(is_huge(part) for value in found for part in (value if isinstance(value, tuple) else (value,))):
        raise ConfigError(f"is a number of more than {_BITS} bits; {plain} expected")
    parts = ", ".join(part.strip() for part in without_brackets(text).split(","))
    shown = f"[{parts}]" if any(isinstance(value, tuple) for value in found) else text
    raise ConfigError(f"{one_line(shown):.60}; {plain}{', or null' if may_be_null(hint) else ''} expected")


def _of_kind(text: str, kind: Any) -> Any:
    """What a text means where a type is wanted; the text where it means nothing of it."""
    if kind is bool:
        return {"true": True, "false": False}.get(text.strip().lower(), text)
    if kind in (int, float) and _WHOLE.fullmatch(text.strip()):
        number = int(text.strip()[:50])  # of far more digits Python makes no number
        return number if kind is int or is_huge(number) else float(number)
    if kind is float and _NUMBER.fullmatch(text.strip()):
        return float(text)
    if get_origin(kind) in (list, tuple, Sequence):
        parts = [part.strip() for part in without_brackets(text).split(",")]
        kinds = get_args(kind)
        kinds = kinds if len(kinds) == len(parts) else kinds[:1] * len(parts)  # of another number: refused later
        return tuple(map(_of_kind, parts, kinds))
    if get_origin(kind) in (dict, Mapping):
        try:
            return as_typed(read_yaml(text), kind)
        except ValueError as error:
            raise ConfigError(f"{text[:60]} is no YAML of plain values: {error}") from error
    return text


def without_brackets(text: str) -> str:
    """Return `4,3,2` of `[4,3,2]` and of itself: a list is typed in both ways."""
    bare = text.strip()
    return bare[1:-1] if bare[:1] == "[" and bare[-1:] == "]" else bare


def _word(hint: Any) -> str:
    if get_origin(hint) is Annotated:
        kind, *notes = get_args(hint)
        return next((note.expected for note in notes if isinstance(note, Rule)), _word(kind))
    if get_origin(hint) is Literal:
        *others, last = map(str, get_args(hint))
        return f"{', '.join(others)} or {last}" if others else last
    if get_origin(hint) is tuple and not _is_open(hint):
        return f"[{', '.join(_word(part) for part in get_args(hint))}]"
    if get_origin(hint) in (list, Sequence, tuple):
        return f"[{_word(get_args(hint)[0])}, ...]"
    if get_origin(hint) in (dict, Mapping):
        return "a mapping of options"
    return _NAMES.get(hint, getattr(hint, "__name__", str(hint)))


#: Options of Python alone, such as functions that are called with progress.
PythonOnly = Annotated[T, NOT_TYPED]
PositiveInt = Annotated[int, Rule("1 or more", lambda number: number >= 1)]
NonNegativeInt = Annotated[int, Rule("0 or more", lambda number: number >= 0)]
NonNegativeFloat = Annotated[float, Rule("0 or more, and finite", lambda number: 0 <= number < float("inf"))]
Share = Annotated[float, Rule("a share from 0 to 1", lambda share: 0 <= share <= 1)]
PositiveFloat = Annotated[float, Rule("a number above 0", lambda number: 0 < number < float("inf"))]
Seeds = Annotated[
    Sequence[int],
    Rule(
        "different numbers from 0 on, such as 0,1,2",
        lambda seeds: len(seeds) > 0 and len(set(seeds)) == len(seeds) and min(seeds) >= 0,
    ),
]
AT_LEAST_ONE = Rule("one at least", lambda values: len(values) > 0)
ONCE = Rule("each once", lambda values: len(set(values)) == len(values))
Shots = Annotated[
    Sequence[int],
    Rule(
        "different numbers from 1 on, such as 1,5,10",
        lambda shots: min(shots, default=1) >= 1 and len(set(shots)) == len(shots),
    ),
]


@dataclass(frozen=True)
class Renamed:
    """What an option of an earlier version is now: the old name works, with a warning, until it goes."""

    now: str
    gone: str
    """The version in which the old name goes: the minor version after the one that renamed it."""
    value: Callable[[Any], Any] | None = None
    """What the new option is, of the old one's value; the same when null."""


@dataclass(frozen=True)
class Removed:
    """What is typed instead of an option of an earlier version that is no more."""

    instead: str


#: Options of earlier versions by their old names.
Former = Mapping[str, Renamed | Removed]


def warn_of_renamed(old: str, now: str, gone: str, stacklevel: int = 4) -> None:
    """Warn that a name has changed, at the line that calls a verb's function; the command line prints it."""
    text = f"{old} is {now} now; the old name goes in earthtone {gone}"
    warnings.warn(text, RenamedWarning, stacklevel=stacklevel)


def current_names(values: Mapping[str, Any], options: Any, shown: str = "{}") -> dict[str, Any]:
    """Return values by the names that the options of a dataclass have now, with a warning for each old name.

    `shown` is how a name is told, such as `--{}`. Raises ConfigError for an option that is no more, which says what to
    type instead, and for one that is given by both names.
    """
    former: Former = getattr(options, "former", {})
    found: dict[str, Any] = {}
    for name, value in values.items():
        then = former.get(name)
        if then is None:
            found[name] = value
            continue
        if isinstance(then, Removed):
            raise ConfigError(f"{shown.format(name)} is no option any more; {then.instead}")
        if then.now in values:
            raise ConfigError(f"{shown.format(name)} is {shown.format(then.now)} now, and both are given; leave it out")
        warn_of_renamed(shown.format(name), shown.format(then.now), then.gone)
        found[then.now] = value if then.value is None else then.value(value)
    return found


@dataclass(frozen=True)
class Options:
    """The options of a verb. Values are brought to their types, then checked; a wrong one is a ConfigError."""

    positional: ClassVar[tuple[str, ...]] = ()
    """Options that the command line takes without their name."""
    usual: ClassVar[tuple[str, ...]] = ()
    """Options that the short help shows beside those that must be given; none: a short list is shown whole."""
    former: ClassVar[Former] = {}
    """Options of earlier versions."""

    def __post_init__(self) -> None:
        for option, hint in type_hints(type(self)).items():
            only_python = get_origin(hint) is Annotated and NOT_TYPED in get_args(hint)
            told = f"{option}=" if only_python else f"--{option} "
            try:
                value = as_typed(getattr(self, option), hint)
            except ConfigError as error:
                raise ConfigError(f"{told}{error}") from error
            object.__setattr__(self, option, value)
            if (problem := wrong(value, hint)) is not None:
                raise ConfigError(f"{told}{problem}")
        self.check()

    def check(self) -> None:
        """Raise ConfigError for options that do not go together."""

    def changed(self, *names: str) -> list[str]:
        """Return which of some options differ from their defaults, as they are typed."""
        defaults = {field.name: field.default for field in fields(self)}
        return [f"--{name}" for name in names if getattr(self, name) != defaults[name]]


def type_hints(options: type) -> dict[str, Any]:
    """Return the type of each option by its name, with its rules: positional ones first, inherited ones last."""
    hints = get_type_hints(options, include_extras=True)
    owners = [list(getattr(owner, "__annotations__", ())) for owner in options.__mro__]

    def place(field: Field[Any]) -> int:
        return 1 + next(n for n, own in enumerate(owners) if field.name in own) if field.kw_only is True else 0

    return {field.name: hints[field.name] for field in sorted(fields(options), key=place)}


def section_of(kind: Any, values: Any, source: str, prefix: str = "", *, checked: bool = False) -> Any:
    """Return the dataclass `kind` of the plain values of a YAML file, its own sections too; empty values are null.

    Raises ConfigError for a key that it lacks, naming the nearest one, for an empty value that may not be null, and
    where they are to be `checked` for one of another type.
    """
    if not isinstance(values, Mapping):
        found = "empty" if is_empty(values) else f"{values!r:.60}"
        raise ConfigError(f"{source}: {prefix.rstrip('.')} is {found}; a mapping of options expected, or leave it out")
    hints, made = type_hints(kind), {}
    for key, value in values.items():
        if key not in hints:
            hint = did_you_mean(f"{prefix}{key}", [prefix + name for name in hints])
            raise ConfigError(f"{source}: unknown key {prefix}{key}; {hint}known: {', '.join(hints)}")
        if is_dataclass(hints[key]):
            made[key] = section_of(hints[key], value, source, f"{prefix}{key}.", checked=checked)
        elif is_empty(value) and not may_be_null(hints[key]):
            raise ConfigError(f"{source}: {prefix}{key} is {wrong(None, hints[key])}; leave it out for the default")
        else:
            made[key] = None if is_empty(value) else as_typed(value, hints[key])
            if checked and (problem := wrong(made[key], hints[key])) is not None:
                raise ConfigError(f"{source}: {prefix}{key} is {problem}")
    return kind(**made)


def help_texts(options: type) -> dict[str, str]:
    """Return the text below each option of a dataclass, those of inherited ones too, as one line."""
    found = dict.fromkeys(type_hints(options), "")
    for owner in reversed(options.__mro__):
        if is_dataclass(owner) and owner is not Options:
            try:
                [definition] = ast.parse(dedent(getsource(owner))).body
            except OSError:  # the package without its sources: options stay without texts
                continue
            for field, text in pairwise(definition.body):  # type: ignore[attr-defined]
                if (
                    isinstance(field, ast.AnnAssign)
                    and isinstance(text, ast.Expr)
                    and isinstance(field.target, ast.Name)
                ):
                    found[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return found


def takes(options: Callable[P, O]) -> Callable[[Callable[[O], R]], Callable[P, R]]:
    """Return a decorator: a function of an `options` object is called with its fields as arguments instead.

    With the object itself it can be called too: the command line has one that is checked already.
    """

    known = signature(options).parameters

    def decorate(function: Callable[[O], R]) -> Callable[P, R]:
        @wraps(function)
        def call(*arguments: P.args, **named: P.kwargs) -> R:
            alone = len(arguments) == 1 and not named
            ready = alone and isinstance(options, type) and isinstance(arguments[0], options)
            if not ready:
                named = cast(Any, current_names(named, options, f"{function.__name__}({{}}=)"))
                try:
                    call.__signature__.bind(*arguments, **named)  # type: ignore[attr-defined]
                except TypeError as error:
                    wrong_name = next((name for name in named if name not in known), "")
                    hint = did_you_mean(wrong_name, known)
                    raise TypeError(f"{function.__name__}(): {error}{hint and '; ' + hint.rstrip()}") from None
            with needed_by(function.__name__):
                return function(arguments[0] if ready else options(*arguments, **named))  # type: ignore[arg-type]

        parameters = [known[name].replace(annotation=Parameter.empty) for name in type_hints(options)]  # type: ignore[arg-type]
        call.__signature__ = signature(function).replace(parameters=parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {}
        lines = [f"        {name}: {text}" for name, text in help_texts(options).items()]  # type: ignore[arg-type]
        call.__doc__ = "\n".join([f"{function.__doc__}", "    Options:", *lines, "    "])
        return call

    return decorate

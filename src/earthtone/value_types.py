"""Types of options: whether a value is what its type says, and how a dataclass of options becomes arguments.

Null and an empty text are both empty: where the type has `None` they mean it, anywhere else they are refused.
"""

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, fields
from functools import wraps
from inspect import Parameter, signature
from numbers import Integral, Real
from typing import Annotated, Any, ClassVar, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from earthtone.errors import ConfigError, did_you_mean

_NAMES: Mapping[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
#: The mark of options of Python alone.
NOT_TYPED = "not on the command line"
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
        return value in get_args(hint)
    if get_origin(hint) is Callable:
        return callable(value)
    if get_origin(hint) in (list, Sequence):
        return isinstance(value, (tuple, list)) and all(fits(part, *get_args(hint)) for part in value)
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
        return f"{value:.60}; {did_you_mean(value, get_args(hint))}{expected(hint)} expected"
    if get_origin(hint) is Sequence and isinstance(value, tuple):
        return next(told for part in value if (told := wrong(part, *get_args(hint))) is not None)
    parts = value if isinstance(value, (list, tuple)) else [value]
    shown = ",".join(map(str, value)) if isinstance(value, tuple) else f"{value!r}"
    shown = f"a number of more than {_BITS} bits" if any(map(is_huge, parts)) else f"{shown:.60}"
    return f"{shown}; {expected(hint)} expected"


def _choices(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else ()


def as_typed(value: Any, hint: Any) -> Any:
    """Return a value as an option of this type holds it: a text as its type reads it, a list as a tuple."""
    if choices := _choices(hint):
        typed = ((as_typed(value, choice), choice) for choice in choices)
        return next((found for found, choice in typed if fits(found, choice)), value)
    if get_origin(hint) is Annotated:
        kind, *notes = get_args(hint)
        readers = [note.parse for note in notes if isinstance(note, Typed)]
        return readers[0](value) if readers and isinstance(value, str) else as_typed(value, kind)
    return tuple(value) if isinstance(value, list) and get_origin(hint) in (tuple, Sequence) else value


def _word(hint: Any) -> str:
    if get_origin(hint) is Annotated:
        kind, *notes = get_args(hint)
        return next((note.expected for note in notes if isinstance(note, Rule)), _word(kind))
    if get_origin(hint) is Literal:
        *others, last = map(str, get_args(hint))
        return f"{', '.join(others)} or {last}" if others else last
    if get_origin(hint) is tuple:
        return f"[{', '.join(_word(part) for part in get_args(hint))}]"
    if get_origin(hint) in (list, Sequence):
        return f"[{_word(*get_args(hint))}, ...]"
    if get_origin(hint) in (dict, Mapping):
        return "a mapping of options"
    return _NAMES.get(hint, getattr(hint, "__name__", str(hint)))


#: Options of Python alone, such as functions that are called with progress.
PythonOnly = Annotated[T, NOT_TYPED]
PositiveInt = Annotated[int, Rule("1 or more", lambda number: number >= 1)]
NonNegativeInt = Annotated[int, Rule("0 or more", lambda number: number >= 0)]
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
Shots = Annotated[Sequence[int], Rule("numbers from 1 on, such as 1,5,10", lambda shots: min(shots, default=1) >= 1)]


@dataclass(frozen=True)
class Options:
    """The options of a verb. Values are brought to their types, then checked; a wrong one is a ConfigError."""

    positional: ClassVar[tuple[str, ...]] = ()
    """Options that the command line takes without their name."""

    def __post_init__(self) -> None:
        for option, hint in type_hints(type(self)).items():
            try:
                value = as_typed(getattr(self, option), hint)
            except ConfigError as error:
                raise ConfigError(f"--{option} {error}") from error
            object.__setattr__(self, option, value)
            if (problem := wrong(value, hint)) is not None:
                raise ConfigError(f"--{option} {problem}")
        self.check()

    def check(self) -> None:
        """Raise ConfigError for options that do not go together."""

    def changed(self, *names: str) -> list[str]:
        """Return which of some options differ from their defaults, as they are typed."""
        defaults = {field.name: field.default for field in fields(self)}
        return [f"--{name}" for name in names if getattr(self, name) != defaults[name]]


def type_hints(options: type[Options]) -> dict[str, Any]:
    """Return the type of each option by its name, with its rules: positional ones first, inherited ones last."""
    hints = get_type_hints(options, include_extras=True)
    owners = [list(getattr(owner, "__annotations__", ())) for owner in options.__mro__]

    def place(field: Field[Any]) -> int:
        return 1 + next(n for n, own in enumerate(owners) if field.name in own) if field.kw_only is True else 0

    return {field.name: hints[field.name] for field in sorted(fields(options), key=place)}


def help_texts(options: type[Options]) -> dict[str, str]:
    """Return the text below each option, those of inherited ones too, as one line."""
    from docstring_parser import parse_from_object

    found: dict[str, str] = {}
    for owner in reversed(options.__mro__):
        if issubclass(owner, Options) and owner is not Options:
            told = parse_from_object(owner).params
            found |= {param.arg_name: " ".join((param.description or "").split()) for param in told}
    return {name: found[name] for name in type_hints(options)}


def takes(options: Callable[P, O]) -> Callable[[Callable[[O], R]], Callable[P, R]]:
    """Return a decorator: a function of an `options` object is called with its fields as arguments instead.

    With the object itself it can be called too: the command line has one that is checked already.
    """

    def decorate(function: Callable[[O], R]) -> Callable[P, R]:
        @wraps(function)
        def call(*arguments: P.args, **named: P.kwargs) -> R:
            ready = len(arguments) == 1 and isinstance(options, type) and isinstance(arguments[0], options)
            return function(arguments[0] if ready else options(*arguments, **named))  # type: ignore[arg-type]

        known = signature(options).parameters
        parameters = [known[name].replace(annotation=Parameter.empty) for name in type_hints(options)]  # type: ignore[arg-type]
        call.__signature__ = signature(function).replace(parameters=parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {}
        lines = [f"        {name}: {text}" for name, text in help_texts(options).items()]  # type: ignore[arg-type]
        call.__doc__ = "\n".join([f"{function.__doc__}", "    Options:", *lines, "    "])
        return call

    return decorate

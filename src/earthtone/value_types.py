"""Whether a value is what a type hint says, and in words what it expects; one rule for empty values everywhere.

Null and an empty text are both empty: where the type has `None` they mean it, anywhere else they are refused.
"""

import types
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Union, get_args, get_origin

_NAMES: Mapping[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
_BITS = 63  # of a whole number: what tensors and seeds hold


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
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        return (
            isinstance(value, (tuple, list))
            and len(value) == len(parts)
            and all(fits(part, kind) for part, kind in zip(value, parts, strict=True))
        )
    if get_origin(hint) is dict:
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
    parts = value if isinstance(value, (list, tuple)) else [value]
    shown = f"a number of more than {_BITS} bits" if any(map(is_huge, parts)) else f"{value!r:.60}"
    return f"{shown}; {expected(hint)} expected"


def _choices(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else ()


def _word(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return f"[{', '.join(_word(part) for part in get_args(hint))}]"
    if get_origin(hint) is list:
        return f"[{_word(*get_args(hint))}, ...]"
    if get_origin(hint) is dict:
        return "a mapping of options"
    return _NAMES.get(hint, getattr(hint, "__name__", str(hint)))

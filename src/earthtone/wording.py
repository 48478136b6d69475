"""Parts of error messages: what may have been meant, what has changed."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `did you mean X? ` for the known word nearest to a wrong one, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1) if word else []
    return f"did you mean {near[0]}? " if near else ""


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one with dotted keys; tuples become lists, as JSON would make them."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[prefix + key] = list(value) if isinstance(value, tuple) else value
    return out


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return `key: old -> new; ...` for what differs between two flat mappings; nothing when they are equal."""
    keys = dict.fromkeys([*before, *now])
    found = [f"{key}: {before.get(key)!r} -> {now.get(key)!r}" for key in keys if before.get(key) != now.get(key)]
    return "; ".join(found)

"""Packages hidden from Python as if they were not installed: `python -c`, with this module's `hide` called first."""

import sys
from collections.abc import Collection
from typing import Any


class _Without:
    """A finder of modules that does not find some packages."""

    def __init__(self, finder: Any, packages: Collection[str]) -> None:
        self._finder, self._packages = finder, packages

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        return None if name in self._packages else self._finder.find_spec(name, path, target)


def hide(packages: Collection[str]) -> None:
    """Let imports of these packages fail as they do where they are not installed; before their first import."""
    assert not sys.modules.keys() & set(packages)
    sys.meta_path[:] = [_Without(finder, packages) for finder in sys.meta_path]

"""Plug-ins: losses, encoders, readers, taggers and tasks that other packages and modules add (docs/plugins.md).

An installed package names them in its metadata, as entry points; what an entry point names is imported when its name
is used, not before. A module registers them while it is imported: in Python by `import`, in a shell by `--import`.
"""

import importlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from earthtone.errors import ConfigError, EarthtoneError

T = TypeVar("T")


class Kind(NamedTuple):
    """A kind of plug-ins."""

    group: str
    """Of entry points."""
    check: str
    """The `module:function` of (name, thing) that returns what is used; raises ConfigError for what cannot be."""


KINDS: Mapping[str, Kind] = {
    "loss": Kind("earthtone.losses", "earthtone.losses:plugin_loss"),
    "encoder": Kind("earthtone.encoders", "earthtone.models.encoders:plugin_encoder"),
    "image reader": Kind("earthtone.image_readers", "earthtone.signal.readers:plugin_reader"),
    "audio reader": Kind("earthtone.audio_readers", "earthtone.signal.readers:plugin_reader"),
    "tagger": Kind("earthtone.taggers", "earthtone.build.curate.measure:plugin_tagger"),
    "task": Kind("earthtone.tasks", "earthtone.evaluate.results:plugin_task"),
}
_NAME = re.compile(r"\w[\w.-]*", re.ASCII)
_SUFFIX = re.compile(r"\.\w[\w-]*", re.ASCII)
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass
class Plugin:
    """One plug-in: what it is called, where it comes from; loaded when it is asked for."""

    kind: str
    name: str
    source: str
    """`my-package 1.2`, or `module my_losses`."""
    module: str = ""
    """The module that registered it; nothing for an entry point."""
    entry: EntryPoint | None = None
    _loaded: list[Any] = field(default_factory=list)

    def load(self) -> Any:
        """Return what is used, the same each time. Raises ConfigError, the same each time, where it cannot be."""
        if not self._loaded:
            self._loaded.append(self._load())
        if isinstance(self._loaded[0], ConfigError):
            raise self._loaded[0]
        return self._loaded[0]

    def _load(self) -> Any:
        assert self.entry is not None  # noqa: S101 - one that is registered is loaded
        try:
            return _checked(self.kind, self.name, self.entry.load())
        except (Exception, SystemExit) as error:
            return ConfigError(f"the {self.kind} {self.name!r} of {self.source} cannot be used: {fault_text(error)}")

    def is_entry_of(self, thing: object) -> bool:
        """Return whether an entry point names just this: a package may register what its metadata names too."""
        place = f"{getattr(thing, '__module__', '')}:{getattr(thing, '__qualname__', '')}"
        return self.entry is not None and self.entry.value.partition("[")[0].strip() == place


_registered: dict[tuple[str, str], Plugin] = {}
_imported: list[str] = []


def register_loss(name: str) -> Callable[[T], T]:
    """Return a decorator that makes a subclass of `earthtone.losses.base.Loss` the loss `loss.name` NAME.

    The arguments of its constructor are the loss's options: typed, each with a default; `batch_size` and `dimensions`
    come from the recipe. Raises ConfigError for a name that is taken, and for what is no such class.
    """
    return _register("loss", name)


def register_encoder(name: str) -> Callable[[T], T]:
    """Return a decorator that makes a function the encoder `model.image_encoder` or `model.audio_encoder` NAME.

    It is called with (channels, height, width) and returns a module that takes (N, channels, height, width) and gives
    features (N, F). Where it takes `drop_path` or `output_stride` too, it has those options. Raises ConfigError for a
    name that is taken, also by a model of timm's.
    """
    return _register("encoder", name)


def register_image_reader(suffix: str) -> Callable[[T], T]:
    """Return a decorator that makes a function the reader of images whose names end in `suffix`, such as `.xyz`.

    It is called with a path and returns uint8 (height, width, 3). Raises ConfigError for a suffix that is read already.
    """
    return _register("image reader", suffix)


def register_audio_reader(suffix: str) -> Callable[[T], T]:
    """Return a decorator that makes a function the reader of sounds whose names end in `suffix`, such as `.xyz`.

    It is called with a path and returns (samples, hz): floats (n,) or (n, channels) with a full scale of 1, and samples
    a second. Raises ConfigError for a suffix that is read already.
    """
    return _register("audio reader", suffix)


def register_tagger(name: str) -> Callable[[T], T]:
    """Return a decorator that makes a function the tagger of sounds `earthtone curate --tagger NAME`.

    It is called with at most 10 s of a recording, float32 (samples,) of one channel, and their rate, 16,000 a second;
    it returns a mapping of tags to how sure it is of each, from 0 to 1. Threads call it side by side. Raises
    ConfigError for a name that is taken.
    """
    return _register("tagger", name)


def register_task(name: str) -> Callable[[T], T]:
    """Return a decorator that makes a function the task `earthtone evaluate NAME`.

    Its one argument is annotated with a dataclass derived from `earthtone.value_types.Options`, whose fields are the
    options; it returns a `TaskResult` of earthtone.evaluate.results. Raises ConfigError for a name that is taken.
    """
    return _register("task", name)


def _register(kind: str, name: str) -> Callable[[T], T]:
    module = str(sys._getframe(2).f_globals.get("__name__", "__main__"))  # what a worker must import to have it too

    def keep(thing: T) -> T:
        key = _key(kind, name)
        try:
            made = _checked(kind, key, thing)
        except ConfigError as error:
            raise ConfigError(f"the {kind} {name!r:.60}: {error}") from error
        own = Plugin(kind, key, f"module {module}", module, _loaded=[made])
        other = _registered.get((kind, key))
        if other is not None and other.module != module:  # a cell of a notebook may be run again
            raise ConfigError(f"the {kind} {key!r} is registered by {other.source} already; choose another name")
        for entry in _entries(kind).get(key, ()):
            if not entry.is_entry_of(thing):
                raise ConfigError(f"the {kind} {key!r} is one of {entry.source} already; choose another name")
            own.source = entry.source
        _registered[kind, key] = own
        return thing

    return keep


def _checked(kind: str, name: str, thing: object) -> Any:
    """Return what is used of a thing. Raises ConfigError for a wrong name or thing."""
    if not _is_name(kind, name):
        wanted = "a suffix such as .xyz" if "reader" in kind else "a name of letters, digits, _ . and -"
        raise ConfigError(f"{wanted} expected")
    module, function = KINDS[kind].check.split(":")
    return getattr(importlib.import_module(module), function)(name, thing)


def _is_name(kind: str, name: str) -> bool:
    return (_SUFFIX if "reader" in kind else _NAME).fullmatch(name) is not None


def _key(kind: str, name: Any) -> str:
    return f".{str(name).removeprefix('.').lower()}" if "reader" in kind else str(name)


@cache
def _entries(kind: str) -> Mapping[str, tuple[Plugin, ...]]:
    """Return what installed packages name, without importing any of them."""
    found: dict[str, tuple[Plugin, ...]] = {}
    for entry in entry_points(group=KINDS[kind].group):
        source = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "a package without metadata"
        key = _key(kind, entry.name)
        found[key] = (*found.get(key, ()), Plugin(kind, key, source, entry=entry))
    return found


def plugins_of(kind: str) -> dict[str, Plugin]:
    """Return the plug-ins of a kind by name, none of them loaded; of several packages' with one name the first.

    Names that none may have are left out: these go to scripts of shells, where `$(...)` would be run.
    """
    known = {name: plugins[0] for name, plugins in _entries(kind).items() if _is_name(kind, name)}
    return known | {name: plugin for (own, name), plugin in _registered.items() if own == kind}


def find_plugin(kind: str, name: str) -> Any:
    """Return what is used of the plug-in with a name, loaded now; None where there is none.

    Raises ConfigError for one that cannot be loaded, and for a name of two packages.
    """
    if (plugin := _registered.get((kind, name))) is not None:
        return plugin.load()
    found = _entries(kind).get(name, ())
    if len(found) > 1:
        sources = " and ".join(plugin.source for plugin in found)
        raise ConfigError(f"the {kind} {name!r} is one of {sources}; uninstall one of them")
    return found[0].load() if found else None


@dataclass(frozen=True)
class PluginState:
    """A plug-in as `earthtone plugins` lists it."""

    kind: str
    name: str
    source: str
    """`my-package 1.2`, or `module my_losses`."""
    state: str
    """`ok`, or why it cannot be used."""


def list_plugins() -> list[PluginState]:
    """Return all plug-ins of installed packages and of imported modules; each is loaded, to tell whether it works."""
    found = []
    for kind in KINDS:
        own = {name: plugin for (of, name), plugin in _registered.items() if of == kind}
        entries = [plugin for plugins in _entries(kind).values() for plugin in plugins if plugin.name not in own]
        for plugin in sorted([*own.values(), *entries], key=lambda plugin: plugin.name):
            state = "ok"
            try:
                if plugin.name in own:
                    plugin.load()
                else:
                    find_plugin(kind, plugin.name)
            except ConfigError as error:
                state = str(error)
            found.append(PluginState(kind, plugin.name, plugin.source, state))
    return found


def import_modules(names: Sequence[str]) -> None:
    """Import modules that register plug-ins, from the current folder or the path, as `python -m` looks for them.

    Raises ConfigError for one that cannot be imported, fails meanwhile, or registers a name that exists.
    """
    _imported[:] = dict.fromkeys(names)
    here = str(Path.cwd())
    if names and here not in sys.path:
        sys.path.insert(0, here)
    for name in _imported:
        if name.endswith(".py") or not _MODULE.fullmatch(name):
            hint = f"; type --import {Path(name).stem}" if name.endswith(".py") else ""
            raise ConfigError(f"--import {name!r:.80} is no name of a module{hint}")
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:
            lacking = isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}.")
            why = f"no such module in {here} or on the path (PYTHONPATH)" if lacking else fault_text(error)
            raise ConfigError(f"--import {name}: {why}") from error


def imported_modules() -> list[str]:
    """Return the modules that `--import` named."""
    return list(_imported)


def modules_for_processes(used: Iterable[tuple[str, str]]) -> list[str]:
    """Return the modules that another process imports to have the plug-ins that this one has.

    Raises ConfigError where one of `used`, kinds and names, was registered by the program itself, not by a module.
    """
    for kind, name in used:
        if (plugin := _registered.get((kind, name))) is not None and plugin.module == "__main__":
            raise ConfigError(
                f"the {kind} {name!r} is registered by the program itself, which other processes cannot import; put it "
                "into a module of its own, and import that"
            )
    modules = [plugin.module for plugin in _registered.values() if plugin.module != "__main__"]
    return list(dict.fromkeys([*_imported, *modules]))


def fault_text(error: BaseException, called_by: str = __file__) -> str:
    """Return why a plug-in failed, in one line, with the place in it for what is no error of ours.

    `called_by` is the file of ours that called it.
    """
    if isinstance(error, EarthtoneError):
        return str(error)
    if isinstance(error, SystemExit):
        return "it calls sys.exit; a module that is imported must not"
    said = " ".join(str(error).split())[:300]
    place, trace = "", error.__traceback__
    while trace is not None and not place:  # its own line, not that of a library that it calls
        frame = trace.tb_frame
        if "importlib" not in frame.f_code.co_filename and frame.f_code.co_filename != called_by:
            place = f" ({Path(frame.f_code.co_filename).name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {said}{place}"

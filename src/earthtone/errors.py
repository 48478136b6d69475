"""The errors a user can cause, and the parts their messages are made of.

Each message says what was found, what was expected, and what to type.
"""

import difflib
import errno
import os
import re
import shlex
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

#: What libraries say, as errors of any kind, when the system gives them no memory or no thread.
_NO_MEMORY = (
    "Cannot allocate memory", "cannot allocate memory", "can't allocate memory", "can't start new thread",
    "can't spawn worker thread", "failed to map segment",
)  # fmt: skip
_ADVICE = {
    errno.ENOSPC: "free the disk, or choose another one",
    errno.EDQUOT: "free the disk, or choose another one",
    errno.EMFILE: "allow this program more open files (type: ulimit -n 1024)",
    errno.ENFILE: "close other programs: the system has no room for another open file",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "change its permissions, or choose another path",
    errno.EPERM: "change its permissions, or choose another path",
}


class EarthtoneError(Exception):
    """The base of all errors that are the input's fault; the command line prints it and exits with its code."""

    exit_code = 2


class DataError(EarthtoneError):
    """A manifest, folder or table that cannot be used as it is."""


class SignalError(DataError):
    """One image or one recording that cannot be decoded; a reader of many files counts it and goes on."""


class ConfigError(EarthtoneError):
    """An option, a recipe or a combination of them that makes no sense."""


class ModelError(EarthtoneError):
    """Weights or a model card that do not fit what was asked for."""


class FormatError(DataError, ModelError):
    """A file of earthtone's own whose version is no version."""


class NewerFormatError(FormatError):
    """A whole file that a later earthtone wrote: no damaged one, to be made anew or passed over."""


class MissingExtraError(SignalError):
    """A package that is not installed, or broken, and what to type; a reader of many files counts it and goes on."""

    SAID = "; type: pip install "

    def __init__(self, what: str, package: str, broken: ImportError | None = None) -> None:
        """`what`, a function's name or such as `FILE: AAC`, needs a package of `EXTRA_OF`; `broken`: it is there."""
        if broken is not None:
            from importlib.metadata import packages_distributions

            wanted = f"--force-reinstall {packages_distributions().get(package, [package])[0]}"
            found = f"cannot be imported ({one_line(' '.join(str(broken).split()), 300)})"
        else:
            extra = "train" if EXTRA_OF[package] == "evaluate" and what in _TRAINING else EXTRA_OF[package]
            extra = "atlas" if extra in ("evaluate", "geo") and what in _ATLAS else extra
            extra = "build" if extra in ("evaluate", "geo", "atlas") and what in _BUILD else extra
            wanted = f"'earthtone[{extra}]'" if extra else "earthtone"
            found = "is not installed"
        super().__init__(f"{what} needs {package}, which {found}{self.SAID}{wanted}")


class ProcessError(EarthtoneError):
    """Another process of a training has ended, or cannot be reached."""


class RenamedWarning(DeprecationWarning):
    """A name of an earlier version was used; it works for one minor version more. The command line prints it."""


#: The extra that brings a package (pyproject.toml), by the name it is imported by; "" for those of every installation.
EXTRA_OF: Mapping[str, str] = {
    "PIL": "", "cv2": "", "filelock": "", "httpx2": "", "huggingface_hub": "", "jinja2": "", "markupsafe": "",
    "numpy": "", "safetensors": "", "soundfile": "", "soxr": "", "timm": "", "torch": "", "torchvision": "",
    "tqdm": "", "yaml": "",
    "h3": "geo", "lance": "evaluate", "matplotlib": "evaluate", "pyarrow": "evaluate", "scipy": "evaluate",
    "segmentation_models_pytorch": "evaluate", "sklearn": "evaluate",
    "lightning": "train", "tensorboard": "train",
    "morecantile": "atlas", "pmtiles": "atlas", "pyproj": "atlas", "shapely": "atlas",
    "iso3166": "build", "silero_vad": "build", "tinytag": "build",
    "onnx": "export", "onnxruntime": "export", "onnxscript": "export",
    "fastapi": "serve", "prometheus_client": "serve", "pydantic": "serve", "starlette": "serve", "uvicorn": "serve",
    "av": "aac", "rasterio": "geo", "torchgeo": "torchgeo", "umap": "umap",
    "datasets": "mteb", "mteb": "mteb", "ray": "ray",
}  # fmt: skip
#: Functions that need all of `train`, which holds `evaluate`, whatever they lack first.
_BUILD = ("build_dataset", "curate", "explain_curation", "recordings")  # of `build`, which holds `atlas`
_ATLAS = ("map", "map_similarity", "tiles")  # likewise of `atlas`
_TRAINING = ("check", "pack", "pretrain", "sweep", "demo", "reproduce_paper")


@contextmanager
def needed_by(what: str) -> Iterator[None]:
    """Turn a package that is not installed or broken into a MissingExtraError; one that we do not bring stays as it is.

    Broken is one whose own code fails to import, such as a library of the system's that it lacks.
    """
    try:
        yield
    except ImportError as error:
        name, importer = error.name or "", _importer(error)
        if isinstance(error, ModuleNotFoundError) and name in EXTRA_OF:
            raise MissingExtraError(what, name) from error
        package = name.partition(".")[0] if importer == "earthtone" else importer
        if package not in EXTRA_OF or any(part in str(error) for part in _NO_MEMORY):
            raise
        raise MissingExtraError(what, package, broken=error) from error


def _importer(error: ImportError) -> str:
    """Return the package of the code that could not import something."""
    found, trace = "", error.__traceback__
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        found = found if name in ("importlib", "_frozen_importlib", "_frozen_importlib_external") else name
        trace = trace.tb_next
    return found


#: Controls, formats such as those that turn the direction of writing, halves of characters, further line ends.
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `did you mean X? ` for the known word nearest to a wrong one, or nothing.

    >>> did_you_mean("--train.lr", ["--train.seed", "--train.learning_rate"])
    'did you mean --train.learning_rate? '
    """
    near = nearest(word, list(known))
    return f"did you mean {near}? " if near else ""


def nearest(word: str, known: Sequence[str]) -> str | None:
    """Return the known word that a wrong one most likely stands for: `InfoNCE` for infonce, `lr` for learning_rate.

    Dotted words are compared by their last parts too, so that an option is found in another section. None where none
    is near.
    """
    last = _plain(word.rpartition(".")[2])
    if not last:
        return None
    ends = {name: name.rpartition(".")[2] for name in known}
    same = (
        [name for name in known if _plain(name) == _plain(word)],
        [name for name, end in ends.items() if _plain(end) == last],
        [name for name, end in ends.items() if len(last) > 1 and "".join(part[:1] for part in _parts(end)) == last],
        [name for name, end in ends.items() if len(last) > 3 and _plain(end).startswith(last)],
    )
    for found in same:
        if found:
            return difflib.get_close_matches(word, found, n=1, cutoff=0.0)[0]
    bare = {name.lstrip("-"): name for name in known}  # dashes are alike in all options
    close = [bare[name] for name in difflib.get_close_matches(word.lstrip("-"), bare, n=1)]
    if not close:
        end = difflib.get_close_matches(last, [_plain(end) for end in ends.values()], n=1, cutoff=0.75)
        close = [name for name in known if end and _plain(ends[name]) == end[0]]
    return close[0] if close else None


def _parts(name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", name.lower())


def _plain(name: str) -> str:
    return "".join(_parts(name))


def printable(text: str, longest: int | None = None) -> str:
    """Return text with control characters but line ends written out (`\\x1b`); the middle of a long one is cut.

    Names from files could otherwise move the cursor of a terminal, rename its window, or turn words around.
    """
    if longest is not None and len(text) > longest:
        text = f"{text[: longest // 2]} ... {text[-longest // 2 :]}"
    return "\n".join(_visible(line) for line in text.split("\n"))


def one_line(text: str, longest: int | None = None) -> str:
    """Return text as `printable` does, with line ends written out too: no name can begin a line of its own."""
    return _visible(printable(text, longest))


#: What begins a formula in spreadsheets; full-width signs, too.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def no_formula(text: str) -> str:
    """Return a cell of one line, without controls, that no spreadsheet takes for a formula."""
    text = one_line(text)
    return f"'{text}" if text.startswith(FORMULA) else text


def one_line_each(lines: Iterable[str]) -> str:
    """Return lines as one text; line ends within them were in names and are written out."""
    return "\n".join(map(one_line, lines))


def _visible(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(c if unicodedata.category(c) not in UNSEEN else ascii(c)[1:-1] for c in line)


def shell_line(*words: object) -> str:
    """Return words as a shell reads them back: quoted where they must be, in printable letters only."""
    return " ".join(map(_quoted, map(str, words)))


def _quoted(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    letters = (f"\\x{byte:02x}" if byte < 32 or byte > 126 or byte in b"'\\" else chr(byte) for byte in _bytes(word))
    return f"$'{''.join(letters)}'"  # as bash, zsh and ksh read it


def _bytes(word: str) -> bytes:
    """Return a word as the system passes it; undecodable bytes as they were."""
    try:
        return word.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # other halves of characters, which no word of a shell holds
        return word.encode("utf-8", "replace")


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one with dotted keys; tuples become lists, as JSON would make them."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return out


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return `key: old -> new; ...` for what differs between two flat mappings; nothing when they are equal."""
    keys = dict.fromkeys([*before, *now])
    found = [f"{key}: {before.get(key)!r} -> {now.get(key)!r}" for key in keys if before.get(key) != now.get(key)]
    return "; ".join(found)


def system_error_text(error: BaseException) -> str | None:
    """Return one line on an error that comes of this computer or its files; None for what may be a fault of ours."""
    said = " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(part in said for part in _NO_MEMORY):
        return f"not enough memory ({said[:160] or 'none is left'}); close other programs, or allow this one more"
    if not isinstance(error, OSError) and os.strerror(errno.EMFILE) in said:  # a panic of Lance's
        return f"{os.strerror(errno.EMFILE)}; {_ADVICE[errno.EMFILE]}"
    if isinstance(error, OSError) and error.errno is not None:
        place = "" if error.filename is None else f"{error.filename}: "
        return f"{place}{error.strerror}; {_ADVICE.get(error.errno, 'another path was expected')}"
    if isinstance(error, UnicodeEncodeError):
        return f"{error.object[:300]!r}: holds bytes that are no text, or letters that no name has here; rename it"
    return None

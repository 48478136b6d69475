"""The command line. Nothing heavy is imported before a verb is known and its options are right."""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module

from earthtone import __version__
from earthtone.errors import ConfigError, EarthtoneError, did_you_mean, needed_by, system_error_text
from earthtone.plugins import import_modules
from earthtone.processors import limit_library_threads
from earthtone.terminal import (
    error_text,
    guard_output,
    guarded_output,
    log_level,
    lose_output,
    lose_reader,
    old_names_told,
)

_LONGEST_ERROR = 2000
#: What `--log_level` may be.
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
#: Options of every verb, which are read before the verb's own.
EVERYWHERE: Mapping[str, str] = {
    "--quiet": "no bars, no notes, no warnings",
    "--log_level": "which messages are shown",
    "--debug": "show the traceback of an error",
    "--import": "a module that registers plug-ins",
}
_HELP = """\
usage: earthtone VERB [options]        earthtone VERB --help tells a verb's options

Learn image and audio encoders, without a label, from sound and overhead imagery of the same place.

{verbs}

with every verb: --help (what most calls need), --help-all, --quiet (no bars, no notes, no warnings),
--log_level debug|info|warning|error, --debug (show the traceback of an error),
--import MODULE (plug-ins: docs/plugins.md); earthtone --version

Completion by the tab key: earthtone completion --help

On your own data:
  earthtone check my/manifest.csv
  earthtone pretrain my/manifest.csv --recipe small --out runs/first
  earthtone evaluate retrieval --model runs/first --data runs/first/table.lance
"""

#: Verbs that use a trained model; their functions lie in atlas_verbs.py.
ATLAS_VERBS: Mapping[str, str] = {
    "embed": "vectors of images and sounds of any data, as one table; stops and goes on",
    "tiles": "cut imagery into tiles of so many metres: rasters, tile servers, WMS, STAC",
    "index": "merge, add, remove and place what was embedded; write what makes search fast, GeoParquet, STAC",
    "search": "find what is most like a sound, an image, a place or an id, in a folder of embeddings",
    "serve": "the page: map, embedding space, search by sound and image, listening, in the browser",
    "map": "where would a region sound like this? GeoTIFF, PNG, PMTiles, a page",
    "export": "towers for other programs: timm, torchvision, ONNX, torch.export, safetensors, the hub's mixin",
    "push": "put a model on the Hugging Face hub, with its card",
    "pull": "fetch a model from the hub; never code, never pickles",
}
#: What each verb does; its function has its name and lies in verbs.py.
VERBS: Mapping[str, str] = {
    "demo": "the whole way on a toy world, in a few minutes",
    "toyworld": "make a synthetic world of images and sounds",
    "fetch": "bring a public data set to a folder; without a name: the catalogue",
    "recordings": "a folder of field recordings to a manifest: start, place, device and faults of each",
    "build": "make a data set by a recipe: recordings, imagery, curation, split, packed table, data card",
    "check": "look at data: counts, sizes, broken and missing files, duplicates",
    "curate": "keep the rows worth training on: silence, clipping, duplicates, licences, places; each row explained",
    "publish": "a data set as a folder to upload: Parquet with media, places, licences, credits, data card",
    "describe": "what a data set is: counts, hours, licences, places, times; page, data card, credits",
    "split": "deal rows out to train, val and test without leaks; look at a split that is there",
    "pack": "decode pairs once into a table that training reads fast",
    "pretrain": "train two encoders on pairs",
    "sweep": "train every combination of a grid with every seed; one table of what they reach on val",
    "evaluate": "measure a model",
    "doctor": "is a model healthy? spread, rank, modality gap, hubs; a collapsed tower is exit 1",
    "reproduce": "run the steps of the SoundingEarth paper: published figures beside ours",
    "convert": "write a checkpoint of the SoundingEarth release as a model of ours",
    **ATLAS_VERBS,
    "plugins": "losses, encoders, readers, taggers and tasks that other packages and modules add",
    "completion": "print what makes the tab key complete verbs and options in bash, zsh or fish",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code: 0, 1 (checked and found wanting), 2 (wrong use or input), 130 (Ctrl-C).

    What is printed is guarded (terminal.py): where the process is our own, until it ends.
    """
    if argv is not None:
        with guarded_output():
            return _run(list(argv))
    guard_output()
    return _run(sys.argv[1:])


def _run(words: list[str]) -> int:
    if any("\0" in word for word in words):
        return _wrong("an option holds a null byte, which no path has")
    debug = "--debug" in words[: words.index("--") if "--" in words else None]  # also where another one is wrong
    try:
        try:
            limit_library_threads()
            own, level, modules = without_everywhere(words)
            with log_level(level), old_names_told():
                import_modules(modules)
                return _told(own)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # what cannot be written is told here, not by the interpreter when it ends
    except EarthtoneError as error:
        if debug:
            raise
        return _wrong(str(error), error.exit_code)
    except KeyboardInterrupt:
        print("earthtone: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        lose_reader()
        return 141
    except BaseException as error:  # Lance, written in Rust, panics beside Exception
        reason = system_error_text(error)
        if debug or reason is None:
            raise
        if isinstance(error, OSError) and error.filename is None:
            lose_output()  # where standard output is what cannot be written, it must not be tried again
        return _wrong(reason)


def _told(words: list[str]) -> int:
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    if not words or words[0] in ("-h", "--help"):
        print(_HELP.format(verbs="\n".join(f"  {name:<10} {text}" for name, text in VERBS.items())))
        return 0 if words else 2
    if words[0] == "--version":
        print(f"earthtone {__version__}")
        return 0
    with needed_by(words[0]):
        return find_verb(words[0])(list(with_options(words[1:], underscored)))


def without_everywhere(words: Sequence[str]) -> tuple[list[str], int | None, list[str]]:
    """Return the words without the options of `EVERYWHERE`, the level of messages that they mean, modules to import.

    Raises ConfigError.
    """
    left, others, level, modules = iter(words), list[str](), None, list[str]()
    for word in left:
        option, equals, value = word.partition("=")
        option = underscored(option) if word.startswith("--") else ""
        if word == "--":
            others.append(word)
            break
        if word in ("--debug", "--quiet"):
            level = logging.INFO if word == "--debug" else logging.ERROR
        elif option == "--log_level":
            value = value if equals else next(left, "")
            if value.lower() not in LEVELS:
                raise ConfigError(f"--log_level {value}; {did_you_mean(value, LEVELS)}one of {', '.join(LEVELS)}")
            level = LEVELS[value.lower()]
        elif option == "--import":
            if not (value := value if equals else next(left, "")):
                raise ConfigError("--import needs the name of a module, such as --import my_losses")
            modules.append(value)
        else:
            others.append(word)
    return [*others, *left], level, modules


def with_options(words: Sequence[str], change: Callable[[str], str]) -> Iterator[str]:
    """Yield the words with each option by the name that `change` gives it; values stay, as does what follows `--`."""
    left = iter(words)
    for word in left:
        if word == "--":
            yield word
            break
        option, equals, value = word.partition("=")
        yield f"{change(option)}{equals}{value}" if word.startswith("--") else word
    yield from left


def underscored(option: str) -> str:
    """Return `--data_root` for `--data-root`."""
    return f"--{option[2:].replace('-', '_')}"


def _wrong(text: str, code: int = 2) -> int:
    print(f"earthtone: {error_text(text, _LONGEST_ERROR)}", file=sys.stderr)
    return code


def find_verb(name: str) -> Callable[[list[str]], int]:
    if name not in VERBS:
        raise ConfigError(f"no verb {name!r}; {did_you_mean(name, list(VERBS))}earthtone --help names all")
    home = "earthtone.cli.atlas_verbs" if name in ATLAS_VERBS else "earthtone.cli.verbs"
    function: Callable[[list[str]], int] = getattr(import_module(home), name)
    return function

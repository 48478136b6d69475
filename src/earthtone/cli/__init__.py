"""The command line: one file a verb. Nothing heavy is imported before a verb is known and its options are right."""

import errno
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

from earthtone import __version__
from earthtone.errors import ConfigError, EarthtoneError
from earthtone.wording import did_you_mean, printable

_LONGEST_ERROR = 2000

_HELP = """\
usage: earthtone VERB [options]        earthtone VERB --help tells a verb's options

Learn image and audio encoders, without a label, from sound and overhead imagery of the same place.

{verbs}

options: --version, --help, --debug (show the traceback of an error)

On your own data:
  earthtone check my/manifest.csv
  earthtone pretrain my/manifest.csv --recipe small --out runs/first
  earthtone evaluate retrieval --model runs/first --data runs/first/table.lance
"""

#: What each verb does; its function lies in the module of its name.
VERBS: Mapping[str, str] = {
    "demo": "the whole way on a toy world, in a few minutes",
    "toyworld": "make a synthetic world of images and sounds",
    "fetch": "bring a public data set to a folder; without a name: the catalogue",
    "check": "look at data: counts, sizes, broken and missing files, duplicates",
    "pack": "decode pairs once into a table that training reads fast",
    "pretrain": "train two encoders on pairs",
    "sweep": "train every combination of a grid with every seed; one table of what they reach on val",
    "evaluate": "measure a model",
    "reproduce": "run the steps of the SoundingEarth paper: published figures beside ours",
    "convert": "write a checkpoint of the SoundingEarth release as a model of ours",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code: 0, 1 (checked and found wanting), 2 (wrong use or input), 130 (Ctrl-C)."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(_HELP.format(verbs="\n".join(f"  {name:<10} {text}" for name, text in VERBS.items())))
        return 0 if words else 2
    if words[0] == "--version":
        print(f"earthtone {__version__}")
        return 0
    if any("\0" in word for word in words):
        return _wrong("an option holds a null byte, which no path has")
    logging.basicConfig(level=logging.INFO if debug else logging.WARNING, format="%(message)s")
    try:
        return _verb(words[0])(words[1:])
    except EarthtoneError as error:
        if debug:
            raise
        return _wrong(str(error))
    except KeyboardInterrupt:
        print("earthtone: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone: nothing to say, nobody to say it to
        return 141
    except OSError as error:
        if debug or error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
            raise
        return _wrong(f"{error.filename}: {error.strerror}; another path was expected")


def _wrong(text: str) -> int:
    print(f"earthtone: {printable(text, _LONGEST_ERROR)}", file=sys.stderr)
    return 2


def _verb(name: str) -> Callable[[list[str]], int]:
    if name not in VERBS:
        raise ConfigError(f"no verb {name!r}; {did_you_mean(name, list(VERBS))}earthtone --help names all")
    function: Callable[[list[str]], int] = getattr(import_module(f"earthtone.cli.{name}"), name)
    return function

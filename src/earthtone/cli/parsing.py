"""What the verbs' command lines share: parsers whose errors name the nearest option, common arguments."""

from typing import Any, NoReturn

from earthtone.errors import ConfigError
from earthtone.wording import did_you_mean


def make_parser(verb: str, description: str) -> Any:
    """A parser whose errors name the nearest option."""
    import jsonargparse

    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)

    class Parser(jsonargparse.ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            unknown = [word for word in message.split() if word.startswith("--")]
            known = [option for action in self._actions for option in action.option_strings]
            wrong = next((word.split("=")[0] for word in unknown if word.split("=")[0] not in known), "")
            raise ConfigError(
                f"{' '.join(message.split())}; {did_you_mean(wrong, known)}{self.prog} --help names all options"
            )

    return Parser(prog=f"earthtone {verb}", description=description, allow_abbrev=False)


def data_arguments(parser: Any, also: str = "") -> None:
    parser.add_argument(
        "data",
        type=str,
        help=f"manifest (CSV, GeoJSON, Parquet, GeoParquet), release folder, or hf://datasets/OWNER/NAME{also}",
    )
    columns_argument(parser)


def model_arguments(parser: Any) -> None:
    parser.add_argument("--model", required=True, type=str, help="a run's folder, a .safetensors or release .pt file")
    parser.add_argument(
        "--data", required=True, type=str, help="packed table (or s3://...), manifest, release, hf://..."
    )
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or mps")
    columns_argument(parser)


def columns_argument(parser: Any) -> None:
    parser.add_argument(
        "--columns",
        type=str | None,
        default=None,
        help="other names of columns: image=file,id=key; datetime= leaves it unread",
    )


def split_arguments(parser: Any) -> None:
    parser.add_argument(
        "--split_by", type=str | None, default=None,
        help="deal the rows out: manifest (the default: their own splits), blocks, buffered-blocks, key-digit, geoclap "
        "or psm-cells",
    )  # fmt: skip
    parser.add_argument(
        "--buffer_km", type=float | None, default=None,
        help="with buffered-blocks: leave out pairs this near to a block of another split; default 1",
    )  # fmt: skip


def columns_mapping(text: str | None) -> dict[str, str] | None:
    """`image=file,id=key` as a mapping; `datetime=` maps it to nothing."""
    if text is None:
        return None
    parts = [part.split("=", 1) for part in text.split(",")]
    if any(len(part) != 2 or not part[0].strip() for part in parts):
        raise ConfigError(f"--columns {text}; OURS=THEIRS,OURS=THEIRS expected, such as image=file,id=key")
    return {ours.strip(): theirs.strip() for ours, theirs in parts}


def early_option(words: list[str], name: str, default: str) -> str:
    """The value of an option before the real parser exists."""
    for position, word in enumerate(words):
        if word == name and position + 1 < len(words):
            return words[position + 1]
        if word.startswith(f"{name}="):
            return word.split("=", 1)[1]
    return default


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

    from earthtone.wording import flat

    values = asdict(recipe)
    options = {f"{section}.options": values[section].pop("options") for section in ("loss", "within")}
    return {**flat(values), **options}

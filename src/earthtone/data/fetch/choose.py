"""Which files of a set `--subset` means."""

from collections.abc import Sequence

from earthtone.data.fetch.catalogue import RemoteFile
from earthtone.errors import ConfigError
from earthtone.wording import did_you_mean


def chosen(files: Sequence[RemoteFile], subset: str | None, name: str) -> tuple[RemoteFile, ...]:
    """Return the files of the named parts; a number keeps the first so many Parquet files of each part.

    `images,metadata` names parts, `train,2` the first two Parquet files of `train`, `2` those of every part.
    Raises ConfigError naming the parts that there are.
    """
    if subset is None:
        return tuple(files)
    words = [word.strip() for word in subset.split(",") if word.strip()]
    numbers = [int(word) for word in words if word.isascii() and word.isdigit()]
    parts = [word for word in words if not (word.isascii() and word.isdigit())]
    known = list(dict.fromkeys(file.part for file in files))
    for part in parts:
        if part not in known:
            raise ConfigError(f"{name} has no part {part!r}; {did_you_mean(part, known)}its parts: {', '.join(known)}")
    if not words or len(numbers) > 1 or 0 in numbers:
        raise ConfigError(f"--subset {subset}; names of parts ({', '.join(known)}) and at most one number expected")
    kept = [file for file in files if not parts or file.part in parts]
    if not numbers:
        return tuple(kept)
    if not any(file.name.endswith(".parquet") for file in kept):
        raise ConfigError(f"--subset {subset}: {name} has no Parquet files to count; its parts: {', '.join(known)}")
    return tuple(file for part in known for file in [one for one in kept if one.part == part][: numbers[0]])

"""The verbs that use a trained model, as `verbs.py` has the others."""

from typing import Any

import earthtone
from earthtone.atlas import options as told
from earthtone.cli.parsing import parsed
from earthtone.terminal import json_text


def _json(parser: Any) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def map(words: list[str]) -> int:  # noqa: A001 - the verb's name
    """Draw where a region would sound like given sounds."""
    options, found = parsed("map", told.MapOptions, words, _json)
    result = earthtone.map_similarity(options)
    print(json_text(result.to_dict()) if found.json else result.to_text())
    return 0

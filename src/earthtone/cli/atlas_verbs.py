"""The verbs that use a trained model, as `verbs.py` has the others."""

from typing import Any

from earthtone.atlas import options as told
from earthtone.cli.parsing import parsed
from earthtone.cli.verbs import call
from earthtone.terminal import json_text


def _json(parser: Any) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def map(words: list[str]) -> int:
    """Draw where a region would sound like given sounds."""
    options, found = parsed("map", told.MapOptions, words, _json)
    result = call("map_similarity", options)
    print(json_text(result.to_dict()) if found.json else result.to_text())
    return 0

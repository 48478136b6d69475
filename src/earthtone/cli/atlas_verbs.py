"""The verbs that use a trained model: its vectors, maps and exports. As verbs.py, whose helpers they share."""

from earthtone.atlas import options as told
from earthtone.cli.parsing import parsed
from earthtone.cli.verbs import _json, _next, call
from earthtone.terminal import json_text


def tiles(words: list[str]) -> int:
    options, found = parsed("tiles", told.TilesOptions, words, _json)
    result = call("tiles", options)
    print(json_text(result.to_dict()) if found.json else result.to_text())
    if not found.json:
        model = options.model if options.model is not None else "MODEL"
        print(f"next: {_next('embed', '--model', model, '--data', options.out, '--out', 'embeddings')}")
    return 0

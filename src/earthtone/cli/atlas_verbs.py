"""The verbs that use a trained model: its vectors, maps and exports. As verbs.py, whose helpers they share."""

from earthtone.atlas import options as told
from earthtone.cli.parsing import parsed
from earthtone.cli.verbs import _json, _next, _say, call
from earthtone.exports import options as told_exports
from earthtone.terminal import json_text


def embed(words: list[str]) -> int:
    """Vectors of images and sounds of any data as one table; stopped, it goes on when it is repeated."""
    options, found = parsed("embed", told.EmbedOptions, words, _json)
    try:
        result = call("embed", options)
    except KeyboardInterrupt:
        _say(f"stopped; go on with: {_next('embed', *words)}")
        return 130
    print(json_text(result.to_dict()) if found.json else result.to_text())
    return 0


def index(words: list[str]) -> int:
    """Merge, add, remove and place what was embedded."""
    options, found = parsed("index", told.IndexOptions, words, _json)
    result = call("build_index", options)
    if found.json:
        print(json_text(result.to_dict()))
        return 0
    print(f"{result.to_text()}\nnext: {_next('search', options.folder, '--like', 'FILE')}")
    return 0


def search(words: list[str]) -> int:
    """Rank the rows of a folder of embeddings by a query, or by marks."""
    options, found = parsed("search", told.SearchOptions, words, _json)
    result = call("search", options)
    print(json_text(result.to_dict()) if found.json else result.to_text())
    return 0


def tiles(words: list[str]) -> int:
    options, found = parsed("tiles", told.TilesOptions, words, _json)
    result = call("tiles", options)
    print(json_text(result.to_dict()) if found.json else result.to_text())
    if not found.json:
        model = options.model if options.model is not None else "MODEL"
        print(f"next: {_next('embed', '--model', model, '--data', options.out, '--out', 'embeddings')}")
    return 0


def map(words: list[str]) -> int:
    """Draw where a region would sound like given sounds."""
    options, found = parsed("map", told.MapOptions, words, _json)
    try:
        result = call("map_similarity", options)
    except KeyboardInterrupt:
        _say(f"stopped; go on with: {_next('map', *words)}")
        return 130
    print(json_text(result.to_dict()) if found.json else result.to_text())
    return 0


def export(words: list[str]) -> int:
    """Write a model's towers for other programs."""
    options, found = parsed("export", told_exports.ExportOptions, words, _json)
    result = call("export", options)
    print(json_text(result.to_dict()) if found.json else result.to_text())
    return 0


def push(words: list[str]) -> int:
    """Put a model on the hub, with its card."""
    options, found = parsed("push", told_exports.PushOptions, words, _json)
    result = call("push", options)
    print(json_text(result.to_dict()) if found.json else result.to_text())
    return 0


def pull(words: list[str]) -> int:
    """Fetch a model of ours from the hub."""
    options, found = parsed("pull", told_exports.PullOptions, words, _json)
    result = call("pull", options)
    print(json_text(result.to_dict()) if found.json else result.to_text())
    return 0

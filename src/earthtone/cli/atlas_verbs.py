"""The verbs that use a trained model: its vectors, maps and exports. As verbs.py, whose helpers they share."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from earthtone.atlas import options as told
from earthtone.build import options as told_build
from earthtone.cli.parsing import parsed
from earthtone.cli.verbs import _json, _next, _say, call
from earthtone.exports import options as told_exports
from earthtone.serve import options as told_serve
from earthtone.terminal import json_text
from earthtone.value_types import Options


def _verb(
    name: str,
    kind: type[Options],
    function: str = "",
    *,
    goes_on: bool = False,
    following: Callable[[Any], str] | None = None,
) -> Callable[[list[str]], int]:
    """Return the verb that calls a public function, `name` by default, and shows its result.

    `goes_on`: a call that is stopped goes on when it is repeated. `following` makes the line to type next.
    """

    def run(words: list[str]) -> int:
        options, found = parsed(name, kind, words, _json)
        try:
            result = call(function or name, options)
        except KeyboardInterrupt:
            if not goes_on:
                raise
            secret = any("://" in word and "?" in word for word in words)  # its query may hold a key
            _say("stopped; type the same again to go on" if secret else f"stopped; go on with: {_next(name, *words)}")
            return 130
        print(json_text(result.to_dict()) if found.json else result.to_text())
        if following is not None and not found.json:
            print(f"next: {following(options)}")
        return 0

    return run


embed = _verb(
    "embed",
    told.EmbedOptions,
    goes_on=True,
    following=lambda options: _next("index", options.out),
)
index = _verb(
    "index",
    told.IndexOptions,
    "build_index",
    following=lambda options: _next("search", options.folder, "--like", "FILE"),
)
search = _verb("search", told.SearchOptions)
tiles = _verb(
    "tiles",
    told_build.TilesOptions,
    goes_on=True,
    following=lambda options: _next(
        "embed", "--model", options.model or "MODEL", "--data", options.out, "--out", "embeddings"
    ),
)
map = _verb("map", told.MapOptions, "map_similarity", goes_on=True)
export = _verb("export", told_exports.ExportOptions)


def serve(words: list[str]) -> int:
    """Show the page until the process is asked to end; its address is the first line."""
    options, found = parsed("serve", told_serve.ServeOptions, words, _json)

    def started(url: str) -> None:
        print(json_text({"url": url}) if found.json else f"{url}  (end: Ctrl-C)", flush=True)

    result = call("serve_page", replace(options, started=started))
    print(json_text(result.to_dict()) if found.json else result.to_text())
    return 0


push = _verb("push", told_exports.PushOptions)
pull = _verb("pull", told_exports.PullOptions)

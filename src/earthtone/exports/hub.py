"""The verbs push and pull: models of ours on the Hugging Face hub, with a card, as plain tensors alone.

The token is HF_TOKEN of the environment and nothing else; it is never printed, and goes over https, or to this machine.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from urllib.parse import urlsplit

from earthtone.data.remote import hub_endpoint, time_limited
from earthtone.errors import ConfigError, DataError, ModelError, NewerFormatError, needed_by, one_line, one_line_each
from earthtone.exports.card import model_card, plain, retrieval_lines
from earthtone.exports.options import PullOptions, PushOptions
from earthtone.files import atomic_folder, format_of, refuse_used, write_text_atomic
from earthtone.models.backbone import BACKBONE_HEADER, encoder_from_file, open_backbone, write_encoder
from earthtone.models.storage import (
    BACKBONE_FILE,
    CARD_FILE,
    CHECKPOINT_SUFFIXES,
    WEIGHTS_FILE,
    load_model,
    model_fingerprint,
    save_model,
)
from earthtone.models.weights import read_header
from earthtone.progress import is_shown
from earthtone.value_types import takes

Result = TypeVar("Result")

_CARD = "README.md"
_FACTS = "preprocessing.json"
_SECONDS = 120.0  # for an answer that has no bytes to bring
_HERE = ("127.0.0.1", "localhost", "::1")
_SHOWN = 5
_MOST_CARD_BYTES = 2**20
#: What a folder that `export` wrote may hold.
_EXPORTED = (".onnx", ".data", ".pt2", ".safetensors", ".json", ".md")


@dataclass(frozen=True)
class Pushed:
    """What `push` did."""

    repo: str
    url: str
    """Of the commit, or of the card that was written instead."""
    files: tuple[str, ...]
    fingerprint: str

    def to_text(self) -> str:
        """Return lines for people."""
        return one_line_each([f"{self.repo}: {', '.join(self.files)}", self.url])

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {**asdict(self), "files": list(self.files)}


@dataclass(frozen=True)
class Pulled:
    """What `pull` fetched."""

    folder: Path
    repo: str
    commit: str
    fingerprint: str
    files: tuple[str, ...]
    left: tuple[str, ...]
    """Files of the repository that were not fetched."""

    def to_text(self) -> str:
        """Return lines for people."""
        lines = [f"{self.folder}: {', '.join(self.files)} of {self.repo} at {self.commit[:12]}"]
        if self.left:
            lines.append(f"not fetched: {_listed(self.left)}")
        return one_line_each(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {**asdict(self), "folder": str(self.folder), "files": list(self.files), "left": list(self.left)}


@takes(PushOptions)
def push(options: PushOptions) -> Pushed:
    """Put a model on the hub at HF_ENDPOINT, with its card, as one commit, and return where it is.

    Of a run go the weights and the card; of a folder that `export` wrote all its files. Names of this machine's folders
    are taken out. With `card` the card is written there and nothing goes anywhere. Raises ConfigError without HF_TOKEN,
    ModelError for what is no model, DataError where the hub refuses or does not answer.
    """
    source = Path(options.model)
    endpoint = hub_endpoint()
    token = None if options.card is not None else _token(endpoint, needed=True)
    with TemporaryDirectory(prefix="earthtone-push-") as made:
        folder = Path(made)
        fingerprint = _gathered(source, folder, options)
        if options.card is not None:
            text = (folder / _CARD).read_text(encoding="utf-8")
            write_text_atomic(Path(options.card), text)
            return Pushed(options.repo, str(options.card), (_CARD,), fingerprint)
        from huggingface_hub import HfApi  # slow to import

        _quiet_client()
        api = HfApi(endpoint=endpoint, token=token, library_name="earthtone")
        names = tuple(sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()))

        def make() -> Any:
            return api.create_repo(options.repo, private=not options.public, exist_ok=True)

        _asked(lambda: time_limited(_SECONDS, make, options.repo), options.repo, token, "write")
        commit = _asked(
            lambda: api.upload_folder(
                repo_id=options.repo, folder_path=folder, commit_message=f"earthtone push {fingerprint}"
            ),
            options.repo, token, "write",
        )  # fmt: skip
    return Pushed(options.repo, str(getattr(commit, "commit_url", f"{endpoint}/{options.repo}")), names, fingerprint)


def _gathered(source: Path, folder: Path, options: PushOptions) -> str:
    """Write what is pushed into a folder and return the model's fingerprint. Raises ModelError, ConfigError."""
    if source.is_dir() and (source / _FACTS).is_file():
        return _gather_export(source, folder, options)
    file = source
    if source.is_dir():
        file = source / (BACKBONE_FILE if (source / BACKBONE_FILE).exists() else WEIGHTS_FILE)
    if file.suffix in CHECKPOINT_SUFFIXES:
        raise ModelError(f"{file}: a pickle, which is never put on the hub; type: earthtone convert {file} OUT")
    name = source.stem if source.is_file() else source.resolve().name
    if file.is_file() and file.suffix == ".safetensors" and BACKBONE_HEADER in read_header(file):
        if options.data is not None:
            raise ConfigError("--data has no effect on an image encoder alone, which finds no sounds; leave it out")
        card = _without_paths(json.loads(read_header(file)[BACKBONE_HEADER]))
        encoder = encoder_from_file(file, None, 32)
        write_encoder(folder / BACKBONE_FILE, encoder, card.get("card", {}))
        about = {**card.get("card", {}), "model": {}, "encoder": encoder.architecture}
        text = model_card(
            name, about, license_name=options.license, figures=(), data={}, files=(BACKBONE_FILE,), repo=options.repo
        )
        (folder / _CARD).write_text(text, encoding="utf-8")
        return str(open_backbone(folder / BACKBONE_FILE).fingerprint)
    model = load_model(source)
    card = _without_paths(dict(model.card))
    save_model(folder, model, card)
    figures, split = _figures(source, options), options.split
    data = _data_facts(source, options, card)
    lines = [] if figures is None else retrieval_lines(figures, split, Path(str(options.data)).name)
    told = {**card, "model": {**card.get("model", {}), **asdict(model.config)}}
    text = model_card(
        name, told, license_name=options.license, figures=lines, data=data, files=(WEIGHTS_FILE, CARD_FILE),
        repo=options.repo,
    )  # fmt: skip
    (folder / _CARD).write_text(text, encoding="utf-8")
    return model_fingerprint(model)


def _gather_export(source: Path, folder: Path, options: PushOptions) -> str:
    if idle := options.changed("data", "license", "columns", "split"):
        raise ConfigError(
            f"{', '.join(idle)} has no effect on a folder that export wrote: its README.md is its card; leave it out"
        )
    try:
        facts = json.loads((source / _FACTS).read_text(encoding="utf-8"))
        format_of(facts, "export", source / _FACTS)
        fingerprint = str(facts["model"]["fingerprint"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{source / _FACTS}: not what earthtone export writes ({type(error).__name__})") from error
    for path in sorted(source.rglob("*")):
        place = path.relative_to(source)
        if path.is_dir() and not path.is_symlink():
            continue
        if path.suffix not in _EXPORTED or path.is_symlink() or not path.is_file():
            raise ModelError(f"{path}: not what earthtone export writes; take it out, or export again")
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / place)
    return fingerprint


def _figures(source: Path, options: PushOptions) -> Any:
    """Return the retrieval of a model on `data`, None without any."""
    if options.data is None:
        return None
    with needed_by("push"):
        from earthtone.evaluate.retrieval import evaluate_retrieval

    return evaluate_retrieval(source, options.data, split=options.split, columns=options.columns, device=options.device)


def _data_facts(source: Path, options: PushOptions, card: Mapping[str, Any]) -> dict[str, Any]:
    """Return licences, sources, attributions of the training table, where it is at hand: in the run, or as `data`."""
    said = card.get("data")
    wanted = said.get("fingerprint") if isinstance(said, Mapping) else None
    candidates = [source / "table.lance", *([Path(options.data)] if options.data is not None else [])]
    there = [path for path in candidates if path.suffix == ".lance" and path.is_dir()]
    if wanted is None or not there:
        return {}
    try:
        from earthtone.data.packed import Table
    except ImportError:  # of the extra `evaluate`, without which there is no table either
        return {}
    for path in there:
        try:
            table = Table(path)
        except DataError:
            continue
        if table.fingerprint == wanted:
            found = {"licenses": "license", "sources": "source", "attributions": "attribution"}
            return {name: _counted(table.column(column)) for name, column in found.items()}
    return {}


def _counted(values: Sequence[Any]) -> str:
    counts = Counter(str(value) if value is not None else None for value in values)
    named = [(value, count) for value, count in counts.most_common() if value is not None]
    shown = [f"{plain(value, 60)} ({count:,})" for value, count in named[: 2 * _SHOWN]]
    if len(named) > 2 * _SHOWN:
        shown.append(f"{len(named) - 2 * _SHOWN} more")
    if not named:
        return ""
    return "; ".join([*shown, *([f"not stated ({counts[None]:,})"] if counts[None] else [])])


_SLASH = re.compile(r"[/\\]")
_PATH = re.compile(r"^(/|~|[A-Za-z]:[\\/]|\\\\|\.\.?[\\/])")


def _without_paths(value: Any) -> Any:
    """Return plain values whose texts that are paths are their last parts: a card is read by everybody."""
    if isinstance(value, Mapping):
        return {str(key): _without_paths(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_paths(part) for part in value]
    if isinstance(value, str) and (_PATH.match(value) or "@/" in value):
        head, at, path = value.rpartition("@")
        return f"{head}{at}{_SLASH.split(path.rstrip('/'))[-1]}"
    return value


@takes(PullOptions)
def pull(options: PullOptions) -> Pulled:
    """Fetch a model that `push` put on the hub into the folder `out`, and return what came.

    Weights in safetensors and the card alone are asked for, and nothing in them is run; sizes and checksums are
    compared with the hub's, and the model is opened before the folder gets its name. Raises ModelError where the
    repository holds no model of ours, DataError where the hub refuses, or what came is not what it says.
    """
    folder, endpoint = Path(options.out), hub_endpoint()
    refuse_used(folder)
    token = _token(endpoint, needed=False)
    from huggingface_hub import HfApi, hf_hub_download  # slow to import

    _quiet_client()
    api = HfApi(endpoint=endpoint, token=token or False, library_name="earthtone")

    def look() -> Any:
        return api.model_info(options.repo, revision=options.revision, files_metadata=True)

    info = _asked(lambda: time_limited(_SECONDS, look, options.repo), options.repo, token, "read")
    there = {str(file.rfilename): file for file in info.siblings or ()}
    weights = next((name for name in (WEIGHTS_FILE, BACKBONE_FILE) if name in there), None)
    if weights is None:
        raise ModelError(
            f"{options.repo}: holds {_listed(sorted(there)) or 'nothing'}; {WEIGHTS_FILE} or {BACKBONE_FILE}, as "
            "earthtone push writes, expected: code and pickles are never fetched"
        )
    small = _CARD in there and (there[_CARD].size or 0) <= _MOST_CARD_BYTES
    wanted = [weights, *([_CARD] if small else [])]
    commit = str(info.sha)
    with atomic_folder(folder) as made, TemporaryDirectory(prefix="earthtone-pull-", dir=folder.parent) as cache:
        for name in wanted:

            def fetch(name: str = name) -> Any:
                return hf_hub_download(
                    options.repo, name, revision=commit, endpoint=endpoint, token=token or False, local_dir=cache
                )

            came = Path(_asked(fetch, f"{options.repo}/{name}", token, "read"))
            _refuse_other(came, there[name], f"{options.repo}/{name}")
            came.resolve().replace(made / name)
        fingerprint = _checked(made, weights, options.repo)
    left = tuple(sorted(set(there) - {*wanted, CARD_FILE, ".gitattributes"}))
    files = tuple(sorted(path.name for path in folder.iterdir()))
    return Pulled(folder, options.repo, commit, fingerprint, files, left)


def _checked(folder: Path, weights: str, repo: str) -> str:
    """Return the fingerprint of a model that came, after opening it; its card is written anew from its header."""
    try:
        if weights == BACKBONE_FILE:
            if BACKBONE_HEADER not in read_header(folder / weights):
                raise ModelError(f"{weights} is no image encoder of earthtone's")
            return str(open_backbone(folder).fingerprint)
        header = read_header(folder / weights)
        if "earthtone" not in header:
            raise ModelError(f"{weights} is of another project")
        model = load_model(folder)
    except NewerFormatError:
        raise
    except ModelError as error:
        said = str(error).replace(f"{folder}/", "").removeprefix(f"{weights}: ")
        raise ModelError(f"{repo}: no model of earthtone's ({said}); nothing was kept") from error
    write_text_atomic(folder / CARD_FILE, json.dumps(dict(model.card), indent=1, sort_keys=True) + "\n")
    return model_fingerprint(model)


def _refuse_other(path: Path, told: Any, name: str) -> None:
    """Raise DataError where a file is not as long, or not the bytes, that the hub says."""
    size = path.stat().st_size
    if told.size is not None and size != told.size:
        raise DataError(f"{name}: {size} bytes came, the hub says {told.size}; nothing was kept, repeat the command")
    wanted = getattr(told.lfs, "sha256", None) if told.lfs is not None else None
    if wanted is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != wanted:
            raise DataError(
                f"{name}: SHA-256 {found[:12]}..., the hub says {str(wanted)[:12]}...; nothing was kept, repeat the "
                "command"
            )


def _token(endpoint: str, *, needed: bool) -> str | None:
    """Return HF_TOKEN. Raises ConfigError where it lacks and is needed, or would go over plain http."""
    token = os.environ.get("HF_TOKEN", "").strip() or None
    parts = urlsplit(endpoint)
    if token is not None and parts.scheme != "https" and parts.hostname not in _HERE:
        raise ConfigError(
            f"HF_ENDPOINT is {endpoint}, and a token is never sent over plain http; set one of https://, or unset "
            "HF_TOKEN"
        )
    if token is None and needed:
        raise ConfigError(
            "HF_TOKEN is not set; a token that may write is expected in the environment: make one at "
            f"{endpoint}/settings/tokens"
        )
    return token


def _asked(work: Callable[[], Result], name: str, token: str | None, doing: str) -> Result:
    """Return what the hub answers. Raises DataError, one line without the token, for whatever its client raises."""
    try:
        return work()
    except DataError:
        raise
    except Exception as error:  # the hub's client has those of several libraries
        raise DataError(_refused(name, error, token, doing)) from None  # its traceback could show the token


def _refused(name: str, error: Exception, token: str | None, doing: str) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    said = one_line(" ".join(str(error).split()) or type(error).__name__)
    said = said.replace(token, "***") if token else said
    if isinstance(error, OSError) and status is None and error.errno is not None and error.filename is not None:
        return f"{name}: {error.strerror}: {error.filename}"
    if status in (401, 403):
        return f"{name}: the hub refuses ({status}): HF_TOKEN must be one that may {doing} there"
    if status == 404:
        return f"{name}: not on the hub, or private: OWNER/NAME expected, and HF_TOKEN where it is private"
    return f"{name}: the hub cannot {doing} it ({said[:200]}); check the network, and repeat the command"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(one_line(name, 80) for name in names[:_SHOWN]) + more


def _quiet_client() -> None:
    """Its log lines would stand beside our one line; its bars are left where ours are."""
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if not is_shown():
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()

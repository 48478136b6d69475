"""Our models as encoders of MTEB, the benchmark of embeddings, and its tasks between sounds and overhead images.

`import mteb` here is the package of that name. Nothing of torchaudio's or torchcodec's is needed: recordings are handed
to the model as files, by the same steps as everywhere, and heard whole; MTEB's own collator resamples by torchaudio and
keeps the beginning.
"""

import csv
import io
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from earthtone.data.exclude import ENTRY, IMAGE_HASH, picture_hash
from earthtone.errors import ConfigError, DataError, needed_by, one_line
from earthtone.files import write_text_atomic
from earthtone.models.storage import model_fingerprint, model_name, opened_model
from earthtone.models.two_tower import Embeddings, TwoTower

with needed_by("earthtone.integrations.mteb"):
    import datasets
    import mteb
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalDatasetLoader
    from mteb.models.modality_collators import AudioCollator
    from mteb.models.model_meta import ModelMeta, ScoringFunction
    from mteb.similarity_functions import cos_sim, euclidean_sim, pairwise_cos_sim, pairwise_euclidean_sim

#: Sounds to images and images to sounds of the same place; 2,048 places of Radio Aporee, and those of ADVANCE.
TASKS = (
    "SoundingEarthA2IRetrieval.v2", "SoundingEarthI2ARetrieval.v2", "ADVANCEA2IRetrieval", "ADVANCEI2ARetrieval",
)  # fmt: skip
SOUNDINGEARTH = (
    "SoundingEarthA2IRetrieval", "SoundingEarthI2ARetrieval", "SoundingEarthA2IRetrieval.v2",
    "SoundingEarthI2ARetrieval.v2",
)  # fmt: skip
#: The tasks of which pairs of a `source` are training data: SoundingEarth is made of Radio Aporee's recordings.
TASKS_OF_SOURCE: Mapping[str, Sequence[str]] = {"aporee": SOUNDINGEARTH}
MEDIA = ("image", "audio")
_log = logging.getLogger(__name__)


class MtebEncoder:
    """A two-tower model as MTEB's `EncoderProtocol`: give it to `mteb.evaluate`.

    `name` is ORGANISATION/MODEL, as MTEB asks for; its revision is the model's fingerprint, so that no result of other
    weights is taken for this one's. `trained_on` are names of MTEB's tasks whose data the model has seen; by default
    what its card tells, and unknown where that tells nothing. `license` and `open_weights` are yours to say. `gsd_m`,
    the metres a pixel of the task's images, is for models that need them: no task tells them, SoundingEarth's are 0.2.
    Raises ModelError, ConfigError, also for a model that knows ready spectrograms alone.

    >>> encoder = MtebEncoder("runs/first", name="my-group/first")  # doctest: +SKIP
    >>> mteb.evaluate(encoder, tasks=open_tasks())  # doctest: +SKIP
    """

    def __init__(
        self,
        model: TwoTower | str | Path,
        revision: str | None = None,
        *,
        device: str | None = None,
        name: str | None = None,
        license: str | None = None,
        open_weights: bool = False,
        trained_on: Iterable[str] | None = None,
        gsd_m: float | None = None,
        release_date: str | None = None,
        reference: str | None = None,
    ) -> None:
        self.model = opened_model(model, device=device or "auto")
        self.gsd_m = gsd_m
        if self.model.signal.audio.input != "waveform":
            raise ConfigError("this model was trained on ready spectrogram pictures; MTEB's tasks have recordings")
        fingerprint = model_fingerprint(self.model)
        if revision not in (None, fingerprint):
            raise ConfigError(f"revision is {revision!r}, the model's fingerprint {fingerprint}; leave it out")
        name = name or f"earthtone/{_plain_name(model)}"
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            raise ConfigError(f"name is {name!r:.80}; ORGANISATION/MODEL expected, such as my-group/first")
        seen = training_tasks(self.model) if trained_on is None else set(trained_on)
        self.mteb_model_meta = ModelMeta(
            loader=None,  # MTEB would demand torchaudio before calling it
            name=name,
            revision=fingerprint,
            release_date=release_date,
            languages=None,
            n_parameters=sum(weights.numel() for weights in self.model.parameters()),
            memory_usage_mb=sum(w.numel() * w.element_size() for w in self.model.state_dict().values()) / 2**20,
            max_tokens=None,
            embed_dim=self.model.config.dimensions,
            license=license or "not specified",
            open_weights=open_weights,
            public_training_code=None,
            public_training_data=None,
            framework=["PyTorch"],
            reference=reference,
            similarity_fn_name=ScoringFunction.COSINE if self.model.config.unit else ScoringFunction.EUCLIDEAN,
            use_instructions=False,
            training_datasets=seen,
            modalities=list(MEDIA),
        )
        self._warn_of_training()

    def _warn_of_training(self) -> None:
        data = self.model.card.get("data") or {}
        excluded = isinstance(data, Mapping) and (data.get("split") or {}).get("exclude")
        seen = self.mteb_model_meta.training_datasets
        if seen is None:
            _log.warning("the model's card does not tell what it was trained on; say so with trained_on=")
        elif seen.intersection(SOUNDINGEARTH) and not excluded:
            _log.warning(
                "the model was trained on SoundingEarth's recordings, and none of the benchmark's 2,048 sites were "
                "left out: its figures there flatter it; see benchmark_sites and --exclude"
            )

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any = None,
        hf_split: str | None = None,
        hf_subset: str | None = None,
        prompt_type: Any = None,
        precision: str | None = None,
        **ignored: Any,
    ) -> Embeddings:
        """Return vectors (N, dimensions), float32, of a loader of images or of sounds, in its order.

        Those of a recording are the model's own, of all its windows: `embed_audio`. Batches are dicts with `image`, a
        list of pictures, or `audio`, a list of {"array", "sampling_rate"}. How a loader puts them together has no
        effect, and neither has `batch_size`: passes are as long as the model's own, so that a vector does not depend
        on them. Raises ConfigError for text, video, several media in one input, and a `precision`; SignalError for
        what cannot be decoded, with its position.
        """
        if precision not in (None, "float32"):
            raise ConfigError(f"precision is {precision!r}; the vectors are float32: leave it out of encode_kwargs")
        medium, items = _inputs(inputs)
        if medium == "image":
            return self.model.embed_images(items, gsd_m=self.gsd_m)
        return self.model.embed_audio(items)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Return (N, M) scores: cosine, or the negative Euclidean distance where the vectors have no unit length."""
        return (cos_sim if self.model.config.unit else euclidean_sim)(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Return (N,) scores of the pairs of two arrays (N, dimensions)."""
        return (pairwise_cos_sim if self.model.config.unit else pairwise_euclidean_sim)(embeddings1, embeddings2)


def training_tasks(model: TwoTower) -> set[str] | None:
    """Return MTEB's tasks whose data a model was trained on, as its card tells; None where that cannot be known."""
    card = model.card
    if "untrained" in card:
        return set()
    if "SoundingEarth" in str((card.get("converted_from") or {}).get("system")):
        return set(SOUNDINGEARTH)
    sources = (card.get("data") or {}).get("sources")
    if not isinstance(sources, Mapping):
        return None
    known = {name for source in sources for name in TASKS_OF_SOURCE.get(source, ())}
    # rows without a source, and what the run was trained on that a tower began from, may be anything
    dark = "unknown" in sources or any(_is_run(start) for start in (card.get("start") or {}).values())
    return None if dark and not known else known


def _is_run(start: Any) -> bool:
    """Return whether a tower began with weights of pairs, not with those of a catalogue of image encoders."""
    return not str(dict(start).get("weights", "") if isinstance(start, Mapping) else start).startswith(
        ("pretrained", "timm:", "package:", "torchgeo:")
    )


def _plain_name(model: TwoTower | str | Path) -> str:
    return re.sub(r"[^\w.-]+", "-", Path(model_name(model)).name) or "model"


# What MTEB hands over, as it lies in its data set: files, not what torchcodec or Pillow made of them.


def whole_items(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return a batch of rows with every medium as it is: the collator of loaders that are no data set of MTEB's."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def _inputs(inputs: Any) -> tuple[str, Iterable[Any]]:
    """Return which medium a loader or an iterable of batches holds, and its items one after another."""
    if isinstance(inputs, torch.utils.data.DataLoader):
        if isinstance(inputs.collate_fn, AudioCollator):
            _log.warning(
                "mteb's AudioCollator, which hears the beginning of a recording, is not used: each is heard whole"
            )
        in_order = isinstance(inputs.sampler, torch.utils.data.SequentialSampler)
        if isinstance(inputs.dataset, datasets.Dataset) and in_order:
            rows = undecoded(inputs.dataset)
            medium = _medium(rows.column_names)
            return medium, (row[medium] for row in rows.select_columns([medium]))
        inputs.collate_fn = whole_items
    batches = iter(inputs)
    first = next(batches, None)
    if first is None:
        raise ConfigError("no input; a loader with at least one batch expected")
    medium = _medium(first)
    return medium, _chained(medium, first, batches)


def _chained(medium: str, first: Mapping[str, Any], others: Iterator[Mapping[str, Any]]) -> Iterator[Any]:
    yield from first[medium]
    for batch in others:
        yield from batch[medium]


def _medium(columns: Iterable[str]) -> str:
    given = [name for name in columns if name in ("image", "audio", "video", "text")]
    if len(given) == 1 and given[0] in MEDIA:
        return given[0]
    raise ConfigError(f"an input has {' and '.join(given) or 'no medium'}; an image or a sound expected")


def undecoded(rows: "datasets.Dataset") -> "datasets.Dataset":
    """Return a data set whose images and sounds are given as their files' bytes or paths."""
    for name, feature in rows.features.items():
        if isinstance(feature, (datasets.Audio, datasets.Image)):
            rows = rows.cast_column(name, type(feature)(decode=False))
    return rows


# The tasks.


def open_tasks(names: Sequence[str] = TASKS) -> list[Any]:
    """Return MTEB's tasks of these names with their data, which MTEB downloads; sounds stay the files they are.

    MTEB's own loading decodes one sound to look at it, which needs torchcodec. Raises ConfigError for unknown names,
    DataError where the data cannot be had.
    """
    return [_loaded(name) for name in names]


def _loaded(name: str) -> Any:
    try:
        task = mteb.get_task(name)
    except KeyError as error:
        raise ConfigError(f"mteb knows no task {name!r:.80}; such as {', '.join(TASKS)} expected") from error
    return with_data(task)


def with_data(task: Any) -> Any:
    """Return a task of MTEB's after loading its data, undecoded, unless it has them or loads them in its own way."""
    if task.data_loaded or type(task).load_data is not AbsTaskRetrieval.load_data:
        return task
    where = task.metadata.dataset
    try:
        task.dataset = {"default": {split: _split_data(where, split) for split in task.eval_splits}}
    except Exception as error:  # of the hub, the network, the reader: each has its own kinds
        raise DataError(
            f"{task.metadata.name}: its data {where['path']} cannot be had ({one_line(str(error), 200)}); needs the "
            "network once, or a copy in the hub's cache"
        ) from error
    task.data_loaded = True
    return task


def _split_data(where: Mapping[str, str], split: str) -> Any:
    loader = RetrievalDatasetLoader(hf_repo=where["path"], revision=where["revision"], split=split)
    load = loader._load_dataset_split
    loader._load_dataset_split = lambda config, num_proc: undecoded(load(config, num_proc))
    return loader.load()


def evaluate_mteb(
    model: "MtebEncoder | TwoTower | str | Path",
    tasks: Sequence[Any] = TASKS,
    *,
    out: str | Path | None = None,
    **said: Any,
) -> dict[str, float]:
    """Return the main score (nDCG@10) of a model on each task, one after another; MTEB's own results go to `out`.

    `tasks` are names or tasks; `said` is for `MtebEncoder`. Raises EarthtoneError.
    """
    encoder = model if isinstance(model, MtebEncoder) else MtebEncoder(model, **said)
    cache = None if out is None else mteb.ResultCache(cache_path=str(out))
    scores = {}
    for given in tasks:
        ours = isinstance(given, str) or not given.data_loaded
        task = _loaded(given) if isinstance(given, str) else with_data(given)
        result = mteb.evaluate(encoder, task, cache=cache, show_progress_bar=False, co2_tracker=False)
        scores[task.metadata.name] = float(result.task_results[0].get_score())
        if ours and task.data_loaded:
            task.unload_data()  # the next one may be of gigabytes too
    return scores


# What not to train on.


def benchmark_sites(tasks: Any, out: str | Path, *, column: str = "id") -> int:
    """Write the CSV for `--exclude` of all that some tasks measure on; return how many entries it names.

    `tasks` is a task of MTEB's, or a data set of its files, or several of these. Each query and each document is an
    entry, named by its id and by the names of its files without suffix, as values of the data's `column`, and by the
    pixels of its image. Which of these are in your data `earthtone check DATA --exclude FILE` tells. Raises DataError.
    """
    found = io.StringIO()
    rows = csv.writer(found, lineterminator="\n")
    rows.writerow([ENTRY, column, IMAGE_HASH])
    count = 0
    for place, part in _parts_of(tasks):
        for entry in undecoded(part):
            name = f"{place}/{entry.get('id', count)}"
            media = [value for value in entry.values() if isinstance(value, Mapping)]
            stems = [Path(str(value["path"])).stem for value in media if value.get("path")]
            ids = dict.fromkeys(str(value) for value in (entry.get("id"), *stems) if value not in (None, ""))
            image = entry.get("image")
            digest = None if image is None else picture_hash(image["bytes"] or Path(image["path"]))
            rows.writerows([name, value, ""] for value in ids)
            rows.writerows([[name, "", digest]] * (digest is not None))
            count += 1
    if not count:
        raise DataError("no entry in the tasks' data; a task with its data (open_tasks) or a data set expected")
    write_text_atomic(Path(out), found.getvalue())
    return count


def _parts_of(tasks: Any) -> Iterator[tuple[str, "datasets.Dataset"]]:
    """Yield each data set of queries and of documents with what it is called."""
    if isinstance(tasks, datasets.Dataset):
        yield "rows", tasks
    elif isinstance(tasks, (list, tuple)):
        for number, task in enumerate(tasks):
            yield from ((f"{number}/{name}", part) for name, part in _parts_of(task))
    elif isinstance(tasks, AbsTaskRetrieval):
        for splits in with_data(tasks).dataset.values():
            for split in splits.values():
                yield from ((f"{tasks.metadata.name}/{name}", split[name]) for name in ("queries", "corpus"))
    else:
        raise DataError(f"tasks is {type(tasks).__name__}; a task of mteb's, a data set, or a list of these expected")

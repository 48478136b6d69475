"""MTEB runs our models: on a made task of 20 pairs, whose figures are counted again from the model's own vectors."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from earthtone.data.check import check
from earthtone.errors import ConfigError, DataError, MissingExtraError
from earthtone.models.config import ModelConfig
from earthtone.models.storage import model_fingerprint
from earthtone.models.two_tower import TwoTower

pytestmark = pytest.mark.extras
mteb = pytest.importorskip("mteb")
datasets = pytest.importorskip("datasets")

from mteb.abstasks import AbsTaskRetrieval  # noqa: E402
from mteb.abstasks.task_metadata import TaskMetadata  # noqa: E402
from mteb.models import EncoderProtocol  # noqa: E402
from mteb.models.modality_collators import AudioCollator  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from earthtone.integrations.mteb import (  # noqa: E402
    SOUNDINGEARTH,
    TASKS,
    MtebEncoder,
    benchmark_sites,
    evaluate_mteb,
    training_tasks,
    with_data,
)

PAIRS = 20


@pytest.fixture(scope="module")
def files(tiny_pairs: Path) -> tuple[list[Path], list[Path]]:
    """Images and sounds of 20 pairs; the sounds have three rates and one or two channels."""
    return [tiny_pairs.parent / f"{n}.png" for n in range(PAIRS)], [
        tiny_pairs.parent / f"{n}.wav" for n in range(PAIRS)
    ]


def media_set(files: list[Path], feature: Any, name: str) -> Any:
    """As the hub's files hold media: bytes, and a path to tell the format by."""
    rows = {"id": [f"{name}-{n}" for n in range(len(files))]}
    held = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    kind = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    features = datasets.Features({"id": datasets.Value("string"), name: kind})
    return datasets.Dataset.from_dict({**rows, name: held}, features=features).cast_column(name, feature)


def metadata(name: str, category: str, path: str = "none/none") -> Any:
    known = mteb.get_task("SoundingEarthA2IRetrieval.v2").metadata
    modalities = ["audio", "image"] if category == "a2i" else ["image", "audio"]
    where = {"path": path, "revision": "main"}
    return TaskMetadata(
        **{**known.model_dump(), "name": name, "category": category, "modalities": modalities, "dataset": where}
    )


@pytest.fixture(scope="module")
def tasks(files: tuple[list[Path], list[Path]]) -> dict[str, Any]:
    """Both directions; images 0 and 1 are both right for sound 0, as where equal content was merged."""
    images = media_set(files[0], datasets.Image(), "image")
    sounds = media_set(files[1], datasets.Audio(), "audio")
    made = {}
    for category, queries, corpus in (("a2i", sounds, images), ("i2a", images, sounds)):
        right = {name: {other: 1} for name, other in zip(queries["id"], corpus["id"], strict=True)}
        right[queries["id"][0]][corpus["id"][1]] = 1
        split = {"corpus": corpus, "queries": queries, "relevant_docs": right, "top_ranked": None}

        class Made(AbsTaskRetrieval):
            metadata = metadata(f"Made{category.upper()}Retrieval", category)

            def load_data(self, *, split: Any = split, **ignored: Any) -> None:
                self.dataset = {"default": {"test": dict(split)}}
                self.data_loaded = True

        made[category] = Made()
    return made


def ndcg_at_10(queries: np.ndarray, corpus: np.ndarray, right: list[set[int]], *, unit: bool) -> float:
    """As defined: gains over log2 of the rank plus one, against the best order (Jaervelin and Kekaelaeinen 2002)."""
    total = 0.0
    for query, good in zip(queries.astype(np.float64), right, strict=True):
        scores = corpus @ query if unit else -np.linalg.norm(corpus - query, axis=1)
        best = sorted(range(len(corpus)), key=lambda n: -scores[n])[:10]
        gained = sum(1 / np.log2(rank + 2) for rank, n in enumerate(best) if n in good)
        total += gained / sum(1 / np.log2(rank + 2) for rank in range(len(good)))
    return total / len(queries)


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("category", ["a2i", "i2a"])
def test_the_score_is_that_of_the_models_own_vectors(
    category: str, unit: bool, tasks: dict[str, Any], files: tuple[list[Path], list[Path]], tiny_model: TwoTower
) -> None:
    torch.manual_seed(0)
    model = tiny_model if unit else TwoTower(replace(tiny_model.config, unit=False), tiny_model.signal).eval()
    images, sounds = model.embed_images(files[0]), model.embed_audio(files[1])
    queries, corpus = (sounds, images) if category == "a2i" else (images, sounds)
    right = [{n} | ({1} if n == 0 else set()) for n in range(PAIRS)]
    expected = ndcg_at_10(queries, corpus, right, unit=unit)
    encoder = MtebEncoder(model, trained_on=())
    result = mteb.evaluate(encoder, tasks[category], cache=None, show_progress_bar=False)
    found = result.task_results[0].scores["test"][0]
    assert found["main_score"] == found["ndcg_at_10"] == pytest.approx(expected, abs=2e-5)  # mteb rounds to 5 digits
    assert 0.05 < expected < 0.95  # so that an accident would show


def test_vectors_are_those_of_whole_recordings(
    tasks: dict[str, Any], files: tuple[list[Path], list[Path]], tiny_model: TwoTower, caplog: pytest.LogCaptureFixture
) -> None:
    """Bit for bit, in the order of the loader, whatever batches and collator it has."""
    encoder = MtebEncoder(tiny_model, trained_on=())
    tasks["a2i"].load_data()
    split = tasks["a2i"].dataset["default"]["test"]
    whole, seen = tiny_model.embed_audio(files[1]), tiny_model.embed_images(files[0])
    from mteb._create_dataloaders import create_dataloader
    from mteb.types import PromptType

    about = {"task_metadata": tasks["a2i"].metadata, "batch_size": 3}
    loader = create_dataloader(split["queries"], prompt_type=PromptType.query, **about)
    np.testing.assert_array_equal(encoder.encode(loader, batch_size=3), whole)
    images = create_dataloader(split["corpus"], prompt_type=PromptType.document, **about)
    np.testing.assert_array_equal(encoder.encode(images), seen)
    assert not caplog.records
    loader.collate_fn = AudioCollator(target_sampling_rate=16_000, max_samples=8_000)  # half of a second
    np.testing.assert_array_equal(encoder.encode(loader), whole)
    assert "each is heard whole" in caplog.text


def batches_of(files: tuple[list[Path], list[Path]], medium: str) -> Iterator[dict[str, list[Any]]]:
    """As the protocol has batches: pictures of Pillow's, samples with their rate."""
    for start in range(0, PAIRS, 7):
        if medium == "image":
            yield {"image": [Image.open(file) for file in files[0][start : start + 7]]}
        else:
            read = [soundfile.read(file, dtype="float32") for file in files[1][start : start + 7]]
            yield {"audio": [{"array": samples.T, "sampling_rate": hz} for samples, hz in read]}


def test_decoded_batches(files: tuple[list[Path], list[Path]], tiny_model: TwoTower) -> None:
    """Channels first, as torchcodec and librosa give them; also through a loader of others' rows."""
    encoder = MtebEncoder(tiny_model, trained_on=())
    whole, seen = tiny_model.embed_audio(files[1]), tiny_model.embed_images(files[0])
    np.testing.assert_allclose(encoder.encode(batches_of(files, "audio")), whole, atol=1e-6)
    np.testing.assert_allclose(encoder.encode(batches_of(files, "image")), seen, atol=1e-6)
    rows = [{"audio": sound} for batch in batches_of(files, "audio") for sound in batch["audio"]]
    loader = DataLoader(rows, batch_size=4, collate_fn=AudioCollator(target_sampling_rate=16_000))
    np.testing.assert_allclose(encoder.encode(loader), whole, atol=1e-6)


def test_models_that_need_metres_a_pixel_get_them(
    files: tuple[list[Path], list[Path]], scaled: TwoTower, tiny_model: TwoTower
) -> None:
    encoder = MtebEncoder(scaled, trained_on=(), gsd_m=0.2)
    np.testing.assert_array_equal(encoder.encode([{"image": files[0]}]), scaled.embed_images(files[0], gsd_m=0.2))
    assert np.abs(scaled.embed_images(files[0], gsd_m=3.0) - scaled.embed_images(files[0], gsd_m=0.2)).max() > 1e-4


def test_what_cannot_be_encoded_is_told(files: tuple[list[Path], list[Path]], tiny_model: TwoTower) -> None:
    encoder = MtebEncoder(tiny_model, trained_on=())
    for batch, told in (
        ({"text": ["a river"]}, "an input has text; an image or a sound expected"),
        ({"image": [1], "audio": [1]}, "an input has image and audio"),
        ({"video": [1]}, "an input has video"),
        ({}, "no medium"),
    ):
        with pytest.raises(ConfigError, match=told):
            encoder.encode([batch])
    with pytest.raises(ConfigError, match="no input"):
        encoder.encode([])
    with pytest.raises(ConfigError, match="precision is 'int8'"):
        encoder.encode(batches_of(files, "image"), precision="int8")
    with pytest.raises(ConfigError, match="ORGANISATION/MODEL expected"):
        MtebEncoder(tiny_model, name="mine", trained_on=())
    ready = replace(tiny_model.signal, audio=replace(tiny_model.signal.audio, input="spectrogram"))
    with pytest.raises(ConfigError, match="trained on ready spectrogram pictures; MTEB's tasks have recordings"):
        MtebEncoder(TwoTower(tiny_model.config, ready), trained_on=())
    with pytest.raises(ConfigError, match="revision is 'main', the model's fingerprint"):
        MtebEncoder(tiny_model, "main", trained_on=())


def test_the_benchmarks_tasks_take_our_models(tiny_model: TwoTower) -> None:
    from mteb.evaluate import _check_model_modalities

    encoder = MtebEncoder(tiny_model, trained_on=())
    assert isinstance(encoder, EncoderProtocol)
    tasks = [mteb.get_task(name) for name in TASKS]
    _check_model_modalities(encoder.mteb_model_meta, tasks)  # raises where it would refuse
    assert {task.metadata.main_score for task in tasks} == {"ndcg_at_10"}
    assert [task.metadata.category for task in tasks] == ["a2i", "i2a", "a2i", "i2a"]
    with pytest.raises(ConfigError, match=r"mteb knows no task 'SoundingMars'; such as SoundingEarthA2IRetrieval\.v2"):
        evaluate_mteb(encoder, ["SoundingMars"])


def test_what_is_said_of_the_model_is_true(tiny_model: TwoTower) -> None:
    meta = MtebEncoder(tiny_model, name="group/first", license="cc-by-4.0", open_weights=True).mteb_model_meta
    assert (meta.name, meta.revision) == ("group/first", model_fingerprint(tiny_model))
    assert meta.n_parameters == sum(weights.numel() for weights in tiny_model.parameters())
    assert (meta.embed_dim, meta.modalities, meta.license) == (16, ["image", "audio"], "cc-by-4.0")
    assert meta.open_weights and meta.similarity_fn_name.value == "cosine"
    assert meta.training_datasets is None  # its card is empty: unknown, not "none"
    bare = TwoTower(ModelConfig("test_resnet", "test_resnet", dimensions=8, unit=False), tiny_model.signal)
    meta = MtebEncoder(bare).mteb_model_meta
    assert meta.similarity_fn_name.value == "euclidean" and meta.license == "not specified" and not meta.open_weights


@pytest.mark.parametrize(
    ("card", "seen"),
    [
        ({}, None),
        ({"untrained": {"encoder": "resnet18", "seed": 0}}, set()),
        ({"converted_from": {"system": "SoundingEarth release (Heidler et al.)"}}, set(SOUNDINGEARTH)),
        ({"data": {"path": "old.lance"}}, None),
        ({"data": {"sources": {"toyworld": 10}}}, set()),
        ({"data": {"sources": {"aporee": 10, "own": 2}}}, set(SOUNDINGEARTH)),
        ({"data": {"sources": {"own": 2}}, "start": {"image": {"weights": "pretrained"}}}, set()),
        ({"data": {"sources": {"own": 2}}, "start": {"image": {"weights": "runs/first"}}}, None),
        ({"data": {"sources": {"unknown": 2}}}, None),
    ],
)
def test_training_data_are_those_of_the_card(card: dict[str, Any], seen: set[str] | None, tiny_model: TwoTower) -> None:
    model = TwoTower(tiny_model.config, tiny_model.signal)
    model.card = card
    assert training_tasks(model) == seen


def test_sites_that_were_trained_on_are_told(tiny_model: TwoTower, caplog: pytest.LogCaptureFixture) -> None:
    model = TwoTower(tiny_model.config, tiny_model.signal)
    model.card = {"data": {"sources": {"aporee": 10}}}
    MtebEncoder(model)
    assert "none of the benchmark's 2,048 sites were left out" in caplog.text
    caplog.clear()
    model.card = {"data": {"sources": {"aporee": 10}, "split": {"by": "blocks", "exclude": {"file": "sites.csv"}}}}
    assert set(SOUNDINGEARTH) == MtebEncoder(model).mteb_model_meta.training_datasets
    assert not caplog.records


@pytest.fixture(scope="module")
def copied(files: tuple[list[Path], list[Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set on this disk as MTEB's lie on the hub: corpus, queries and qrels, sounds as files in Parquet."""
    folder = tmp_path_factory.mktemp("hub") / "Made-A2I"
    held = [
        ("corpus", media_set(files[0], datasets.Image(decode=False), "image").cast_column("image", datasets.Image())),
        ("queries", media_set(files[1], datasets.Audio(decode=False), "audio").cast_column("audio", datasets.Audio())),
        ("qrels", datasets.Dataset.from_dict({
            "query-id": [f"audio-{n}" for n in range(PAIRS)], "corpus-id": [f"image-{n}" for n in range(PAIRS)],
            "score": [1] * PAIRS,
        })),
    ]  # fmt: skip
    parts = ""
    for name, rows in held:
        (folder / name).mkdir(parents=True)
        rows.to_parquet(folder / name / "test-0.parquet")
        parts += f"- config_name: {name}\n  data_files:\n  - split: test\n    path: {name}/test-*.parquet\n"
    (folder / "README.md").write_text(f"---\nconfigs:\n{parts}---\n")
    return folder


def test_a_task_is_loaded_without_a_decoder(
    copied: Path, files: tuple[list[Path], list[Path]], tiny_model: TwoTower, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """As MTEB's own are: by MTEB's reader, which would ask torchcodec for a sound."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    class Copied(AbsTaskRetrieval):
        metadata = metadata("CopiedA2IRetrieval", "a2i", str(copied))

    scores = evaluate_mteb(tiny_model, [Copied()], out=tmp_path / "results", trained_on=())
    expected = ndcg_at_10(
        tiny_model.embed_audio(files[1]), tiny_model.embed_images(files[0]), [{n} for n in range(PAIRS)], unit=True
    )
    assert scores == {"CopiedA2IRetrieval": pytest.approx(expected, abs=2e-5)}
    assert list((tmp_path / "results").rglob("CopiedA2IRetrieval.json"))

    class Absent(AbsTaskRetrieval):
        metadata = metadata("AbsentA2IRetrieval", "a2i", str(tmp_path / "nowhere"))

    with pytest.raises(DataError, match=r"AbsentA2IRetrieval: its data .* cannot be had"):
        with_data(Absent())


def test_the_benchmarks_sites_are_found_in_the_data(
    tasks: dict[str, Any], files: tuple[list[Path], list[Path]], tiny_pairs: Path, tmp_path: Path
) -> None:
    """By the pixels of their images, whatever they are called; the sounds, whose ids and files are called otherwise,
    are told as not found."""
    out = tmp_path / "sites.csv"
    assert benchmark_sites(tasks["a2i"], out) == 2 * PAIRS
    found = check(tiny_pairs, exclude=out)
    assert found.splits["none"] == PAIRS
    assert "sites.csv: 20 of 40 entries are in the data (0 by id, 20 by image_hash); 20 rows" in found.excluded[0]
    assert "not found: MadeA2IRetrieval/queries/audio-0" in found.excluded[1]
    images = media_set(files[0], datasets.Image(), "image")
    renamed = images.rename_column("id", "key").map(lambda row, n: {"id": f"pair-{n + 1}"}, with_indices=True)
    assert benchmark_sites([renamed], out, column="id") == PAIRS
    assert "20 entries have an id of one row and the image of another" in check(tiny_pairs, exclude=out).excluded[1]
    with pytest.raises(DataError, match="no entry"):
        benchmark_sites(images.select([]), out)
    with pytest.raises(DataError, match="tasks is str; a task of mteb's"):
        benchmark_sites("SoundingEarthA2IRetrieval.v2", out)


def test_without_mteb_it_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "mteb", None)
    monkeypatch.delitem(sys.modules, "earthtone.integrations.mteb")
    with pytest.raises(MissingExtraError, match=r"needs mteb, which is not installed; .*'earthtone\[mteb\]'"):
        import earthtone.integrations.mteb  # noqa: F401

"""Learn image and audio encoders, without a label, from sound and overhead imagery of the same place.

Each verb of the command line is a function here. Names are imported when first used, so that `import earthtone` costs
next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earthtone.atlas.embed import embed
    from earthtone.atlas.index import build_index
    from earthtone.atlas.maps import map_similarity
    from earthtone.atlas.search import open_index, search
    from earthtone.atlas.tiles import tiles
    from earthtone.build.build import build_dataset
    from earthtone.build.curate.curate import curate, explain_curation
    from earthtone.build.describe import describe
    from earthtone.build.fetch.fetch import fetch
    from earthtone.build.publish import publish
    from earthtone.build.recordings.recordings import recordings
    from earthtone.build.split import check_split, split
    from earthtone.build.toyworld.write import write_toyworld
    from earthtone.data.check import check
    from earthtone.data.pack import pack
    from earthtone.errors import EarthtoneError
    from earthtone.evaluate.audio_probe import evaluate_audio
    from earthtone.evaluate.audiovisual import evaluate_audiovisual
    from earthtone.evaluate.explain import why_pairs
    from earthtone.evaluate.finetune import evaluate_finetune
    from earthtone.evaluate.health import doctor
    from earthtone.evaluate.probe import evaluate_probe
    from earthtone.evaluate.retrieval import evaluate_retrieval
    from earthtone.evaluate.segment import evaluate_segment
    from earthtone.exports.export import export
    from earthtone.exports.hub import pull, push
    from earthtone.models.backbone import open_backbone
    from earthtone.models.convert import convert
    from earthtone.models.storage import load_model
    from earthtone.plugins import (
        list_plugins,
        register_audio_reader,
        register_encoder,
        register_image_reader,
        register_loss,
        register_tagger,
        register_task,
    )
    from earthtone.serve.server import serve_page
    from earthtone.studies.demo import demo
    from earthtone.studies.pretrain import pretrain
    from earthtone.studies.reproduce import reproduce_paper
    from earthtone.studies.suite import run_suite
    from earthtone.studies.sweep import sweep
    from earthtone.train.recipe_file import load_recipe

__version__ = "0.1.0"

#: The module of each public name.
_HOMES = {
    "EarthtoneError": "earthtone.errors",
    "build_dataset": "earthtone.build.build",
    "build_index": "earthtone.atlas.index",
    "check": "earthtone.data.check",
    "check_split": "earthtone.build.split",
    "convert": "earthtone.models.convert",
    "curate": "earthtone.build.curate.curate",
    "demo": "earthtone.studies.demo",
    "describe": "earthtone.build.describe",
    "doctor": "earthtone.evaluate.health",
    "embed": "earthtone.atlas.embed",
    "evaluate_audio": "earthtone.evaluate.audio_probe",
    "evaluate_audiovisual": "earthtone.evaluate.audiovisual",
    "evaluate_finetune": "earthtone.evaluate.finetune",
    "evaluate_probe": "earthtone.evaluate.probe",
    "evaluate_retrieval": "earthtone.evaluate.retrieval",
    "evaluate_segment": "earthtone.evaluate.segment",
    "explain_curation": "earthtone.build.curate.curate",
    "export": "earthtone.exports.export",
    "fetch": "earthtone.build.fetch.fetch",
    "list_plugins": "earthtone.plugins",
    "load_model": "earthtone.models.storage",
    "load_recipe": "earthtone.train.recipe_file",
    "map_similarity": "earthtone.atlas.maps",
    "open_backbone": "earthtone.models.backbone",
    "open_index": "earthtone.atlas.search",
    "pack": "earthtone.data.pack",
    "pretrain": "earthtone.studies.pretrain",
    "publish": "earthtone.build.publish",
    "pull": "earthtone.exports.hub",
    "push": "earthtone.exports.hub",
    "recordings": "earthtone.build.recordings.recordings",
    "register_audio_reader": "earthtone.plugins",
    "register_encoder": "earthtone.plugins",
    "register_image_reader": "earthtone.plugins",
    "register_loss": "earthtone.plugins",
    "register_tagger": "earthtone.plugins",
    "register_task": "earthtone.plugins",
    "reproduce_paper": "earthtone.studies.reproduce",
    "run_suite": "earthtone.studies.suite",
    "search": "earthtone.atlas.search",
    "serve_page": "earthtone.serve.server",
    "split": "earthtone.build.split",
    "sweep": "earthtone.studies.sweep",
    "tiles": "earthtone.atlas.tiles",
    "why_pairs": "earthtone.evaluate.explain",
    "write_toyworld": "earthtone.build.toyworld.write",
}

__all__ = [
    "EarthtoneError",
    "__version__",
    "build_dataset",
    "build_index",
    "check",
    "check_split",
    "convert",
    "curate",
    "demo",
    "describe",
    "doctor",
    "embed",
    "evaluate_audio",
    "evaluate_audiovisual",
    "evaluate_finetune",
    "evaluate_probe",
    "evaluate_retrieval",
    "evaluate_segment",
    "explain_curation",
    "export",
    "fetch",
    "list_plugins",
    "load_model",
    "load_recipe",
    "map_similarity",
    "open_backbone",
    "open_index",
    "pack",
    "pretrain",
    "publish",
    "pull",
    "push",
    "recordings",
    "register_audio_reader",
    "register_encoder",
    "register_image_reader",
    "register_loss",
    "register_tagger",
    "register_task",
    "reproduce_paper",
    "run_suite",
    "search",
    "serve_page",
    "split",
    "sweep",
    "tiles",
    "why_pairs",
    "write_toyworld",
]

#: Public names of earlier versions -> what they are now, and the version in which the old one goes.
_RENAMED: dict[str, tuple[str, str]] = {}


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        from earthtone.value_types import warn_of_renamed

        old, (name, gone) = name, _RENAMED[name]
        warn_of_renamed(f"earthtone.{old}", f"earthtone.{name}", gone, stacklevel=3)
    if name not in _HOMES:
        raise AttributeError(f"module 'earthtone' has no attribute {name!r}; it has {', '.join(__all__)}")
    from earthtone.errors import MissingExtraError, needed_by

    def found() -> Any:
        with needed_by(name):
            return getattr(import_module(_HOMES[name]), name)

    try:
        return found()
    except MissingExtraError as error:
        said = str(error)

    def later(*arguments: Any, **named: Any) -> Any:
        return found()(*arguments, **named)

    later.__name__ = later.__qualname__ = name
    later.__doc__ = f"Cannot be called here: {said}."
    return later  # names can be looked at, as `help` does, whatever is installed


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

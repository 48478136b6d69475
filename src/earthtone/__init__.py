"""Learn image and audio encoders, without a label, from sound and overhead imagery of the same place.

Names are imported when first used, so that `import earthtone` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earthtone.data.check import check
    from earthtone.data.pack import pack
    from earthtone.errors import EarthtoneError
    from earthtone.evaluate.probe import evaluate_probe
    from earthtone.evaluate.retrieval import evaluate_retrieval
    from earthtone.models.backbone import open_backbone
    from earthtone.models.convert import convert
    from earthtone.models.storage import load_model
    from earthtone.studies.pretrain import pretrain
    from earthtone.train.recipe_file import load_recipe

__version__ = "0.1.0"

_HOMES = {
    "EarthtoneError": ("earthtone.errors", "EarthtoneError"),
    "check": ("earthtone.data.check", "check"),
    "convert": ("earthtone.models.convert", "convert"),
    "evaluate_probe": ("earthtone.evaluate.probe", "evaluate_probe"),
    "evaluate_retrieval": ("earthtone.evaluate.retrieval", "evaluate_retrieval"),
    "load_model": ("earthtone.models.storage", "load_model"),
    "load_recipe": ("earthtone.train.recipe_file", "load_recipe"),
    "open_backbone": ("earthtone.models.backbone", "open_backbone"),
    "pack": ("earthtone.data.pack", "pack"),
    "pretrain": ("earthtone.studies.pretrain", "pretrain"),
}

__all__ = [
    "EarthtoneError",
    "__version__",
    "check",
    "convert",
    "evaluate_probe",
    "evaluate_retrieval",
    "load_model",
    "load_recipe",
    "open_backbone",
    "pack",
    "pretrain",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'earthtone' has no attribute {name!r}; it has {', '.join(__all__)}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)

"""Lightning's loggers by their names in a recipe, and what is asked of loggers and callbacks that Python hands over."""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import CometLogger, CSVLogger, Logger, MLFlowLogger, WandbLogger

from earthtone.errors import ConfigError, EarthtoneError, did_you_mean, flat
from earthtone.train.recipe import LoggerConfig, Recipe


class KnownLogger(NamedTuple):
    """A logger of Lightning's, the package that it needs, and where it writes on this disk."""

    kind: type[Logger]
    package: str | None
    """As it is imported; None where it needs none."""
    place: Callable[[Path], Mapping[str, Any]] = lambda folder: {"save_dir": str(folder)}


#: Wandb and MLflow write into the run's folder too, CSV into a folder of its own in it: version_0, after a resume 1.
LOGGERS: Mapping[str, KnownLogger] = {
    "csv": KnownLogger(CSVLogger, None, lambda folder: {"save_dir": str(folder), "name": "csv"}),
    "wandb": KnownLogger(WandbLogger, "wandb"),
    "mlflow": KnownLogger(MLFlowLogger, "mlflow", lambda folder: {"save_dir": str(folder / "mlruns")}),
    "comet": KnownLogger(CometLogger, "comet_ml", lambda folder: {}),
}


def check_logger(config: LoggerConfig) -> None:
    """Raise ConfigError where the package of a recipe's logger is not installed, or it lacks an option."""
    if config.name == "none":
        return
    known = LOGGERS[config.name]
    options = signature(known.kind.__init__).parameters
    if known.package is not None and find_spec(known.package) is None:
        shown = known.package.replace("_", "-")
        raise ConfigError(f"logger.name {config.name} needs the package {shown}; type: pip install {shown}")
    if any(option.kind is Parameter.VAR_KEYWORD for option in options.values()):
        return  # it hands them on
    for option in config.options:
        if option not in options or option == "self":
            names = [name for name in options if name != "self"]
            hint = did_you_mean(option, names)
            raise ConfigError(f"logger.options.{option}: {config.name} has no such option; {hint}{', '.join(names)}")


def make_loggers(config: LoggerConfig, folder: Path) -> list[Logger]:
    """Return the recipe's logger, or none; what it keeps on disk lies in the run's folder. Raises ConfigError."""
    if config.name == "none":
        return []
    check_logger(config)
    known = LOGGERS[config.name]
    try:
        return [known.kind(**{**known.place(folder), **config.options})]
    except Exception as error:  # each has its own for what it does not take
        raise ConfigError(f"logger.name {config.name} cannot be made: {_reason(error)}") from error


def start_loggers(loggers: Sequence[Logger], recipe: Recipe) -> None:
    """Tell loggers the recipe, before anything is trained; in the first process. Raises ConfigError where one fails."""
    for logger in loggers:
        try:
            logger.log_hyperparams(flat(recipe.decisive()))
            getattr(logger, "experiment", None)  # Lightning would ask for it in the middle of its start
        except EarthtoneError:
            raise
        except Exception as error:  # no account, no server, a full disk
            raise ConfigError(f"the logger {type(logger).__name__} cannot begin: {_reason(error)}") from error


def check_parts(callbacks: Sequence[Callback], loggers: Sequence[Logger]) -> None:
    """Raise ConfigError for what is no callback or logger of lightning.pytorch, and for further checkpoints."""
    for parts, kind in ((callbacks, Callback), (loggers, Logger)):
        for part in parts:
            if not isinstance(part, kind):
                found = f"{type(part).__module__.partition('.')[0]}'s {type(part).__name__}"
                raise ConfigError(f"{found}: no {kind.__name__} of lightning.pytorch; derive it from that one")
    for callback in callbacks:
        if isinstance(callback, Checkpoint):
            raise ConfigError(
                f"{type(callback).__name__}: a run writes checkpoints itself (train.checkpoint_seconds, train.keep); "
                "leave it out"
            )


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"

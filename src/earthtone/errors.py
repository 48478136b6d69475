"""The errors a user can cause. Each message says what was found, what was expected, and what to type."""


class EarthtoneError(Exception):
    """The base of all errors that are the input's fault; the command line prints it and exits with 2."""


class DataError(EarthtoneError):
    """A manifest, folder or table that cannot be used as it is."""


class SignalError(DataError):
    """One image or one recording that cannot be decoded; a reader of many files counts it and goes on."""


class ConfigError(EarthtoneError):
    """An option, a recipe or a combination of them that makes no sense."""


class ModelError(EarthtoneError):
    """Weights or a model card that do not fit what was asked for."""


class MissingExtraError(SignalError):
    """A format whose optional dependency is not installed; a reader of many files counts it and goes on."""

    SAID = " needs an optional dependency; type: pip install 'earthtone["

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what}{self.SAID}{extra}]'")


class ProcessError(EarthtoneError):
    """Another process of a training has ended, or cannot be reached."""

"""`earthtone evaluate TASK`: which task; each has its own file."""

from collections.abc import Callable, Mapping
from importlib import import_module

from earthtone.errors import ConfigError, did_you_mean

#: What each task measures; its function lies in the module `evaluate_TASK`.
TASKS: Mapping[str, str] = {
    "retrieval": "how well images find their recordings and the other way round",
    "probe": "how well simple classifiers read a label off frozen image features",
    "finetune": "how well a whole network with a linear head learns labelled images",
    "segment": "how well a backbone with a head draws land cover",
    "audiovisual": "how well scenes are told from images, from sounds, and from both",
    "audio": "what the sound tower learned: a label read off frozen sound features, fold by fold",
    "why": "which part of a tile and of a recording speaks for their match, as a page",
    "suite": "models in all these tasks on all sets below a folder, as one table",
}


def evaluate(words: list[str]) -> int:
    """Measure a model in one of the tasks."""
    if words and words[0] in ("-h", "--help"):
        print("usage: earthtone evaluate TASK [options]; --help after the task tells its options\n")
        print("\n".join(f"  {name:<12} {text}" for name, text in TASKS.items()))
        return 0
    if not words or words[0] not in TASKS:
        found = words[0] if words else "nothing"
        raise ConfigError(f"evaluate {found}; {did_you_mean(found, TASKS)}one of {', '.join(TASKS)} expected")
    task: Callable[[list[str]], int] = getattr(import_module(f"earthtone.cli.evaluate_{words[0]}"), words[0])
    return task(words[1:])

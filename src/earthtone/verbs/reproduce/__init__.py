"""`earthtone reproduce paper`: the published figures of SoundingEarth beside ours, by its protocol and by an honest one."""

from earthtone.verbs.reproduce.options import STEPS, ReproduceOptions
from earthtone.verbs.reproduce.reproduce import Reproduced, reproduce_paper

__all__ = ["STEPS", "Reproduced", "ReproduceOptions", "reproduce_paper"]

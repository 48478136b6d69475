"""`earthtone reproduce paper`: published figures beside ours, by the paper's protocol and by an honest one."""

from earthtone.verbs.reproduce.options import STEPS, ReproduceOptions
from earthtone.verbs.reproduce.reproduce import Reproduced, reproduce_paper

__all__ = ["STEPS", "ReproduceOptions", "Reproduced", "reproduce_paper"]

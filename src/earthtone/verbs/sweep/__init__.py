"""`earthtone sweep`: a grid of trainings, each in a process of its own, and one table of what they reach on val."""

from earthtone.verbs.sweep.grid import Grid, Variant, read_grid
from earthtone.verbs.sweep.run_settings import Measure
from earthtone.verbs.sweep.sweep import Swept, sweep

__all__ = ["Grid", "Measure", "Swept", "Variant", "read_grid", "sweep"]

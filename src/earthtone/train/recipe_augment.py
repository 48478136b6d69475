"""Whether a recipe's augmentation can do what it says; options without an effect are refused."""

import math

from earthtone.errors import ConfigError
from earthtone.train.recipe import AugmentConfig


def check_augment(augment: AugmentConfig, source: str) -> None:
    """Raise ConfigError for ranges of the section `augment` that cannot be drawn from, or that would change nothing."""
    low, high = augment.crop_ratio
    if not 0 < low <= high < math.inf:
        raise ConfigError(f"{source}: augment.crop_ratio is {augment.crop_ratio}; 0 < low <= high expected")
    low, high = augment.crop_area
    if not 0 < low <= high <= 1:
        raise ConfigError(f"{source}: augment.crop_area is {augment.crop_area}; 0 < low <= high <= 1 expected")
    for kind, loudest in (("mix", 0), ("noise", 60)):
        levels = getattr(augment, f"{kind}_db")
        if levels is None:
            continue
        if not getattr(augment, f"{kind}_share"):
            raise ConfigError(
                f"{source}: augment.{kind}_db does nothing without an augment.{kind}_share; give both or neither"
            )
        if not -200 <= levels[0] <= levels[1] <= loudest:
            raise ConfigError(f"{source}: augment.{kind}_db is {levels}; -200 <= low <= high <= {loudest} expected")

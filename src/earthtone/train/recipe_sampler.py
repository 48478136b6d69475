"""Whether a recipe's sampler can do what it says; options without an effect are refused."""

from earthtone.errors import ConfigError
from earthtone.train.cells import SMALLEST_KM
from earthtone.train.recipe import Recipe
from earthtone.train.sampler import shares

BATCHES = ("random", "spread", "clustered")
_MOST = 0.75  # of a batch: hard negatives need rows to be hard for


def check_sampler(recipe: Recipe, source: str) -> None:
    """Raise ConfigError for values of the section `sampler` that no training can have, or that would change nothing."""
    sampler = recipe.sampler
    if sampler.batches not in BATCHES:
        raise ConfigError(f"{source}: sampler.batches is {sampler.batches!r}; one of {', '.join(BATCHES)} expected")
    for option in ("ring_share", "similar_share"):
        if not 0 <= getattr(sampler, option) <= _MOST:
            value = getattr(sampler, option)
            raise ConfigError(f"{source}: sampler.{option} is {value}; a share from 0 to {_MOST} expected")
    needs = {
        "cell_km": (sampler.batches != "random", "sampler.batches spread or clustered"),
        "ring_km": (sampler.ring_share > 0, "a sampler.ring_share"),
        "refresh_epochs": (sampler.similar_share > 0, "a sampler.similar_share"),
    }
    for option, (has, need) in needs.items():
        if getattr(sampler, option) is not None and not has:
            raise ConfigError(f"{source}: sampler.{option} does nothing without {need}; give both or neither")
    if sampler.cell_km is not None and not sampler.cell_km >= SMALLEST_KM:
        raise ConfigError(f"{source}: sampler.cell_km is {sampler.cell_km}; at least {SMALLEST_KM} expected")
    if sampler.refresh_epochs is not None and sampler.refresh_epochs < 1:
        raise ConfigError(f"{source}: sampler.refresh_epochs is {sampler.refresh_epochs}; at least 1 expected")
    _check_shares(recipe, source)
    if sampler.ring_share > 0:
        _check_ring(recipe, source)


def _check_shares(recipe: Recipe, source: str) -> None:
    sampler, size = recipe.sampler, recipe.train.batch_size
    for option, rows in (("ring_share", shares(size, sampler).ring), ("similar_share", shares(size, sampler).similar)):
        share = getattr(sampler, option)
        if share and not rows:
            raise ConfigError(
                f"{source}: sampler.{option} {share} of a batch of {size} is no row; {1 / size:.2g} is one"
            )
    if sampler.ring_share + sampler.similar_share > _MOST:
        raise ConfigError(
            f"{source}: sampler.ring_share {sampler.ring_share} and similar_share {sampler.similar_share} are "
            f"more than {_MOST} of a batch together; lower one"
        )


def _check_ring(recipe: Recipe, source: str) -> None:
    if recipe.sampler.ring_km is None:
        raise ConfigError(f"{source}: sampler.ring_share needs sampler.ring_km, such as [1, 50]")
    low, high = recipe.sampler.ring_km
    if not (0 <= low < high and high >= SMALLEST_KM):
        raise ConfigError(
            f"{source}: sampler.ring_km is {[low, high]}; 0 <= low < high, at least {SMALLEST_KM}, expected"
        )
    if low * 1000 < recipe.loss.twin_radius_m:
        raise ConfigError(
            f"{source}: sampler.ring_km begins at {low} km, inside loss.twin_radius_m {recipe.loss.twin_radius_m:g}: "
            "twins are no negatives; begin the ring outside"
        )

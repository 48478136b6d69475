"""The terms within a modality: all views of an image, and all views of a recording, against each other."""

from itertools import combinations

import torch
from torch import Tensor, nn

from earthtone.losses.relation import TwinRule
from earthtone.train.recipe import Recipe
from earthtone.train.recipe_within import NONE, check_within, within_loss


class Within(nn.Module):
    """The recipe's loss between two views, for each modality that has a weight, behind a projection of its own.

    The projection (dimensions -> hidden -> ReLU -> hidden) lies in checkpoints, and is no part of the model. Twins are
    told as for the loss between the modalities, also where that ignores them.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        config = recipe.within
        weights = {"image": config.image_weight, "audio": config.audio_weight}
        self.weights = {modality: weight for modality, weight in weights.items() if weight > 0}
        self.loss = within_loss(config)
        self.loss.twin_rule = TwinRule("mask", recipe.loss.twin_radius_m)
        self.projections = nn.ModuleDict()
        if config.projection is not None:
            for modality in self.weights:
                self.projections[modality] = _projection(recipe.model.dimensions, config.projection)

    def forward(
        self, image: Tensor, audio: Tensor, views: int, points: Tensor | None, groups: Tensor | None
    ) -> dict[str, Tensor]:
        """Return the terms by modality, scalars without their weights: the mean over all two of the `views`.

        `image` and `audio` are (views N, D), the first views of all pairs first; `points` and `groups` as in `Batch`.
        """
        count = len(image) // views
        facts: dict[str, Tensor | None] = {}
        if self.loss.uses_twins:
            facts = {
                "points": None if points is None else points[:count],
                "groups": None if groups is None else groups[:count],
            }
        terms = {}
        for modality, rows in (("image", image), ("audio", audio)):
            if modality in self.weights:
                each = self._projected(modality, rows).chunk(views)  # (N, D) a view
                both = [self.loss(one, other, **facts) for one, other in combinations(each, 2)]
                terms[modality] = torch.stack(both).mean()
        return terms

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum of the terms."""
        return torch.stack([self.weights[modality] * term for modality, term in terms.items()]).sum()

    def _projected(self, modality: str, rows: Tensor) -> Tensor:
        """Return rows behind the modality's projection, if there are projections, in full precision."""
        if modality not in self.projections:
            return rows
        projection = self.projections[modality]
        with torch.autocast(device_type=rows.device.type, enabled=False):
            projected: Tensor = projection(rows.to(next(projection.parameters()).dtype))
        return projected


def recipe_within(recipe: Recipe) -> Within | None:
    """Return what compares views within a modality; None where the recipe has nothing of it. Raises ConfigError."""
    check_within(recipe, "recipe")
    return None if recipe.within.name == NONE else Within(recipe)


def _projection(dimensions: int, hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(dimensions, hidden), nn.ReLU(), nn.Linear(hidden, hidden))

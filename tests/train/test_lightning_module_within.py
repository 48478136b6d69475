"""Terms within a modality: their values, their weights, their projection, twins, and what a recipe may not say."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from earthtone.data.packed import Table
from earthtone.errors import ConfigError
from earthtone.losses.simclr import NTXent
from earthtone.losses.vicreg import VICReg
from earthtone.models.storage import WEIGHTS_FILE
from earthtone.models.two_tower import TwoTower
from earthtone.models.weights import read_safetensors
from earthtone.train.checkpoint import read_history
from earthtone.train.distributed import World, gather_rows
from earthtone.train.fit import fit
from earthtone.train.lightning_module import PretrainTask, Within, recipe_loss, recipe_within
from earthtone.train.loader import TrainLoader
from earthtone.train.recipe import LossConfig, Recipe, WithinConfig
from earthtone.train.recipe_file import recipe_from_dict

VIEWS, PAIRS, DIMENSIONS = 3, 6, 16


def with_within(recipe: Recipe, name: str, views: int = VIEWS, **options: Any) -> Recipe:
    return replace(recipe, train=replace(recipe.train, views=views), within=WithinConfig(name, **options))


def rows(seed: int = 0) -> tuple[Tensor, Tensor]:
    image, audio = np.random.default_rng(seed).standard_normal((2, VIEWS * PAIRS, DIMENSIONS))
    return torch.from_numpy(image), torch.from_numpy(audio)


def projected(within: Within, modality: str, values: Tensor) -> np.ndarray:
    """In numpy, by the weights."""
    first, _, last = within.projections[modality]  # type: ignore[misc]
    weights = [part.detach().numpy() for layer in (first, last) for part in (layer.weight, layer.bias)]
    hidden = np.maximum(values.numpy() @ weights[0].T + weights[1], 0)
    return np.asarray(hidden @ weights[2].T + weights[3])


@pytest.mark.parametrize("name", ["simclr", "vicreg"])
@pytest.mark.parametrize("projection", [None, 9])
def test_terms_are_means_over_two_views(name: str, projection: int | None, tiny_recipe: Recipe) -> None:
    torch.manual_seed(0)
    within = recipe_within(with_within(tiny_recipe, name, projection=projection, image_weight=0.5, audio_weight=2.0))
    assert within is not None
    within.double()
    given = dict(zip(("image", "audio"), rows(), strict=True))
    terms = within(*given.values(), VIEWS, None, None)
    loss = NTXent() if name == "simclr" else VICReg()
    for modality, values in given.items():
        seen = values if projection is None else torch.from_numpy(projected(within, modality, values))
        views = [seen[v * PAIRS : (v + 1) * PAIRS] for v in range(VIEWS)]
        expected = np.mean([loss(one, other).item() for one, other in combinations(views, 2)])
        assert terms[modality].item() == pytest.approx(expected, rel=1e-10)
    assert within.total(terms).item() == pytest.approx(0.5 * terms["image"].item() + 2 * terms["audio"].item())


def test_a_term_without_weight_is_not_there(tiny_recipe: Recipe) -> None:
    within = recipe_within(with_within(tiny_recipe, "vicreg", audio_weight=0.0, projection=4))
    assert within is not None and list(within.projections) == ["image"]
    assert list(within.double()(*rows(), VIEWS, None, None)) == ["image"]


def test_options_reach_the_loss(tiny_recipe: Recipe) -> None:
    within = recipe_within(with_within(tiny_recipe, "simclr", options={"temperature": 0.5}))
    assert within is not None and within.loss.temperature == 0.5
    assert recipe_within(tiny_recipe) is None


@pytest.mark.parametrize("twins", ["mask", "positive", "ignore"])
def test_twins_are_no_negatives_whatever_the_loss_does(tiny_table: Path, tiny_recipe: Recipe, twins: str) -> None:
    recipe = replace(with_within(tiny_recipe, "simclr", views=2), loss=LossConfig(twins=twins))
    table = Table(tiny_table)
    batch = next(iter(TrainLoader(table, table.rows_of("all"), recipe)))
    assert batch.groups is not None
    groups = batch.groups.clone()
    groups[[1, 5], 0] = groups[2, 0]
    groups[6, 0] = groups[2, 0]
    image, audio = (part[:8] for part in rows())
    within = recipe_within(recipe)
    assert within is not None
    pair = torch.zeros(4, 4, dtype=torch.bool)
    pair[1, 2] = pair[2, 1] = True
    terms = within(image, audio, 2, None, groups)
    assert terms["image"].item() == pytest.approx(NTXent()(image[:4], image[4:], pair).item())
    assert terms["image"].item() != pytest.approx(within(image, audio, 2, None, batch.groups)["image"].item())


@pytest.mark.parametrize("twins", ["mask", "ignore"])
def test_the_step_adds_the_terms_and_the_loss_ignores_what_it_shall(
    tiny_table: Path, tiny_recipe: Recipe, twins: str
) -> None:
    recipe = replace(with_within(tiny_recipe, "simclr", 2, image_weight=0.5), loss=LossConfig(twins=twins))
    torch.manual_seed(0)
    model, loss, within = TwoTower(recipe.model, recipe.signal).eval(), recipe_loss(recipe), recipe_within(recipe)
    table = Table(tiny_table)
    batch = next(iter(TrainLoader(table, table.rows_of("all"), recipe)))
    ignores = twins == "ignore"
    task = PretrainTask(model, loss, recipe.train, 9, within=within, ignores_twins=ignores)
    value = task.training_step(batch, 0).item()
    image, audio = model(batch.image, batch.audio)
    across = loss(image, audio, groups=None if ignores else batch.groups, pairs=batch.pairs).item()
    assert within is not None
    terms = within(image, audio, 2, None, batch.groups)
    assert value == pytest.approx(across + 0.5 * terms["image"].item() + terms["audio"].item(), rel=1e-5)
    told = {name: float(term) for name, term in task.last_terms.items()}
    expected = {"across": across, "within_image": terms["image"].item(), "within_audio": terms["audio"].item()}
    assert told == pytest.approx(expected, rel=1e-5)


def test_the_log_has_the_terms_and_the_model_no_projection(
    tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = with_within(tiny_recipe, "vicreg", 2, projection=8)
    fit(Table(tiny_table), recipe, tmp_path / "run")
    for line in read_history(tmp_path / "run"):
        assert line["loss"] == pytest.approx(line["across"] + line["within_image"] + line["within_audio"], rel=1e-5)
    kept, _ = read_safetensors(tmp_path / "run" / WEIGHTS_FILE)
    assert kept.keys() == TwoTower(recipe.model, recipe.signal).state_dict().keys()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"within": {"name": "byol"}}, "none, simclr or vicreg"),
        ({"within": {"name": "simclr"}}, "set train.views to 2 or more"),
        ({"within": {"image_weight": 0.5}}, "within.image_weight does nothing while within.name is none"),
        ({"within": {"projection": 64}}, "within.projection does nothing"),
        ({"within": {"name": "vicreg", "image_weight": -1}}, "0 or more"),
        ({"within": {"name": "vicreg", "image_weight": 0, "audio_weight": 0}}, "both 0"),
        ({"within": {"name": "vicreg", "projection": 0}}, "within.projection is 0; 1 or more"),
        ({"within": {"name": "simclr", "options": {"temperatur": 1}}}, "did you mean temperature?"),
        ({"within": {"name": "simclr", "options": {"temperature": 0}}}, "simclr: temperature is 0"),
        (
            {"within": {"name": "vicreg", "options": {"variance": "much"}}},
            "vicreg: variance is 'much'; a number expected",
        ),
        ({"within": {"name": "vicreg", "image_weight": float("inf")}}, "finite"),
    ],
)
def test_mistakes_are_named(values: dict[str, Any], expected: str) -> None:
    views = 1 if "views" in expected else 2
    with pytest.raises(ConfigError, match=r"my\.yaml") as caught:
        recipe_from_dict({**values, "train": {"views": views}}, "my.yaml")
    assert expected in str(caught.value)


def test_it_is_checked_also_without_a_file(tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"set train\.views to 2 or more"):
        fit(Table(tiny_table), with_within(tiny_recipe, "simclr", views=1), tmp_path / "run")


def stepped(recipe: Recipe, world: World) -> dict[str, Any]:
    """The weights after two steps of plain gradient descent on towers of one layer, and the terms."""
    torch.manual_seed(0)
    within = recipe_within(recipe)
    assert within is not None
    both = torch.nn.ModuleList([torch.nn.Linear(5, DIMENSIONS), torch.nn.Linear(7, DIMENSIONS), within]).double()
    loss, found = recipe_loss(recipe).double(), {}
    for step in range(2):
        draw = np.random.default_rng(step)
        groups = torch.arange(2 * PAIRS).reshape(PAIRS, 2).repeat(VIEWS, 1)
        pairs = torch.arange(PAIRS).repeat(VIEWS)
        inputs = [torch.from_numpy(draw.standard_normal((VIEWS, PAIRS, width))) for width in (5, 7)]
        own = [part[:, world.rank :: world.size].flatten(0, 1) for part in inputs]
        image, audio = (gather_rows(tower(part), world) for tower, part in zip(both, own, strict=False))
        terms = within(image, audio, VIEWS, None, groups)
        value = loss(image, audio, groups=groups, pairs=pairs) + within.total(terms)
        gradients = torch.autograd.grad(value, list(both.parameters()))
        with torch.no_grad():
            for weight, gradient in zip(both.parameters(), gradients, strict=True):
                if world.size > 1:  # what DDP does: the mean over the processes
                    torch.distributed.all_reduce(gradient)
                weight -= 0.1 * gradient / world.size
        found = {"value": value.detach(), **{f"term {key}": term.detach() for key, term in terms.items()}}
    return {**found, **both.state_dict()}


def process(rank: int, meeting: str, found: str, recipes: list[Recipe]) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    torch.save([stepped(recipe, World(rank, 2)) for recipe in recipes], f"{found}.{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipes = [with_within(tiny_recipe, name, projection=8) for name in ("simclr", "vicreg")]
    torch.multiprocessing.spawn(process, (str(tmp_path / "meeting"), str(tmp_path / "found"), recipes), nprocs=2)
    for rank in range(2):
        found = torch.load(tmp_path / f"found.{rank}", weights_only=True)
        for recipe, one in zip(recipes, found, strict=True):
            for key, value in stepped(recipe, World()).items():
                assert torch.allclose(one[key], value, atol=1e-12), key

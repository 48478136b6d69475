"""One training step as Lightning wants it: views, losses, momentum, frozen parts, optimizer and schedule."""

import copy
import inspect
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from earthtone.data.packed import Table
from earthtone.errors import ConfigError, DataError, did_you_mean
from earthtone.files import write_text_atomic
from earthtone.losses.base import Loss
from earthtone.losses.simclr import NTXent
from earthtone.losses.twins import TwinRule
from earthtone.losses.vicreg import VICReg
from earthtone.models.encoders import Tower, layer_groups, parameter_groups, shares_by_depth
from earthtone.models.two_tower import TwoTower
from earthtone.train.distributed import (
    Gathered,
    Whole,
    World,
    by_part,
    clip_in_parts,
    gathered,
    own_part,
    part_of_state,
    shard_model,
)
from earthtone.train.gradcache import embed_in_chunks
from earthtone.train.loader import Batch
from earthtone.train.recipe import Recipe, TrainConfig, WithinConfig
from earthtone.value_types import wrong

# Encoders that follow the trained ones slowly, so that the rows of a queue come from nearly the same encoder.


_Module = TypeVar("_Module", bound=nn.Module)


def follower_of(model: _Module) -> _Module:
    """Return a copy of `model` without gradients, to be moved by `follow`."""
    follower = copy.deepcopy(model)
    return follower.requires_grad_(False)


@torch.no_grad()
def follow(follower: nn.Module, model: nn.Module, momentum: float) -> None:
    """Move each weight of `follower` to momentum * itself + (1 - momentum) * the one of `model`.

    Buffers are its own: its batch norms see its own activations. Source: He et al., "Momentum Contrast",
    arXiv 1911.05722, equation 2.
    """
    own: list[Tensor] = [own_part(value) for value in follower.parameters()]
    others: list[Tensor] = [own_part(value) for value in model.parameters()]
    torch._foreach_lerp_(own, others, 1 - momentum)


# Which encoders stay as they are, until when, and how several processes agree on gradients that nobody has.


FREEZES = ("image", "audio", "both")


def frozen_names(config: TrainConfig) -> tuple[str, ...]:
    """Return the names of the towers whose encoders are frozen for a while or for good."""
    if config.freeze is None:
        return ()
    return ("image", "audio") if config.freeze == "both" else (config.freeze,)


def is_frozen(config: TrainConfig, step: int) -> bool:
    """Return whether the encoders of `frozen_names` stand still in step `step`, counted from 0."""
    return config.freeze is not None and (config.unfreeze_step is None or step < config.unfreeze_step)


def freeze_towers(model: TwoTower, config: TrainConfig, step: int) -> None:
    """Freeze or unfreeze a model's encoders for a step: a function of the step, so a resume needs no state."""
    for name in frozen_names(config):
        cast(Tower, getattr(model, f"{name}_tower")).freeze(is_frozen(config, step))


def frozen_weights(model: TwoTower, config: TrainConfig, step: int) -> list[nn.Parameter]:
    """Return the weights that stand still in a step but will learn later."""
    if config.unfreeze_step is None or not is_frozen(config, step):
        return []
    return [value for name in frozen_names(config) for value in getattr(model, f"{name}_tower").encoder.parameters()]


def nothing_of(weights: list[nn.Parameter]) -> Tensor:
    """Return zero with a gradient of zeros: DDP waits for each weight's gradient, also while the weight is frozen."""
    return torch.stack([value.sum() for value in weights]).sum() * 0.0


def check_freeze(recipe: Recipe, source: str) -> None:
    """Raise ConfigError for freezing without an effect, or of weights that are random."""
    train, model = recipe.train, recipe.model
    if train.freeze is not None and train.freeze not in FREEZES:
        raise ConfigError(f"{source}: train.freeze is {train.freeze!r}; one of {', '.join(FREEZES)} expected, or null")
    for name in frozen_names(train):
        if getattr(model, f"{name}_weights") is None:
            raise ConfigError(
                f"{source}: train.freeze {train.freeze} would keep the {name} encoder's random weights; "
                f"set model.{name}_weights (docs/models.md)"
            )
    if train.unfreeze_step is not None:
        if train.freeze is None:
            raise ConfigError(f"{source}: train.unfreeze_step without train.freeze has no effect; leave it out")
        if train.unfreeze_step < 1:
            raise ConfigError(
                f"{source}: train.unfreeze_step is {train.unfreeze_step}; 1 or more expected, or null for never"
            )
    if not 0 < train.layer_decay <= 1:
        raise ConfigError(f"{source}: train.layer_decay is {train.layer_decay}; above 0, at most 1 expected")
    if train.freeze == "both" and train.unfreeze_step is None:
        for option, value, off in (
            ("train.layer_decay", train.layer_decay, 1.0), ("model.drop_path", model.drop_path, 0.0),
        ):  # fmt: skip
            if value != off:
                raise ConfigError(
                    f"{source}: {option} {value} has no effect on encoders that are frozen for good; "
                    "leave it out, or set train.unfreeze_step"
                )


def check_unfreeze(config: TrainConfig, steps: int) -> None:
    """Raise ConfigError when a training of `steps` steps ends before its encoders join."""
    if config.unfreeze_step is not None and config.unfreeze_step >= steps:
        raise ConfigError(
            f"train.unfreeze_step is {config.unfreeze_step}, but the training has {steps} steps; a smaller one "
            "expected, or null for never"
        )


# Both towers' forward and backward pass as kernels that torch.compile writes for them.


#: Returns image and audio embeddings (n, D) that a model gives for the rows of both inputs.
EmbedBy = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]


def embed(model: nn.Module, image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
    """Return both embeddings (n, D) of a model, computed as they are written."""
    images, sounds = model(image, audio)
    return images, sounds


def compiled_embed(backend: str = "inductor") -> EmbedBy:
    """Return `embed`, compiled at its first call for each model, mode and shape; random draws are those of `embed`.

    A function is compiled, not the model: its weights keep their names, validation and files run as ever.
    """
    torch.compiler.reset()  # what earlier trainings compiled counts too, and after eight torch silently stops compiling
    options: dict[str, Any] | None = {"fallback_random": True} if backend == "inductor" else None
    return torch.compile(embed, dynamic=False, backend=backend, options=options)


def check_compile(recipe: Recipe, source: str) -> None:
    """Raise ConfigError where a training has passes that are not compiled, or that nobody has tried compiled."""
    train = recipe.train
    if train.compile and train.chunk_size is not None:
        raise ConfigError(
            f"{source}: train.compile with train.chunk_size {train.chunk_size}: chunks are not compiled; "
            "leave one of them out"
        )
    if train.compile and train.devices * train.nodes > 1:
        raise ConfigError(
            f"{source}: train.compile with {train.devices * train.nodes} processes (train.devices x train.nodes): "
            "it is for one process; leave it out"
        )


def check_compiler(device: str) -> None:
    """Raise ConfigError where torch.compile has nothing to write kernels with."""
    if device == "mps":
        raise ConfigError("train.compile is for cpu and cuda; leave it out on mps")
    usual = {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++")
    compiler = os.environ.get("CXX", usual).split()[0]
    if device == "cpu" and shutil.which(compiler) is None:
        raise ConfigError(
            f"train.compile needs a C++ compiler on a CPU, {compiler} is not there; install {usual}, "
            "set CXX to another, or leave train.compile out"
        )


# Whether a recipe's section `within` can do what it says; options without an effect are refused.


NONE = "none"
WITHIN: dict[str, type[Loss]] = {"simclr": NTXent, "vicreg": VICReg}


def check_within(recipe: Recipe, source: str) -> None:
    """Raise ConfigError for values of the section `within` that no training can have, or that would change nothing."""
    within = recipe.within
    known = (NONE, *WITHIN)
    if within.name not in known:
        raise ConfigError(f"{source}: within.name is {within.name!r}; one of {', '.join(known)} expected")
    if within.name == NONE:
        default = asdict(WithinConfig())
        if idle := [key for key, value in asdict(within).items() if value != default[key]]:
            raise ConfigError(f"{source}: within.{idle[0]} does nothing while within.name is none; leave it out")
        return
    if recipe.train.views < 2:
        raise ConfigError(
            f"{source}: within.name {within.name} compares views of a pair, and train.views is {recipe.train.views}; "
            "set train.views to 2 or more"
        )
    for key in ("image_weight", "audio_weight"):
        if not getattr(within, key) >= 0:
            raise ConfigError(f"{source}: within.{key} is {getattr(within, key)}; at least 0 expected")
    if not within.image_weight + within.audio_weight > 0:
        raise ConfigError(f"{source}: within.image_weight and audio_weight are both 0; set within.name to none")
    if within.projection is not None and within.projection < 1:
        raise ConfigError(f"{source}: within.projection is {within.projection}; at least 1 expected, or null")
    try:
        within_loss(within)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error


def within_loss(config: WithinConfig) -> Loss:
    """Return the loss between two views. Raises ConfigError for an option that it lacks, or a wrong value."""
    kind = WITHIN[config.name]
    known, hints = tuple(inspect.signature(kind).parameters), get_type_hints(kind.__init__)
    for option, value in config.options.items():
        if option not in known:
            hint = did_you_mean(option, known)
            raise ConfigError(f"within.options of {config.name}: unknown {option}; {hint}known: {', '.join(known)}")
        if told := wrong(value, hints[option]):
            raise ConfigError(f"within.options.{option} of {config.name} is {told}")
    try:
        return kind(**config.options)
    except TypeError as error:
        raise ConfigError(f"within.options of {config.name}: {error}; numbers expected") from error


# The terms within a modality: all views of an image, and all views of a recording, against each other.


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


# A loss or a gradient that is no number any more: which pairs, which of them are to blame, and a list on disk.


NOT_FINITE_FILE = "not_finite.json"
_NAMED = 8  # ids in the message; all are in the file


class NotFiniteError(DataError):
    """`what` ("loss is nan") of `step`; `rows` of the table are its batch, `guilty` those without finite embeddings."""

    def __init__(self, what: str, step: int, rows: Sequence[int], guilty: Sequence[int] = ()) -> None:
        super().__init__(f"{what} at step {step}, table rows {_some(rows)}; {_ADVICE}")
        self.what = what
        self.step = step
        self.rows = list(rows)
        self.guilty = list(guilty)


_ADVICE = "nothing of it is in the last checkpoint; lower --train.learning_rate, or leave these pairs out"


def rows_without_embedding(rows: Tensor, image: Tensor, audio: Tensor) -> list[int]:
    """Return those of `rows` (N,) whose embeddings (N, D) hold a value that is no number; nothing when all do.

    A row that is there with several views is named once.
    """
    bad = ~(torch.isfinite(image).all(dim=1) & torch.isfinite(audio).all(dim=1))
    return [] if bool(bad.all()) else list(dict.fromkeys(rows[bad.to(rows.device)].tolist()))


def named(error: NotFiniteError, table: Table, out: Path) -> DataError:
    """Return the error with the ids of its pairs; all of them are written to `out`."""
    ids, guilty = ([record["id"] for record in table.records(rows, ["id"])] for rows in (error.rows, error.guilty))
    found = {"what": error.what, "step": error.step, "ids": ids, "ids_without_finite_embedding": guilty}
    write_text_atomic(out / NOT_FINITE_FILE, json.dumps(found, indent=1) + "\n")
    whose = f"embeddings of {_some(guilty)} of its {len(ids)} pairs" if guilty else f"pairs {_some(ids)}"
    return DataError(f"{error.what} at step {error.step}: {whose} (all: {out / NOT_FINITE_FILE}); {_ADVICE}")


def _some(names: Sequence[object]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(str, names[:_NAMED])) + more


# One training step as Lightning wants it: two projections, one loss, one optimizer with its schedule.


class PretrainTask(LightningModule):
    """Model and loss under training; `done` counts all steps, also those before a resume (keeper.py)."""

    def __init__(
        self,
        model: TwoTower,
        loss: Loss,
        config: TrainConfig,
        steps: int,
        done: int = 0,
        world: World | None = None,
        within: Within | None = None,
        ignores_twins: bool = False,
    ) -> None:
        """`within` compares views inside a modality; with `ignores_twins` only it is told who is whose twin."""
        super().__init__()
        self.model = model
        self.loss = loss
        self.within = within
        self.config = config
        self.steps = steps
        self.done = done
        self.optimizer_state: dict[str, Any] | None = None
        self.last_loss = math.nan
        self.last_terms: dict[str, Tensor] = {}
        """What the last loss is the weighted sum of, where there is more than one term."""
        if config.unfreeze_step is None:
            for name in frozen_names(config):
                getattr(model, f"{name}_tower").encoder.requires_grad_(False)
        self._layers()  # tells blocks that are not known
        self.momentum_model = None if config.momentum is None else follower_of(model)
        self._ignores_twins = ignores_twins
        self._world = world or World()
        self._rows: Tensor | None = None
        self._in_parts = config.strategy == "fsdp"
        self.whole = Gathered(self, self._world) if self._in_parts else Whole(self)
        self._embed = compiled_embed() if config.compile else embed

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return the loss of a batch. Raises NotFiniteError when it is not finite."""
        keys = self._keys(batch)
        image, audio = self._embeddings(self.model, batch)
        groups = None if self._ignores_twins else batch.groups
        loss: Tensor = self.loss(image, audio, points=batch.points, groups=groups, keys=keys, pairs=batch.pairs)
        if self.within is not None:
            terms = self.within(image, audio, self.config.views, batch.points, batch.groups)
            self.last_terms = {"across": loss.detach()}
            self.last_terms |= {f"within_{modality}": term.detach() for modality, term in terms.items()}
            loss = loss + self.within.total(terms)
        self.last_loss = float(loss.detach())
        self._rows = batch.rows
        if not math.isfinite(self.last_loss):
            guilty = rows_without_embedding(batch.rows.repeat(self.config.views), image, audio)
            raise NotFiniteError(f"loss is {self.last_loss}", self.done + 1, batch.rows.tolist(), guilty)
        waiting = frozen_weights(self.model, self.config, self.done)
        return loss + nothing_of(waiting) if waiting and self._world.size > 1 and not self._in_parts else loss

    def _embeddings(self, model: TwoTower, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return both embeddings (V N, D) of a batch, of all processes' rows."""
        if self.config.chunk_size is None:
            image, audio = self._embed(model, batch.image, batch.audio)
        else:
            rows = self.config.chunk_size * self.config.views
            image, audio = embed_in_chunks(model, model, batch.image, batch.audio, rows)
        return gathered(image, self._world), gathered(audio, self._world)

    @torch.no_grad()
    def _keys(self, batch: Batch) -> tuple[Tensor, Tensor] | None:
        """Return what momentum encoders, where there are any, make of the batch; they take their step before."""
        if self.momentum_model is None or self.config.momentum is None:
            return None
        follow(self.momentum_model, self.model, self.config.momentum)
        return self._embeddings(self.momentum_model, batch)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Shorten the gradient to the recipe's length. Raises NotFiniteError before it could spoil the weights."""
        for value in frozen_weights(self.model, self.config, self.done):
            value.grad = None  # a zero would still be decayed
        weights = [value for group in optimizer.param_groups for value in group["params"] if value.grad is not None]
        if self._in_parts:
            length = clip_in_parts([cast(Tensor, value.grad) for value in weights], gradient_clip_val, self._world)
        elif gradient_clip_val is None:
            length = torch.nn.utils.get_total_norm([value.grad for value in weights])
        else:
            length = torch.nn.utils.clip_grad_norm_(weights, gradient_clip_val)
        if not bool(torch.isfinite(length)):
            rows = [] if self._rows is None else self._rows.tolist()
            raise NotFiniteError(f"gradient is {float(length)}", self.done + 1, rows)

    def on_train_batch_start(self, *_: Any) -> None:
        """Set what learns in this step, and how fast; of several processes each draws its own numbers in it."""
        for model in filter(None, (self.model, self.momentum_model)):
            freeze_towers(model, self.config, self.done)
        if self._world.size > 1:  # a function of the step: a resume needs nobody's state
            draws = np.random.SeedSequence([self.config.seed, self.done, self._world.rank])
            torch.manual_seed(int(draws.generate_state(1)[0]))
        for group in self._groups():
            share = group.get("share", 1.0)  # checkpoints of before have none
            group["lr"] = self.config.learning_rate * schedule(self.done, self.steps, self.config) * share

    @property
    def learning_rate(self) -> float:
        """Of the current step, at the top."""
        return max(float(group["lr"]) for group in self._groups())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer, with its state where a checkpoint brought one."""
        kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
        groups = parameter_groups(self._layers(), self.config.weight_decay)
        if self._in_parts:
            groups = by_part(groups, self.model)
        optimizer: torch.optim.Optimizer = kinds[self.config.optimizer](groups, lr=self.config.learning_rate)
        if self.optimizer_state is not None:
            optimizer.load_state_dict(part_of_state(optimizer, self.optimizer_state))
            self.optimizer_state = None
        return optimizer

    def tensors(self) -> dict[str, Tensor]:
        """Return weights and moments by their names in a checkpoint, as this process has them."""
        tensors = {f"task.{name}": value for name, value in self.state_dict().items()}
        for index, state in self.trainer.optimizers[0].state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
        return tensors

    def shard(self, mesh: DeviceMesh) -> None:
        """Keep this process's part of the model, and of the one that follows it."""
        for model in filter(None, (self.model, self.momentum_model)):
            shard_model(model, mesh)

    def _layers(self) -> list[tuple[Iterable[nn.Parameter], float]]:
        """All parameters with their share of the learning rate. Raises ConfigError where blocks are not known."""
        if self.config.layer_decay == 1:
            return [(self.parameters(), 1.0)]
        encoders = [tower.encoder for tower in (self.model.image_tower, self.model.audio_tower)]
        learning = [encoder for encoder in encoders if any(value.requires_grad for value in encoder.parameters())]
        decay = self.config.layer_decay
        layers = [entry for encoder in learning for entry in shares_by_depth(layer_groups(encoder), decay)]
        below = {id(value) for layer, _ in layers for value in layer}
        return [*layers, ([value for value in self.parameters() if id(value) not in below], 1.0)]

    def _groups(self) -> list[dict[str, Any]]:
        return self.trainer.optimizers[0].param_groups


def schedule(step: int, steps: int, config: TrainConfig) -> float:
    """Return the learning rate's factor: linear warm-up, then constant or half a cosine to zero (arXiv 1608.03983)."""
    warmup = max(1, round(config.warmup_share * steps))
    if step < warmup:
        return (step + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

"""One training step as Lightning wants it: model, losses, momentum encoders, frozen parts, optimizer, schedule."""

import copy
import json
import math
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from earthtone.data.packed import Table
from earthtone.errors import ConfigError, DataError
from earthtone.files import write_text_atomic
from earthtone.losses import VIEW_LOSSES, make_loss
from earthtone.losses.base import Loss
from earthtone.losses.twins import TwinRule
from earthtone.models.encoders import Tower, layer_groups, parameter_groups, shares_by_depth
from earthtone.models.two_tower import TwoTower
from earthtone.train.distributed import (
    FullWeights,
    ShardedWeights,
    World,
    clip_sharded,
    gather_rows,
    local_part,
    shard_model,
    shard_state,
    split_sharded,
)
from earthtone.train.gradcache import embed_in_chunks
from earthtone.train.loader import Batch
from earthtone.train.recipe import Recipe, TrainConfig
from earthtone.train.recipe_file import loss_shape

NOT_FINITE_FILE = "not_finite.json"
_NAMED = 8  # ids in the message; all are in the file
_ADVICE = "nothing of it is in the last checkpoint; lower --train.learning_rate, or leave these pairs out"
#: Of images and of sounds, None where a training has none.
Both = tuple[Tensor | None, Tensor | None]
#: Returns image and audio embeddings (n, D) that a model gives for the rows of both inputs.
EmbedBy = Callable[[nn.Module, Tensor | None, Tensor | None], Both]


def recipe_loss(recipe: Recipe) -> Loss:
    """Return the recipe's loss; a queue and a projection get the recipe's batch size and dimensions.

    Raises ConfigError for an unknown name, for an unknown option and for one out of range.
    """
    name, twins = recipe.loss.name, recipe.loss.twins
    shape = {key: value for key, (value, _) in loss_shape(recipe).items()}
    loss = make_loss(name, **{**shape, **recipe.loss.options})
    if twins != "ignore":
        loss.twin_rule = TwinRule(twins, recipe.loss.twin_radius_m)
    return loss


def check_queue(loss: Loss, rows: int, recipe: Recipe) -> None:
    """Raise ConfigError when a loss keeps more rows of earlier batches than there are training pairs."""
    if loss.queue_rows > rows * recipe.train.views:
        size = recipe.train.batch_size
        batches = loss.queue_rows // (size * recipe.train.views)
        raise ConfigError(
            f"the loss {recipe.loss.name!r} keeps a queue of {batches} batches of {size}, more than "
            f"the {rows} training pairs: rows would meet themselves; type --loss.options.batches "
            f"{max(1, rows // size)} or less"
        )


def check_model(recipe: Recipe) -> None:
    """Raise ConfigError for encoders that cannot be made, and for layer decay over unknown blocks.

    Takes neither memory for weights nor random numbers.
    """
    with torch.device("meta"):
        model = TwoTower(recipe.model, recipe.signal)
    if recipe.train.layer_decay == 1:
        return
    still = recipe.train.frozen_encoders if recipe.train.unfreeze_step is None else ()
    for name, tower in model.towers.items():
        if name not in still:
            layer_groups(tower.encoder)


def check_unfreeze(config: TrainConfig, steps: int) -> None:
    """Raise ConfigError when a training of `steps` steps ends before its encoders join."""
    if config.unfreeze_step is not None and config.unfreeze_step >= steps:
        raise ConfigError(
            f"train.unfreeze_step is {config.unfreeze_step}, but the training has {steps} steps; a smaller one "
            "expected, or null for never"
        )


class Within(nn.Module):
    """The recipe's loss between two views of one modality, for each that has a weight, behind a projection of its own.

    The projection (dimensions -> hidden -> ReLU -> hidden) lies in checkpoints, and is no part of the model. Twins are
    recognised as for the loss between the modalities, also where that ignores them.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        config = recipe.within
        weights = {"image": config.image_weight, "audio": config.audio_weight}
        self.weights = {name: weight for name, weight in weights.items() if weight > 0 and name in recipe.learns}
        self.loss = VIEW_LOSSES[config.name].load()(**config.options)
        self.loss.twin_rule = TwinRule("mask", recipe.loss.twin_radius_m)
        self.projections = nn.ModuleDict()
        if config.projection is not None:
            hidden = config.projection
            for modality in self.weights:
                first = nn.Linear(recipe.model.dimensions, hidden)
                self.projections[modality] = nn.Sequential(first, nn.ReLU(), nn.Linear(hidden, hidden))

    def forward(
        self, image: Tensor | None, audio: Tensor | None, views: int, points: Tensor | None, groups: Tensor | None
    ) -> dict[str, Tensor]:
        """Return the terms by modality, scalars without their weights: the mean over all two of the `views`.

        `image` and `audio` are (views N, D), the first views of all pairs first; `points` and `groups` as in `Batch`.
        """
        terms = {}
        for modality, rows in (("image", image), ("audio", audio)):
            if modality in self.weights and rows is not None:
                known: dict[str, Tensor | None] = {}
                if self.loss.has_negatives:
                    given, count = {"points": points, "groups": groups}, len(rows) // views
                    known = {name: None if value is None else value[:count] for name, value in given.items()}
                each = self._projected(modality, rows).chunk(views)  # (N, D) a view
                both = [self.loss(one, other, **known) for one, other in combinations(each, 2)]
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
    """Return the recipe's terms within modalities; None where it has none."""
    return None if recipe.within.name == "none" else Within(recipe)


class PretrainTask(LightningModule):
    """Model and loss under training; `done` counts all steps, also those before a resume.

    `loss` is None where one tower learns alone, by what `within` compares.
    """

    def __init__(
        self,
        model: TwoTower,
        loss: Loss | None,
        config: TrainConfig,
        steps: int,
        world: World | None = None,
        within: Within | None = None,
        ignores_twins: bool = False,
    ) -> None:
        """`within` compares views of one modality; with `ignores_twins` it alone learns who is whose twin."""
        super().__init__()
        self.model = model
        self.loss = loss
        self.within = within
        self.config = config
        self.steps = steps
        self.done = 0
        self.optimizer_state: dict[str, Any] | None = None
        self.last_loss = math.nan
        self.last_terms: dict[str, Tensor] = {}
        """What the last loss is the weighted sum of, where there is more than one term."""
        if config.unfreeze_step is None:
            for tower in self._frozen(model):
                tower.encoder.requires_grad_(False)
        self._layers()  # raises where blocks are not known
        self.momentum_model: TwoTower | None = None
        if config.momentum is not None and loss is not None:
            self.momentum_model = copy.deepcopy(model).requires_grad_(False)
        self._ignores_twins = ignores_twins
        self._world = world or World()
        self._rows: Tensor | None = None
        self._sharded = config.strategy == "fsdp"
        self.full = ShardedWeights(self, self._world) if self._sharded else FullWeights(self)
        self._embed = compiled_embed() if config.compile else embed

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return the loss of a batch. Raises NotFiniteError when it is not finite."""
        keys = self._keys(batch)
        image, audio = self._embeddings(self.model, batch)
        groups = None if self._ignores_twins else batch.groups
        parts: list[Tensor] = []
        self.last_terms = {}
        if self.loss is not None and image is not None and audio is not None:
            parts.append(self.loss(image, audio, points=batch.points, groups=groups, keys=keys, pairs=batch.pairs))
            self.last_terms |= {} if self.within is None else {"across": parts[0].detach()}
        if self.within is not None:
            terms = self.within(image, audio, self.config.views, batch.points, batch.groups)
            self.last_terms |= {f"within_{modality}": term.detach() for modality, term in terms.items()}
            parts.append(self.within.total(terms))
        loss = sum(parts[1:], start=parts[0])
        self.last_loss = float(loss.detach())
        self._rows = batch.rows
        if not math.isfinite(self.last_loss):
            guilty = rows_without_embedding(batch.rows.repeat(self.config.views), image, audio)
            raise NotFiniteError(f"loss is {self.last_loss}", self.done + 1, batch.rows.tolist(), guilty)
        waiting = self._waiting()
        if waiting and self._world.size > 1 and not self._sharded:
            # a gradient of zeros: DDP waits for each weight's gradient, also while the weight is frozen
            loss = loss + torch.stack([value.sum() for value in waiting]).sum() * 0.0
        return loss

    def _embeddings(self, model: TwoTower, batch: Batch) -> Both:
        """Return both embeddings (V N, D) of a batch, of all processes' rows."""
        if self.config.chunk_size is None:
            image, audio = self._embed(model, batch.image, batch.audio)
        else:
            rows = self.config.chunk_size * self.config.views
            image, audio = embed_in_chunks(model, batch.image, batch.audio, rows)
        image = None if image is None else gather_rows(image, self._world)
        return image, None if audio is None else gather_rows(audio, self._world)

    @torch.no_grad()
    def _keys(self, batch: Batch) -> tuple[Tensor, Tensor] | None:
        """Return the momentum encoders' embeddings of the batch, after their step; None where there are none."""
        if self.momentum_model is None or self.config.momentum is None:
            return None
        update_momentum(self.momentum_model, self.model, self.config.momentum)
        return cast(tuple[Tensor, Tensor], self._embeddings(self.momentum_model, batch))

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Shorten the gradient to the recipe's length. Raises NotFiniteError before it could spoil the weights."""
        for value in self._waiting():
            value.grad = None  # a zero would still be decayed
        weights = [value for group in optimizer.param_groups for value in group["params"] if value.grad is not None]
        if self._sharded:
            length = clip_sharded([cast(Tensor, value.grad) for value in weights], gradient_clip_val, self._world)
        elif gradient_clip_val is None:
            length = torch.nn.utils.get_total_norm([value.grad for value in weights])
        else:
            length = torch.nn.utils.clip_grad_norm_(weights, gradient_clip_val)
        if not bool(torch.isfinite(length)):
            rows = [] if self._rows is None else self._rows.tolist()
            raise NotFiniteError(f"gradient is {float(length)}", self.done + 1, rows)

    def on_train_batch_start(self, *_: Any) -> None:
        """Set what learns in this step, and how fast; of several processes each draws its own numbers in it.

        All of it is a function of the step, so that a resume needs no state.
        """
        for model in filter(None, (self.model, self.momentum_model)):
            for tower in self._frozen(model):
                tower.freeze(is_frozen(self.config, self.done))
        if self._world.size > 1:
            draws = np.random.SeedSequence([self.config.seed, self.done, self._world.rank])
            torch.manual_seed(int(draws.generate_state(1)[0]))
        for group in self._groups():
            share = group.get("share", 1.0)  # checkpoints of before have none
            group["lr"] = self.config.learning_rate * schedule(self.done, self.steps, self.config) * share

    @property
    def temperature(self) -> float | None:
        """Return that of the loss between image and sound, where there is one."""
        return None if self.loss is None or self.loss.temperature is None else float(self.loss.temperature)

    @property
    def twins_only(self) -> bool:
        """Return whether the last batch had no negative."""
        loss = self.within.loss if self.loss is None and self.within is not None else self.loss
        return loss is not None and loss.twins_only is not None and bool(loss.twins_only)

    @property
    def learning_rate(self) -> float:
        """Return the current step's, without layer decay."""
        return max(float(group["lr"]) for group in self._groups())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer, with its state where a checkpoint brought one."""
        kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
        groups = parameter_groups(self._layers(), self.config.weight_decay)
        if self._sharded:
            groups = split_sharded(groups, self.model)
        optimizer: torch.optim.Optimizer = kinds[self.config.optimizer](groups, lr=self.config.learning_rate)
        if self.optimizer_state is not None:
            optimizer.load_state_dict(shard_state(optimizer, self.optimizer_state))
            self.optimizer_state = None
        return optimizer

    def tensors(self) -> dict[str, Tensor]:
        """Return weights and moments by their names in a checkpoint, as this process has them."""
        tensors = {f"task.{name}": value for name, value in self.state_dict().items()}
        for index, state in self.trainer.optimizers[0].state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
        return tensors

    def shard(self, mesh: DeviceMesh) -> None:
        """Keep this process's part of the model, and of its momentum encoders."""
        for model in filter(None, (self.model, self.momentum_model)):
            shard_model(model, mesh)

    def _layers(self) -> list[tuple[Iterable[nn.Parameter], float]]:
        """Return all parameters with their share of the learning rate. Raises ConfigError for unknown blocks."""
        if self.config.layer_decay == 1:
            return [(self.parameters(), 1.0)]
        encoders = [tower.encoder for tower in self.model.towers.values()]
        learning = [encoder for encoder in encoders if any(value.requires_grad for value in encoder.parameters())]
        decay = self.config.layer_decay
        layers = [entry for encoder in learning for entry in shares_by_depth(layer_groups(encoder), decay)]
        below = {id(value) for layer, _ in layers for value in layer}
        return [*layers, ([value for value in self.parameters() if id(value) not in below], 1.0)]

    def _waiting(self) -> list[nn.Parameter]:
        """Return the weights that stand still in this step but will learn later."""
        config = self.config
        if config.unfreeze_step is None or not is_frozen(config, self.done):
            return []
        return [value for tower in self._frozen(self.model) for value in tower.encoder.parameters()]

    def _frozen(self, model: TwoTower) -> list[Tower]:
        """Return the towers that the model has whose encoders are frozen for a while or for good."""
        return [tower for name, tower in model.towers.items() if name in self.config.frozen_encoders]

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


def is_frozen(config: TrainConfig, step: int) -> bool:
    """Return whether the encoders of `frozen_encoders` stand still in step `step`, counted from 0."""
    return config.freeze is not None and (config.unfreeze_step is None or step < config.unfreeze_step)


@torch.no_grad()
def update_momentum(momentum_model: nn.Module, model: nn.Module, momentum: float) -> None:
    """Move each weight of `momentum_model` to momentum * itself + (1 - momentum) * the one of `model`.

    Buffers are its own: its batch norms see its own activations. So the rows of a queue come from nearly the same
    encoder. Source: He et al., "Momentum Contrast", arXiv 1911.05722, equation 2.
    """
    own: list[Tensor] = [local_part(value) for value in momentum_model.parameters()]
    others: list[Tensor] = [local_part(value) for value in model.parameters()]
    torch._foreach_lerp_(own, others, 1 - momentum)


def embed(model: nn.Module, image: Tensor | None, audio: Tensor | None) -> Both:
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


class NotFiniteError(DataError):
    """A loss or a gradient that is no number any more.

    `what` ("loss is nan") of `step`; `rows` of the table are its batch, `guilty` those without finite embeddings.
    """

    def __init__(self, what: str, step: int, rows: Sequence[int], guilty: Sequence[int] = ()) -> None:
        super().__init__(f"{what} at step {step}, table rows {_some(rows)}; {_ADVICE}")
        self.what, self.step, self.rows, self.guilty = what, step, rows, guilty


def rows_without_embedding(rows: Tensor, image: Tensor | None, audio: Tensor | None) -> list[int]:
    """Return those of `rows` (N,) whose embeddings (N, D) hold a value that is no number; nothing when all do.

    A row that is there with several views is named once.
    """
    finite = [torch.isfinite(part).all(dim=1) for part in (image, audio) if part is not None]
    bad = ~torch.stack(finite).all(dim=0)
    return [] if bool(bad.all()) else list(dict.fromkeys(rows[bad.to(rows.device)].tolist()))


def with_ids(error: NotFiniteError, table: Table, out: Path) -> DataError:
    """Return the error with the ids of its pairs; all of them are written to `out`."""
    ids, guilty = ([record["id"] for record in table.records(rows, ["id"])] for rows in (error.rows, error.guilty))
    found = {"what": error.what, "step": error.step, "ids": ids, "ids_without_finite_embedding": guilty}
    write_text_atomic(out / NOT_FINITE_FILE, json.dumps(found, indent=1) + "\n")
    whose = f"embeddings of {_some(guilty)} of its {len(ids)} pairs" if guilty else f"pairs {_some(ids)}"
    return DataError(f"{error.what} at step {error.step}: {whose} (all: {out / NOT_FINITE_FILE}); {_ADVICE}")


def _some(names: Sequence[object]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(str, names[:_NAMED])) + more

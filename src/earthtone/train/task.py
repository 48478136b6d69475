"""One training step as Lightning wants it: two projections, one loss, one optimizer with its schedule."""

import math
from collections.abc import Iterable
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from earthtone.losses.base import Loss
from earthtone.models.layers import layer_groups, parameter_groups, shares_by_depth
from earthtone.models.two_tower import TwoTower
from earthtone.train.compiled import compiled_embed, embed
from earthtone.train.freeze import freeze_towers, frozen_names, frozen_weights, nothing_of
from earthtone.train.gather import gathered
from earthtone.train.gradcache import embed_in_chunks
from earthtone.train.loader import Batch
from earthtone.train.momentum import follow, follower_of
from earthtone.train.not_finite import NotFiniteError, rows_without_embedding
from earthtone.train.recipe import TrainConfig
from earthtone.train.sharded import by_part, clip_in_parts, part_of_state, shard_model
from earthtone.train.whole import Gathered, Whole
from earthtone.train.within import Within
from earthtone.train.world import World


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

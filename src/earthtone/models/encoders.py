"""Encoders of pictures and spectrograms with their projection heads: timm's, the release's, small ones, Tile2Vec's."""

import copy
import difflib
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, Self, cast

import timm
import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, group_parameters, register_model
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from earthtone.data.remote import refuse_token_over_http
from earthtone.errors import ConfigError, EarthtoneError, ModelError
from earthtone.models.weights import fill, read_checkpoint
from earthtone.plugins import find_plugin, plugins_of
from earthtone.signal.image import SCALE_CENTRE, SCALE_WIDTH, scale_byte

_log = logging.getLogger(__name__)

#: Name of an encoder -> blocks a stage; 50 has bottlenecks.
RELEASE_RESNETS: dict[str, tuple[int, int, int, int]] = {
    "release_resnet18": (2, 2, 2, 2),
    "release_resnet34": (3, 4, 6, 3),
    "release_resnet50": (3, 4, 6, 3),
}
RELEASE_PIXELS = 192
_STEM = 32
_PLANES = (64, 182, 256, 512)


class _StagedResNet(nn.Module):
    """A ResNet of `layer1` to `layerN` that answers as timm's models do, with features that are the last map's mean."""

    feature_info: list[dict[str, Any]]
    conv1: nn.Conv2d
    bn1: nn.BatchNorm2d

    def __init__(self) -> None:
        super().__init__()
        self.feature_info = []

    def add_stage(self, number: int, blocks: Sequence[nn.Module], channels: int, reduction: int) -> None:
        """Add `layer{number}`, whose map has `channels` and is smaller than the input by `reduction`."""
        self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.feature_info.append({"num_chs": channels, "reduction": reduction, "module": f"layer{number}"})

    def forward_intermediates(self, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the last map (N, C, h, w) and the maps that `feature_info` names, shallow to deep."""
        carried, maps = F.relu(self.bn1(self.conv1(inputs))), []
        for info in self.feature_info:
            if info["module"] == "bn1":
                maps.append(carried)
                carried = F.max_pool2d(carried, 3, stride=2, padding=1)
            else:
                carried = self.get_submodule(info["module"])(carried)
                maps.append(carried)
        return carried, maps

    def forward(self, inputs: Tensor) -> Tensor:
        """Return features (N, C): the last map's mean over space."""
        return self.forward_intermediates(inputs)[0].mean(dim=(2, 3))

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Return which parameters lie at which depth, as timm's models do."""
        return {"stem": r"^conv1|bn1", "blocks": r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"}


class ReleaseResNet(_StagedResNet):
    """ResNet-18, 34 or 50 (arXiv 1512.03385) with a stem of 32 channels and stages of 64, 182, 256, 512 planes.

    These are the ResNets of the published SoundingEarth system, not torchvision's; parameters are named like its own
    (Heidler et al., arXiv 2108.00688). It projects the last map with a 1x1 convolution and averages then; the mean
    commutes with it. With `output_stride` 16 or 8 the last stages keep their resolution and are dilated instead (arXiv
    1606.00915).
    """

    def __init__(self, name: str, channels: int = 3, output_stride: int = 32) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise ConfigError(f"output_stride {output_stride}; 8, 16 or 32 expected")
        self.conv1 = nn.Conv2d(channels, _STEM, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM)
        block: Any = Bottleneck if name == "release_resnet50" else BasicBlock
        width, reached, dilation = _STEM, 4, 1
        self.feature_info.append({"num_chs": _STEM, "reduction": 2, "module": "bn1"})
        for stage, (planes, blocks) in enumerate(zip(_PLANES, RELEASE_RESNETS[name], strict=True), 1):
            stride, first = (1 if stage == 1 else 2), dilation
            if reached * stride > output_stride:
                stride, dilation = 1, dilation * stride
            reached *= stride
            out, shortcut = planes * block.expansion, None
            if stride != 1 or width != out:
                shortcut = nn.Sequential(nn.Conv2d(width, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out))
            made, width = [block(width, planes, stride, shortcut, dilation=first)], out
            made += [block(width, planes, dilation=dilation) for _ in range(blocks - 1)]
            self.add_stage(stage, made, width, reached)
        self.num_features = width
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class MultiscaleResNet(ResNet):  # type: ignore[misc]  # timm has no types
    """A ResNet (He et al., arXiv 1512.03385) that pools each of its four stages, not only the last one.

    Texture and colour reach the features, and the loss reaches early layers, without a way through all the others: a
    network that starts from random weights learns sooner. Pooled stages as features are usual where few labels or few
    steps are at hand (such as SSD, arXiv 1512.02325, for maps, and Hypercolumns, arXiv 1411.5752). The last map is all
    stages side by side at the last one's resolution, and the features are its mean over places.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.num_features = self.head_hidden_size = sum(stage["num_chs"] for stage in self.feature_info[1:])
        self.reset_classifier(self.num_classes, options.get("global_pool", "avg"))

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last map (N, sum of the stages' channels, h, w)."""
        return _joined(super().forward_intermediates(x)[1][1:])

    def forward_intermediates(
        self, x: Tensor, indices: int | list[int] | None = None, *, intermediates_only: bool = False, **options: Any
    ) -> Any:
        """Return the last map, as `forward_features`, and the maps of the stem and of the stages, each its own."""
        maps = super().forward_intermediates(x, **options, intermediates_only=True)
        last = range(len(maps))[-indices:] if isinstance(indices, int) else indices
        chosen = maps if last is None else [maps[index] for index in last]
        return chosen if intermediates_only else (_joined(maps[1:]), chosen)


def _joined(maps: list[Tensor]) -> Tensor:
    """Return the maps side by side, averaged to the size of the last one."""
    height, width = maps[-1].shape[2:]
    return torch.cat([F.adaptive_avg_pool2d(each, (height, width)) for each in maps[:-1]] + [maps[-1]], dim=1)


_PICTURES = {"input_size": (3, 96, 96), "pool_size": (3, 3), "first_conv": "conv1.0", "classifier": "fc"}
default_cfgs = generate_default_cfgs({"multiscale_resnet10.untrained": _PICTURES})


@register_model  # type: ignore[untyped-decorator]
def multiscale_resnet10(pretrained: bool = False, **options: Any) -> MultiscaleResNet:
    """Ten layers, 32 to 256 channels, three small convolutions as a stem: 1.2 million weights, 480 features."""
    arguments = {"block": BasicBlock, "layers": (1, 1, 1, 1), "channels": (32, 64, 128, 256)}
    stem = {"stem_type": "deep", "stem_width": 16, "zero_init_last": False}
    made: MultiscaleResNet = build_model_with_cfg(
        MultiscaleResNet, "multiscale_resnet10", pretrained, **(arguments | stem | options)
    )
    return made


class Tower(nn.Module):
    """The encoder `name`, untrained, for inputs (channels, height, width), and its projection into the shared space."""

    def __init__(
        self, name: str, shape: tuple[int, int, int], *, dimensions: int, projection: str, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.encoder, self.features = make_encoder(name, shape, drop_path=drop_path)
        self.projection = make_projection(self.features, dimensions, projection)
        self.frozen = False

    def freeze(self, frozen: bool) -> None:
        """Let the encoder stand still: no gradient, norms and dropout as in evaluation; or let it learn again."""
        self.frozen = frozen
        self.encoder.train(self.training and not frozen)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all parts but a frozen encoder's, which stays in evaluation."""
        super().train(mode)
        self.encoder.train(mode and not self.frozen)
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Return projections (N, dimensions), not normalised, for inputs (N, channels, height, width)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features = self.encoder(inputs)
        projected: Tensor = self.projection(features)
        return projected


def is_encoder(name: object) -> bool:
    """Return whether `name` is an encoder that is made without asking any network."""
    return isinstance(name, str) and (_is_own(name) or name in plugins_of("encoder"))


def _is_own(name: str) -> bool:
    return name in RELEASE_RESNETS or bool(timm.is_model(name))


def check_encoder_name(name: object, file: Path) -> None:
    """Raise ModelError where a file names an encoder that cannot be made here without asking any network.

    So a file makes its reader fetch nothing, and import nothing that is no plug-in here.
    """
    if not is_encoder(name):
        raise ModelError(
            f"{file}: encoder {name!r:.60} is no timm model and no plug-in's here; install the package that brings it, "
            "or name its module: --import MODULE"
        )
    if not _is_own(str(name)):
        try:
            find_plugin("encoder", str(name))
        except ConfigError as error:
            raise ModelError(f"{file}: {error}") from error


def plugin_encoder(name: str, make: object) -> Callable[..., nn.Module]:
    """Return a plug-in's function that makes an encoder. Raises ConfigError for a taken name and for no function."""
    if _is_own(name):
        raise ConfigError("timm or earthtone has an encoder of this name; choose another")
    if not callable(make):
        raise ConfigError(f"it is {make!r:.80}; a function of (channels, height, width) expected")
    return cast(Callable[..., nn.Module], make)


def make_encoder(
    name: str,
    shape: tuple[int, int, int],
    *,
    pretrained: bool = False,
    file: Path | None = None,
    drop_path: float = 0.0,
    output_stride: int = 32,
) -> tuple[nn.Module, int]:
    """Return an encoder for inputs of `shape` (channels, height, width), and how many features it gives.

    `pretrained` lets timm fetch its weights, or take them from `file` if that is given. With `output_stride` 16 or 8
    the last stages keep their resolution. Raises ConfigError for an unknown name and for what this encoder cannot do.
    """
    if name in RELEASE_RESNETS:
        if pretrained or drop_path:
            what = "weights of its own to fetch" if pretrained else "drop_path"
            raise ConfigError(f"encoder {name!r} has no {what}; leave that option out")
        release = ReleaseResNet(name, shape[0], output_stride)
        return release, release.num_features
    if not timm.is_model(name) and name in plugins_of("encoder"):
        if pretrained:
            raise ConfigError(f"encoder {name!r} has no weights of its own to fetch; leave that option out")
        return _made_by_plugin(name, shape, drop_path, output_stride)
    if not timm.is_model(name) and not name.startswith("hf-hub:"):
        near = difflib.get_close_matches(name, [*RELEASE_RESNETS, *plugins_of("encoder"), *timm.list_models()], n=3)
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise ConfigError(f"encoder {name!r} is no timm model{hint}; timm.list_models() names all")
    if name.startswith("hf-hub:") or (pretrained and file is None):
        refuse_token_over_http()
    options: dict[str, Any] = {"num_classes": 0, "in_chans": shape[0], "pretrained": pretrained}
    if file is not None:
        options["pretrained_cfg_overlay"] = {"file": str(file)}
    if drop_path:
        options["drop_path_rate"] = drop_path  # not every family knows it
    if output_stride != 32:
        options["output_stride"] = output_stride  # nor this
    return _fitting_encoder(name, options, shape)


def _made_by_plugin(
    name: str, shape: tuple[int, int, int], drop_path: float, output_stride: int
) -> tuple[nn.Module, int]:
    """Return a plug-in's encoder, tried on an input of `shape`, and how many features it gives. Raises ConfigError."""
    make: Callable[..., nn.Module] = find_plugin("encoder", name)
    options: dict[str, Any] = {} if drop_path == 0 else {"drop_path": drop_path}
    options |= {} if output_stride == 32 else {"output_stride": output_stride}
    known = signature(make).parameters
    for option in options:
        if option not in known and all(parameter.kind is not Parameter.VAR_KEYWORD for parameter in known.values()):
            raise ConfigError(f"encoder {name!r} has no {option}; leave that option out")
    try:
        encoder = make(*shape, **options)
        if not isinstance(encoder, nn.Module):
            raise ConfigError(f"encoder {name!r}: a {type(encoder).__name__} was made; a module of torch.nn expected")
        with torch.no_grad():
            features = encoder.eval()(torch.zeros(1, *shape))
    except EarthtoneError:
        raise
    except Exception as error:  # what the plug-in does is its own
        raise ConfigError(
            f"encoder {name!r} cannot be made for inputs of {shape[0]} x {shape[1]} x {shape[2]}: "
            f"{type(error).__name__}: {_line(error)}"
        ) from error
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != 1 or not features.is_floating_point():
        shown = f"{features.dtype} {tuple(features.shape)}" if isinstance(features, Tensor) else f"{type(features)}"
        raise ConfigError(f"encoder {name!r} gives {shown} for one input; floats (1, features) expected")
    return encoder.train(), int(features.shape[1])


def sizings(shape: tuple[int, int, int]) -> tuple[dict[str, Any], ...]:
    """Return the ways to tell a timm model the size of its inputs (channels, height, width), the best one first."""
    size: dict[str, Any] = {"img_size": shape[1:]}
    return {**size, "dynamic_img_size": True, "dynamic_img_pad": True}, size, {}


def is_timms_own(name: str) -> bool:
    """Return whether timm itself builds an encoder of this name, so that programs without earthtone can."""
    plain = name.partition(".")[0]
    return bool(timm.is_model(plain)) and timm.model_entrypoint(plain).__module__.startswith("timm.")


def _fitting_encoder(name: str, options: dict[str, Any], shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    """Return a timm model that takes inputs of `shape` (channels, height, width), and how many features it gives.

    Vision transformers must be told the input's size, and pad a spectrogram to whole patches; others know no size.
    """
    reasons: list[Exception] = []
    for sizing in sizings(shape):
        try:
            encoder = timm.create_model(name, **options, **sizing)
        except (TypeError, AssertionError) as error:  # an option, or its value, that this family does not know
            reasons.append(error)
            continue
        except (RuntimeError, OSError, ValueError) as error:
            raise ConfigError(f"encoder {name!r} cannot be made: {_line(error)}") from error
        try:
            with torch.no_grad():
                features = encoder.eval()(torch.zeros(1, *shape)).shape[1:]
        except (RuntimeError, AssertionError, ValueError) as error:
            reasons.append(error)
            continue
        if len(features) == 1:
            return encoder.train(), int(features[0])
    if "output_stride" in options:
        raise ConfigError(
            f"encoder {name!r} has no output_stride {options['output_stride']}; leave it at 32, or choose "
            "an encoder that can be dilated, such as resnet50, convnext_tiny or release_resnet50"
        )
    why = f": {_line(reasons[-1])}" if reasons else ""
    raise ConfigError(
        f"encoder {name!r} cannot be used for inputs of {shape[1]} x {shape[2]}{why}; "
        "choose another size or encoder, such as resnet18 or vit_small_patch16_224"
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def make_projection(features: int, dimensions: int, kind: str) -> nn.Module:
    """Return the head: `linear`; `mlp`, with one hidden layer as wide as the features; `mlp_norm`, with a norm in it.

    Source of the latter: Chen et al., "SimCLR", arXiv 2002.05709, appendix B.9 (here no norm at the end).
    """
    if kind == "linear":
        return nn.Linear(features, dimensions)
    if kind == "mlp":
        return nn.Sequential(nn.Linear(features, features), nn.GELU(), nn.Linear(features, dimensions))
    if kind == "mlp_norm":
        hidden = [nn.Linear(features, features, bias=False), nn.BatchNorm1d(features), nn.ReLU(inplace=True)]
        return nn.Sequential(*hidden, nn.Linear(features, dimensions))
    raise ConfigError(f"projection {kind!r}; linear, mlp or mlp_norm expected (model.projection)")


Colour = tuple[float, float, float]

IMAGENET_MEAN: Colour = (0.485, 0.456, 0.406)
IMAGENET_STD: Colour = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ImageEncoder:
    """An image encoder with its weights, and how the pictures that it was trained on were sized and normalised."""

    encoder: nn.Module
    """Pools (N, 3, H, W), or four channels with `usual_gsd_m`; has `forward_intermediates`, as timm's models."""
    architecture: str
    """What it is, without saying where its weights came from."""
    pixels: int
    """Side of the pictures that it was trained to see."""
    mean: Colour = IMAGENET_MEAN
    """Taken off red, green and blue in 0-1."""
    std: Colour = IMAGENET_STD
    """What the difference is divided by."""
    usual_gsd_m: float | None = None
    """Metres a pixel that stand for unknown ones, of an encoder that is told them as a fourth channel; else None."""


def untrained_encoder(
    name: str, pixels: int | None, output_stride: int, seed: int = 0, channels: int = 3
) -> ImageEncoder:
    """Return an untrained encoder and the pictures its family is trained with. Raises ConfigError."""
    side, mean, std = timm_pictures(name)
    side = pixels or (RELEASE_PIXELS if name in RELEASE_RESNETS else side)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, _ = make_encoder(name, (channels, side, side), output_stride=output_stride)
    return ImageEncoder(encoder, name, side, mean, std)


def timm_pictures(name: str) -> tuple[int, Colour, Colour]:
    """Return side, mean and std of the pictures that a timm model's own weights were trained with."""
    try:
        config: Any = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        raise ConfigError(f"encoder {name!r} cannot be made: {error}") from error
    if config is None:  # the release's, and unknown names, which the maker of encoders explains
        return 224, IMAGENET_MEAN, IMAGENET_STD
    red, green, blue = config.mean
    return int(config.input_size[-1]), (red, green, blue), tuple(config.std)


def byte_statistics(mean: Colour, std: Colour, *, scale: bool) -> tuple[Tensor, Tensor]:
    """Return centre and width (C, 1, 1) of bytes, of colours' mean and std in 0-1; with `scale` also the channel's."""
    centre, width = torch.tensor(mean).view(3, 1, 1) * 255, torch.tensor(std).view(3, 1, 1) * 255
    if not scale:
        return centre, width
    plane = (1, 1, 1)
    return torch.cat([centre, torch.full(plane, SCALE_CENTRE)]), torch.cat([width, torch.full(plane, SCALE_WIDTH)])


def with_usual_scale(pixels: Tensor, gsd_m: float) -> Tensor:
    """Return uint8 pixels (N, H, W, 4) of such (N, H, W, 3): they are taken to be `gsd_m` metres, with a warning."""
    warn_of_unknown_gsd(gsd_m)
    return torch.cat([pixels, torch.full_like(pixels[..., :1], scale_byte(gsd_m))], dim=3)


@cache
def warn_of_unknown_gsd(gsd_m: float) -> None:
    """Warn, once, that pictures of unknown scale are taken for what was usual in training."""
    _log.warning(
        "model.scale_input: metres a pixel of pictures are unknown; what was usual in training is taken: %.3g m a "
        "pixel of what the encoder sees", gsd_m,
    )  # fmt: skip


_TILE_PLANES = (64, 128, 256, 512, 512)
_BLOCKS = 2
_PIXELS = 50  # side of the NAIP tiles that it was trained on


class TileNet(_StagedResNet):
    """Tile2Vec's ResNet-18 for small tiles: a 3x3 convolution at full resolution, then five stages, four at stride 2.

    The published weights (Jean et al. 2019, arXiv 1805.02855) see red, green, blue and near infrared; here the first
    three are used.
    """

    def __init__(self, output_stride: int = 16) -> None:
        super().__init__()
        if output_stride not in (16, 32):  # 16 is what it has
            raise ConfigError(f"tile2vec has an output stride of 16; {output_stride} asked for, choose 16")
        self.conv1 = nn.Conv2d(3, _TILE_PLANES[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_TILE_PLANES[0])
        width = _TILE_PLANES[0]
        for stage, planes in enumerate(_TILE_PLANES, 1):
            blocks = [
                _Block(width if block == 0 else planes, planes, 2 if stage > 1 and block == 0 else 1)
                for block in range(_BLOCKS)
            ]
            self.add_stage(stage, blocks, planes, 2 ** (stage - 1))
            width = planes


class _Block(nn.Module):
    def __init__(self, width: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or width != planes:
            self.shortcut.extend([nn.Conv2d(width, planes, 1, stride=stride, bias=False), nn.BatchNorm2d(planes)])

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = F.relu(self.bn1(self.conv1(inputs)))
        return F.relu(self.bn2(self.conv2(hidden)) + self.shortcut(inputs))


#: In the published checkpoint, but without a part in its features: a third convolution in every block, a classifier.
_UNUSED = re.compile(r"layer\d\.\d\.(conv3|bn3)\.\w+|linear\.(weight|bias)")


def encoder_from_tile2vec(file: Path, pixels: int | None, output_stride: int) -> ImageEncoder:
    """Return the encoder of a Tile2Vec checkpoint for pictures of three channels in 0-1. Raises ModelError."""
    encoder = TileNet(output_stride)
    weights = read_checkpoint(file)
    unused = sorted(name for name in weights if _UNUSED.fullmatch(name))
    weights = {name: value for name, value in weights.items() if name not in unused}
    stem = weights.get("conv1.weight")
    if stem is not None and stem.ndim == 4 and stem.shape[1] > 3:
        _log.warning("%s: of %d input channels the first three are used", file, stem.shape[1])
        weights["conv1.weight"] = stem[:, :3]
    fill(encoder, weights, file)
    if unused:
        _log.info("%s: %d tensors without a part in the encoder were left out", file, len(unused))
    return ImageEncoder(encoder, "tile2vec", pixels or _PIXELS, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


_AGREES = 1e-3  # of the largest feature: a network that is folded wrongly is off by far more, in float32


@torch.no_grad()
def fold_batch_norms(encoder: nn.Module, inputs: Tensor) -> nn.Module:
    """Return a copy, in evaluation mode, without the batch norms that follow a convolution; other layers stay.

    A norm with fixed statistics is a scale and a shift of each channel, which the convolution's weights can bear
    (Jacob et al., arXiv 1712.05877, section 3.2). `inputs` (N, C, H, W) are tried out: which norm follows which
    convolution is seen, not guessed, and where the copy would not say the same of them, such as where a convolution is
    used twice, it keeps its norms.
    """
    copied = copy.deepcopy(encoder).eval()
    names = {module: name for name, module in copied.named_modules()}
    for convolution, norm in _followed(copied, inputs):
        _replace(copied, names[convolution], fuse_conv_bn_eval(convolution, norm))
        _replace(copied, names[norm], cast(nn.Module, getattr(norm, "act", nn.Identity())))  # timm's norms activate too
    plain = copy.deepcopy(encoder).eval()
    both = zip(_said(copied, inputs), _said(plain, inputs), strict=True)
    same = all((found - expected).abs().max() <= _AGREES * expected.abs().max() for found, expected in both)
    return copied if same else plain


def _said(encoder: nn.Module, inputs: Tensor) -> list[Tensor]:
    """Return the features and, of an encoder that gives them, the maps of all stages."""
    stages = getattr(encoder, "forward_intermediates", None)
    return [encoder(inputs), *(stages(inputs)[1] if stages else ())]


def _followed(network: nn.Module, inputs: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Return the convolutions whose output goes into a batch norm, with that norm."""
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # holds the tensors, so that no id is given twice
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def made(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        outputs[id(output)] = (cast(nn.Conv2d, module), output)

    def taken(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if id(arguments[0]) in outputs:
            pairs.append((outputs[id(arguments[0])][0], cast(nn.BatchNorm2d, module)))

    hooks = [module.register_forward_hook(made) for module in network.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks += [module.register_forward_pre_hook(taken) for module in norms if module.track_running_stats]
    network(inputs)
    for hook in hooks:
        hook.remove()
    return pairs


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)


def layer_groups(encoder: nn.Module) -> list[list[nn.Parameter]]:
    """Return all parameters in groups, shallow to deep: stem, blocks, what follows. Raises ConfigError."""
    matcher = getattr(encoder, "group_matcher", None)
    groups = group_parameters(encoder, cast(Any, matcher)(coarse=False), return_values=True) if matcher else {}
    if len(groups) < 2:
        raise ConfigError(
            f"{type(encoder).__name__} does not tell its blocks, so no rate can decay with their depth; "
            "leave layer_decay at 1, or choose another encoder"
        )
    return [list(groups[depth]) for depth in sorted(groups)]


def shares_by_depth(
    groups: Sequence[list[nn.Parameter]], layer_decay: float
) -> list[tuple[Iterable[nn.Parameter], float]]:
    """Return groups, shallow to deep, with their share of the learning rate: layer_decay^(groups above), 1 at the top.

    Source: Clark et al., "ELECTRA", arXiv 2003.10555, appendix A.
    """
    return [(group, layer_decay ** (len(groups) - 1 - depth)) for depth, group in enumerate(groups)]


def parameter_groups(
    layers: Iterable[tuple[Iterable[nn.Parameter], float]], weight_decay: float
) -> list[dict[str, Any]]:
    """Return an optimizer's groups of the parameters that learn, each with its `share` of the learning rate.

    Matrices and kernels decay, biases and norms do not; parameters of one kind and share are in one group, also where
    nothing decays: how many groups there are is part of a checkpoint.
    """
    found: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for layer, share in layers:
        learning = [value for value in layer if value.requires_grad]
        for decays in (True, False):
            values = [value for value in learning if (value.ndim >= 2) == decays]
            if values:
                found.setdefault((share, decays), []).extend(values)
    return [
        {"params": values, "weight_decay": weight_decay if decays else 0.0, "share": share}
        for (share, decays), values in found.items()
    ]

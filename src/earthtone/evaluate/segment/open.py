"""Backbones as segmentation wants them."""

import logging

from earthtone.errors import ConfigError
from earthtone.models.backbone import Backbone, open_backbone

_log = logging.getLogger(__name__)


def segment_backbone(spec: str, head: str, seed: int, device: str) -> Backbone:
    """Return a backbone with a last stage at stride 16 where the head wants that and the family can."""
    if head == "deeplabv3plus":
        try:
            return open_backbone(spec, output_stride=16, seed=seed, device=device)
        except ConfigError as error:
            backbone = open_backbone(spec, seed=seed, device=device)
            _log.warning("%s; its last maps are resized to stride 16 instead", error)
            return backbone
    return open_backbone(spec, seed=seed, device=device)

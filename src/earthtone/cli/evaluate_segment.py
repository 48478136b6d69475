"""`earthtone evaluate segment`."""

from earthtone.cli.labelled import value_range_argument, value_range_of
from earthtone.cli.parsing import make_parser
from earthtone.errors import ConfigError, did_you_mean
from earthtone.terminal import json_text


def segment(words: list[str]) -> int:
    """How well a backbone with a head draws land cover."""
    parser = make_parser("evaluate segment", "Train a segmentation head on a backbone and measure it on test tiles.")
    parser.add_argument("--model", required=True, type=str, help="a run, timm:NAME, random:NAME, ... (docs/models.md)")
    parser.add_argument("--data", required=True, type=str, help="folder of images and masks, or a manifest of them")
    parser.add_argument("--dataset", type=str | None, default=None, help="its name, such as deepglobe, loveda, potsdam")
    parser.add_argument("--head", type=str, default="deeplabv3plus", help="deeplabv3plus or linear")
    parser.add_argument("--frozen", action="store_true", help="train the head alone")
    parser.add_argument("--protocol", type=str, default="modern", help="modern, or soundingearth (the release's)")
    parser.add_argument("--bands", type=tuple[int, int, int] | None, default=None, help="GeoTIFF bands: [4,3,2]")
    value_range_argument(parser)
    parser.add_argument("--seeds", type=list[int], default=[0], help="one training each: [0,1,2]")
    parser.add_argument("--epochs", type=int | None, default=None, help="default: the protocol's, as all of these")
    parser.add_argument("--batch_size", type=int | None, default=None, help="patches in a step")
    parser.add_argument("--patch_pixels", type=int | None, default=None, help="side of a training patch")
    parser.add_argument("--learning_rate", type=float | None, default=None, help="of the head")
    parser.add_argument("--tile_pixels", type=int | None, default=None, help="side of a tile in prediction")
    parser.add_argument("--overlap", type=float, default=0.25, help="share of a tile's side that tiles overlap")
    parser.add_argument("--out", type=str | None, default=None, help="folder for result.json, pictures/ and maps/")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--precision", type=str, default="auto", help="auto, 32 or bf16")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(words)
    from dataclasses import replace
    from pathlib import Path

    import torch

    from earthtone.data.labelled import open_masked
    from earthtone.device import choose_device, choose_precision
    from earthtone.evaluate.results import write_task_result
    from earthtone.evaluate.segment import segment as run
    from earthtone.evaluate.segment_network import PROTOCOLS, segment_backbone

    if options.protocol not in PROTOCOLS:
        hint = did_you_mean(options.protocol, PROTOCOLS)
        raise ConfigError(f"--protocol {options.protocol}; {hint}one of {', '.join(PROTOCOLS)} expected")
    changed = {
        name: options[name]
        for name in ("epochs", "batch_size", "patch_pixels", "learning_rate")
        if options[name] is not None
    }
    device = choose_device(options.device)
    half = choose_precision(options.precision, device).startswith("bf16")
    out = None if options.out is None else Path(options.out)
    result = run(
        lambda seed: segment_backbone(options.model, options.head, seed, device),
        open_masked(options.data, dataset=options.dataset),
        protocol=replace(PROTOCOLS[options.protocol], **changed),
        head=options.head,
        frozen=options.frozen,
        bands=options.bands,
        value_range=value_range_of(options.value_range),
        seeds=options.seeds,
        tile=options.tile_pixels,
        overlap=options.overlap,
        precision=torch.bfloat16 if half else torch.float32,
        out=out,
    )
    if out is not None:
        write_task_result(out / "result.json", result)
    print(json_text(result.to_dict()) if options.json else result.to_text())
    return 0

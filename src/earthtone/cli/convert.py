"""`earthtone convert`."""

from earthtone.cli.parsing import make_parser
from earthtone.errors import shell_line
from earthtone.terminal import json_text


def convert(words: list[str]) -> int:
    """Write a checkpoint of the SoundingEarth release as a model of ours."""
    parser = make_parser("convert", "Write a checkpoint of the SoundingEarth release as a model that every verb takes.")
    parser.add_argument("checkpoint", type=str, help="the release's .pt file; with --backbone_only also a run")
    parser.add_argument("out", type=str, help="folder to write; must not hold anything yet")
    parser.add_argument("--unit", action="store_true", help="trained by a contrastive loss: compare by cosine")
    parser.add_argument("--backbone_only", action="store_true", help="the image encoder alone, for open_backbone")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(words)
    from earthtone.models.convert import convert as run

    found = run(options.checkpoint, options.out, unit=options.unit, backbone_only=options.backbone_only)
    if options.json:
        loss = None if found.loss_path is None else str(found.loss_path)
        print(json_text({"path": str(found.path), "loss_path": loss, "card": dict(found.card)}))
        return 0
    print(f"{found.path}: written from {options.checkpoint}")
    if found.loss_path is not None:
        print(f"{found.loss_path}: learnt parts of the loss, which have no part in the embeddings")
    if not options.backbone_only:
        compared = "cosine" if options.unit else "Euclidean distance"
        print(f"embeddings are compared by {compared}{'' if options.unit else ' (--unit: by cosine)'}")
        line = shell_line("earthtone", "evaluate", "retrieval", "--model", options.out, "--data", "DATA")
        print(f"next: {line}")
    return 0

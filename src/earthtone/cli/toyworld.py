"""`earthtone toyworld`."""

from earthtone.cli.parsing import make_parser
from earthtone.errors import shell_line


def toyworld(words: list[str]) -> int:
    """Make a synthetic planet: images, sounds, places, true land cover."""
    parser = make_parser("toyworld", "Write a synthetic world: a manifest, image tiles, sounds. Never real data.")
    parser.add_argument("--out", required=True, type=str, help="folder to write")
    parser.add_argument("--rows", type=int, default=1000, help="places")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes everywhere")
    parser.add_argument("--pixels", type=int, default=128, help="side of a tile")
    parser.add_argument("--size_m", type=float, default=256.0, help="ground width of a tile in metres")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a recording")
    parser.add_argument("--hz", type=int, default=32_000, help="sample rate")
    parser.add_argument("--masks", action="store_true", help="also write land-cover masks")
    parser.add_argument("--geotiff", action="store_true", help="tiles as GeoTIFF instead of PNG")
    options = vars(parser.parse_args(words))
    from pathlib import Path

    from earthtone.build.toyworld import write_toyworld
    from earthtone.progress import progress_calls

    out = Path(options.pop("out"))
    manifest = write_toyworld(out, **options, progress=progress_calls("toy world"))
    print(f"{manifest}: {options['rows']} synthetic places\nnext: {shell_line('earthtone', 'check', manifest)}")
    return 0

"""`earthtone demo`."""

import sys

from earthtone.cli.parsing import make_parser
from earthtone.errors import shell_line


def demo(words: list[str]) -> int:
    """The whole way on a toy world in a few minutes."""
    parser = make_parser("demo", "Toy world, pack, pretrain, retrieval, linear probe, report.")
    parser.add_argument("--out", type=str, default="demo", help="folder to write")
    parser.add_argument("--rows", type=int, default=1500, help="places of the toy world")
    parser.add_argument("--epochs", type=int | None, default=None, help="default: the recipe's")
    parser.add_argument("--seed", type=int, default=0, help="of world and training")
    options = parser.parse_args(words)
    from earthtone.studies.demo import demo as run

    result = run(
        options.out,
        rows=options.rows,
        epochs=options.epochs,
        seed=options.seed,
        say=lambda line: print(line, flush=True),
    )
    if result is None:
        print(f"stopped; go on with: {shell_line('earthtone', 'demo', *words)}", file=sys.stderr)
        return 130
    print(result.to_text())
    return 0

"""Train one recipe with several seeds and print what each reached on test, with mean and spread, as Markdown.

    python experiments/three_seeds.py DATA --recipe small --match scene=sound:concepts.json \\
        --probe SCENES --label label --columns id=file,image=file --pixels 96 128 --out runs/seeds

Each step is a verb of the command line; a stopped experiment goes on when it is repeated.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path


def verb(*words: str) -> str:
    """Run `earthtone` in a process of its own and return what it printed."""
    done = subprocess.run([sys.executable, "-m", "earthtone", *words], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def one_seed(options: argparse.Namespace, table: Path, seed: int) -> dict[str, float]:
    """Train, measure once on test, and return the figures."""
    run = Path(options.out) / f"seed-{seed}"
    more = ["--resume"] if run.exists() else []
    verb("pretrain", str(table), "--recipe", options.recipe, "--train.seed", str(seed), "--out", str(run), *more)
    card = json.loads((run / "card.json").read_text())
    seconds = max(json.loads(line).get("seconds", 0) for line in (run / "log.jsonl").read_text().splitlines())
    figures: dict[str, float] = {"training seconds": seconds, "kept step": card["step"]}
    match = ["--match", options.match] if options.match else []
    found = json.loads(verb("evaluate", "retrieval", "--model", str(run), "--data", str(table), "--json", *match))
    for direction, result in found["directions"].items():
        for name in ("match_precision@10", "R@10", "median_rank"):
            if name in result["metrics"]:
                figures[f"{name} {direction}"] = result["metrics"][name]["value"]
    if options.probe:
        columns = ["--columns", options.columns] if options.columns else []
        words = ["--model", str(run), "--data", options.probe, "--label", options.label, *columns, "--json"]
        for pixels in options.pixels:
            size, said = (["--pixels", str(pixels)], f" at {pixels} px") if pixels else ([], "")
            result = json.loads(verb("evaluate", "probe", *words, *size))
            figures[f"probe accuracy{said}"] = result["figures"]["logistic_accuracy"]["value"]
    return figures


def main() -> None:
    """Run all seeds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--recipe", default="small")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", default="runs/seeds")
    parser.add_argument("--match")
    parser.add_argument("--probe", help="a manifest of labelled images")
    parser.add_argument("--label", default="label")
    parser.add_argument("--columns", help="columns of --probe")
    parser.add_argument(
        "--pixels", type=int, nargs="+", default=[0], help="sizes at which --probe is seen; 0: the model's"
    )
    options = parser.parse_args()
    table = Path(options.out) / "pairs.lance"
    verb("pack", options.data, "--out", str(table), "--recipe", options.recipe)
    rows = [one_seed(options, table, seed) for seed in options.seeds]
    print("| figure | " + " | ".join(f"seed {seed}" for seed in options.seeds) + " | mean | sd |")
    print("|---|" + "---|" * (len(rows) + 2))
    for name in rows[0]:
        values = [row[name] for row in rows]
        digits = 0 if "seconds" in name or "step" in name else 1 if "rank" in name else 3
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        cells = [*values, statistics.mean(values), spread]
        print(f"| {name.replace('_', ' ')} | " + " | ".join(f"{value:.{digits}f}" for value in cells) + " |")


if __name__ == "__main__":
    main()

"""Write a manifest in which a share of the training rows show the image of another row with the same label.

    python experiments/repeat_images.py WORLD/manifest.csv --share 0.3 --label land_cover --out WORLD/twins30.csv

The recordings stay, as where several were made at one place. `--share 0.3`: 30 % of the training rows have a twin;
`--together 16`: one image for 16 recordings each.
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

from earthtone.files import atomic_path


def repeated(rows: list[dict[str, str]], label: str, share: float, together: int, seed: int) -> int:
    """Give each `together` rows of one label one image, until `share` of training rows have twins; return how many."""
    by_label: dict[str, list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        if row["split"] == "train":
            by_label[row[label]].append(at)
    wanted = round(share * sum(map(len, by_label.values())))
    draw = np.random.default_rng(seed)
    orders = [draw.permutation(found) for found in by_label.values()]
    groups = [order[: len(order) // together * together].reshape(-1, together) for order in orders]
    chosen = draw.permutation(np.concatenate(groups))[: wanted // together]
    for first, *others in chosen:
        for other in others:
            rows[other]["image"] = rows[first]["image"]
    return together * len(chosen)


def main() -> None:
    """Write the manifest and say how many rows have a twin."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--share", type=float, required=True)
    parser.add_argument("--together", type=int, default=2, help="rows that show one image")
    parser.add_argument("--label", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="beside the manifest, whose paths it keeps")
    options = parser.parse_args()
    with options.manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    count = repeated(rows, options.label, options.share, options.together, options.seed)
    with atomic_path(options.out) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    print(f"{count} training rows share an image: {options.out}")


if __name__ == "__main__":
    main()

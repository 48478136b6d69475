"""Sets below a folder: found by name and layout, told apart by kind, everything else named."""

from pathlib import Path

import pytest

from earthtone.errors import ConfigError, DataError
from earthtone.studies.suite_sets import IMAGES, MASKS, PAIRS, SOUNDS, find_sets

ALL = (IMAGES, SOUNDS, PAIRS, MASKS)


def touch(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_names_layouts_and_manifests_are_known(root: Path) -> None:
    for fold in (1, 2):
        for take in "AB":
            touch(root / "sounds" / "audio" / f"{fold}-10{take == 'B':d}-{take}-0.wav")
    names = [path.name for path in sorted((root / "sounds" / "audio").iterdir())]
    touch(root / "sounds/meta/esc50.csv", "filename,category\n" + "".join(f"{n},{n[6]}\n" for n in names))
    for n in range(6):
        touch(root / "own" / f"{n}.png")
        touch(root / "both" / f"{n}.png")
        touch(root / "both" / f"{n}.wav")
    touch(root / "own/metadata.csv", "file,label\n" + "".join(f"{n}.png,{n % 2}\n" for n in range(6)))
    touch(root / "both/manifest.csv", "image,audio,label\n" + "".join(f"{n}.png,{n}.wav,{n % 2}\n" for n in range(6)))
    search = find_sets(root, ALL)
    found = {each.name: (each.known, each.kind) for each in search.sets}
    assert found == {
        "both": (None, PAIRS), "deepglobe": ("deepglobe", MASKS), "esc50": ("esc50", SOUNDS), "own": (None, IMAGES),
        "ucmerced": ("ucmerced", IMAGES),
    }  # fmt: skip
    assert search.others == ("thesis",)
    assert "advance" in search.missing and f"advance: not found under {root}" in search.lines()
    assert search.remarks()[0].startswith(f"not found under {root}: ") and "thesis" in search.remarks()[1]
    assert search.lines()[-1] == search.remarks()[1]
    assert not [line for line in search.missing if line.startswith(("esc50", "ucmerced", "deepglobe"))]


def test_only_the_wanted_kinds_and_names_are_looked_for(root: Path) -> None:
    search = find_sets(root, [IMAGES])
    assert [found.name for found in search.sets] == ["ucmerced"]
    assert not [line for line in search.missing if line.startswith(("esc50", "loveda"))]
    named = find_sets(root, ALL, ["deepglobe", "AID"])
    assert [found.name for found in named.sets] == ["deepglobe"]
    assert named.missing == ("aid",) and named.others == ()
    assert [found.name for found in find_sets(root, ALL, ["UCMerced_LandUse"]).sets] == ["ucmerced"]
    with pytest.raises(ConfigError, match="ucmercd; did you mean ucmerced"):
        find_sets(root, ALL, ["ucmercd"])
    with pytest.raises(DataError, match="is no folder"):
        find_sets(root / "nothing", ALL)


def test_a_set_that_cannot_be_opened_is_named_with_its_reason(root: Path) -> None:
    touch(root / "RSSCN7" / "grass" / "a.jpg")
    touch(root / "RSSCN7" / "field" / "a.jpg")
    search = find_sets(root, ALL)
    assert len(search.unusable) == 1
    assert search.unusable[0].startswith("rsscn7: cannot be opened: ") and "'field'" in search.unusable[0]
    assert not [line for line in search.missing if line.startswith("rsscn7")]


def test_two_folders_of_one_set_have_names_of_their_own(root: Path) -> None:
    (root / "UCM").symlink_to(root / "UCMerced_LandUse")
    names = [found.name for found in find_sets(root, [IMAGES]).sets]
    assert len(set(names)) == 2 and "ucmerced (UCM)" in names


def test_the_fingerprint_is_of_files_labels_and_splits_not_of_the_place(root: Path) -> None:
    first = find_sets(root, [IMAGES]).sets[0].fingerprint
    moved = root.with_name("moved")
    root.rename(moved)
    assert find_sets(moved, [IMAGES]).sets[0].fingerprint == first
    folder = moved / "UCMerced_LandUse"
    (folder / "Images/sea/00.png").write_bytes(b"other")
    changed = find_sets(moved, [IMAGES]).sets[0].fingerprint
    assert changed != first
    (folder / "Images/sea").rename(folder / "Images/ocean")
    assert find_sets(moved, [IMAGES]).sets[0].fingerprint not in (first, changed)

"""The whole suite on tiny sets: figures of every cell, going on after a kill, changes, broken cells, silent models."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from labelled_sounds import write_advance, write_esc50
from rasterio.transform import from_origin

from earthtone.cli import main
from earthtone.errors import ConfigError, DataError, ModelError
from earthtone.evaluate.results import read_task_result
from earthtone.models.backbone import open_backbone, write_encoder
from earthtone.models.encoders import ImageEncoder
from earthtone.studies.suite import KEY, run_suite

pytestmark = pytest.mark.slow

MODELS = ("random:test_resnet", "random:test_vit")
FILES = ("suite.csv", "suite.md", "suite.html")
WORDS = [
    sys.executable, "-m", "earthtone", "evaluate", "suite", "--models", *MODELS, "--quick", "--pixels=32",
    "--resamples=50", "--precision=32", "--device=cpu", "--tasks=probe,segment,finetune",
]  # fmt: skip


def rows(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((out / "suite.csv").read_text(encoding="utf-8"))))


def contents(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in FILES}


def test_a_killed_suite_goes_on_to_the_same_files(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main([*WORDS[3:], "--data_root", str(root), "--out", str(whole)]) == 0
    told = capsys.readouterr().err
    assert "[6/6] finetune on ucmerced: random:test_vit" in told and " left for 5 more, next" in told
    assert f"advance: not found under {root}" not in told  # no task was asked for that reads it
    assert f"aid: not found under {root}" in told
    again = [*WORDS, "--data_root", str(root), "--out", str(cut)]
    process = subprocess.Popen(again, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 100
    while len(list((cut / "results").glob("[!.]*.json"))) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = {path.name: path.stat().st_mtime_ns for path in (cut / "results").glob("[!.]*.json")}
    assert 2 <= len(before) < 6
    states = [row["state"] for row in rows(cut)]
    assert "done" in states or "waiting" in states  # the pages are there, and whole, in the middle
    capsys.readouterr()
    assert main(again[3:]) == 0
    assert f"6 cells, {len(before)} of them done before" in capsys.readouterr().err
    assert contents(cut) == contents(whole)
    after = {path.name: path.stat().st_mtime_ns for path in (cut / "results").glob("[!.]*.json")}
    assert sorted(after) == sorted(path.name for path in (whole / "results").iterdir())
    assert {name: after[name] for name in before} == before  # nothing was run twice


def test_every_cell_is_what_its_result_says(root: Path, tmp_path: Path, quick: dict[str, Any]) -> None:
    table = run_suite(MODELS, root, tmp_path / "out", tasks=("probe", "segment"), **quick)
    assert [(column.task, column.dataset) for column in table.columns] == [
        ("probe", "ucmerced"),
        ("segment", "deepglobe"),
    ]
    kept = [read_task_result(path) for path in (tmp_path / "out/results").iterdir()]
    by_name = {(each.task, each.model): each for each in kept}
    for row in rows(tmp_path / "out"):
        found = by_name[row["task"], row["model"]]
        figure = found.figures[found.headline]
        assert (float(row["value"]), float(row["low"]), float(row["high"])) == (figure.value, figure.low, figure.high)
        assert found.dataset == row["dataset"] and found.facts[KEY]["task"] == row["task"]
        for name in FILES[1:]:
            assert f"{figure.value:.3f}" in (tmp_path / "out" / name).read_text(encoding="utf-8")


def test_changed_options_models_and_data_are_never_mixed(root: Path, tmp_path: Path, quick: dict[str, Any]) -> None:
    lines: list[str] = []
    out = tmp_path / "out"

    def cells(models: tuple[str, ...] = MODELS[:1], options: dict[str, Any] = quick) -> str:
        lines.clear()
        run_suite(models, root, out, tasks=("probe",), **options, say=lines.append)
        return next(line for line in lines if "done before" in line)

    assert cells() == "1 cells, 0 of them done before"
    assert cells() == "1 cells, 1 of them done before"
    assert cells(options={**quick, "resamples": 60}).startswith("1 cells, 0 of them done before; 1 results of other")
    assert cells(MODELS).startswith("2 cells, 1 of them done before")
    (root / "UCMerced_LandUse/Images/sea/00.png").unlink()
    assert cells(MODELS).startswith("2 cells, 0 of them done before; 3 results")
    [path] = [p for p in (out / "results").iterdir() if read_task_result(p).facts[KEY]["settings"]["resamples"] == 60]
    path.write_text("{", encoding="utf-8")  # a damaged result is made again
    assert cells(options={**quick, "resamples": 60}).startswith("1 cells, 0 of them")


def test_a_broken_cell_is_named_and_the_others_go_on(root: Path, tmp_path: Path, quick: dict[str, Any]) -> None:
    for mask in (root / "deepglobe256/masks").iterdir():
        mask.write_bytes(b"no mask")
    out, lines = tmp_path / "out", list[str]()
    table = run_suite(MODELS[:1], root, out, tasks=("segment", "probe"), **quick, say=lines.append)
    assert [cell.state for cell in table.cells] == ["failed", "done"]
    for name in FILES:
        assert "segment" in (out / name).read_text() and "failed" in (out / name).read_text()
    assert any("failed: " in line for line in lines)
    assert len(list((out / "results").iterdir())) == 1  # a failure is not kept: the next call tries again


def test_exit_codes(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "suite", "--models", MODELS[0], "--data_root", str(root), "--out", str(tmp_path / "out")]
    quick = ["--quick", "--pixels=32", "--resamples=20", "--device=cpu"]
    for mask in (root / "deepglobe256/masks").iterdir():
        mask.write_bytes(b"no mask")
    assert main([*words, *quick, "--tasks=probe,segment"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path}/out/suite.html\n" and "1 of 2 cells failed" in captured.err
    assert main([*words, *quick, "--tasks=segment"]) == 1
    assert main([*words, "--tasks=probs"]) == 2
    assert "did you mean probe" in capsys.readouterr().err
    assert main([*words[:4], MODELS[0], *words[4:]]) == 2
    assert "twice" in capsys.readouterr().err
    assert main([*words, "--baseline", "random:test_vitt"]) == 2
    assert main([*words, "--seeds", "0,0"]) == 2


def test_what_concerns_the_whole_suite_is_told_before_anything_runs(
    root: Path, tmp_path: Path, quick: dict[str, Any]
) -> None:
    with pytest.raises(ModelError, match="no such file"):
        run_suite([*MODELS, "runs/typo"], root, tmp_path / "out", **quick)
    with pytest.raises(ConfigError, match="twice"):
        run_suite([MODELS[0], MODELS[0]], root, tmp_path / "out", **quick)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"no data set to run .*ucmerced: not found under"):
        run_suite(MODELS, empty, tmp_path / "out", **quick)
    assert not (tmp_path / "out").exists()


def test_the_same_weights_under_two_names_are_told_and_measured_once(
    root: Path, tmp_path: Path, quick: dict[str, Any]
) -> None:
    backbone = open_backbone(MODELS[0])
    names = []
    for name in ("a [x].safetensors", "b.safetensors"):
        source = ImageEncoder(backbone.encoder, backbone.architecture, backbone.pixels)
        names.append(str(write_encoder(tmp_path / name, source, {})))
    table = run_suite(names, root, tmp_path / "out", tasks=("finetune",), **quick)
    assert [cell.model for cell in table.cells] == names
    first, second = (cell.result for cell in table.cells)
    assert first is not None and second is not None and first.facts["seconds"] == second.facts["seconds"]
    assert len(list((tmp_path / "out/results").iterdir())) == 1
    assert "same image encoder" in (tmp_path / "out/suite.md").read_text()
    assert table.comparisons[0].comparison is not None and table.comparisons[0].comparison.difference.value == 0


def test_results_have_names_that_any_disk_takes(root: Path, tmp_path: Path, quick: dict[str, Any]) -> None:
    folder = root / "süd: 50% | <x>"
    (root / "UCMerced_LandUse").rename(folder)
    lines = [f"{path.relative_to(folder).as_posix()},{path.parent.name}" for path in sorted(folder.rglob("*.png"))]
    (folder / "metadata.csv").write_text("file,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    run_suite(MODELS[:1], root, tmp_path / "out", tasks=("probe",), **quick)
    [path] = (tmp_path / "out/results").iterdir()
    assert path.name.isascii() and path.name.startswith("probe-s_d_50_x_-")
    assert json.loads(path.read_text(encoding="utf-8"))["dataset"] == folder.name
    assert rows(tmp_path / "out")[0]["dataset"] == folder.name


def test_sounds_and_pairs_are_measured_by_models_that_hear(root: Path, tmp_path: Path, quick: dict[str, Any]) -> None:
    write_esc50(root / "ESC-50")
    write_advance(root / "ADVANCE")
    deaf = open_backbone(MODELS[0])
    source = ImageEncoder(deaf.encoder, deaf.architecture, 32)
    silent = str(write_encoder(tmp_path / "silent.safetensors", source, {}))
    lines: list[str] = []
    out = tmp_path / "out"
    table = run_suite(
        [silent, MODELS[0]], root, out, tasks=("audio", "audiovisual"), **quick, say=lines.append
    )  # fmt: skip
    assert [(cell.task, cell.dataset, cell.state) for cell in table.cells] == [
        ("audio", "esc50", "skipped"), ("audio", "esc50", "done"),
        ("audiovisual", "advance", "skipped"), ("audiovisual", "advance", "done"),
    ]  # fmt: skip
    assert f"model {silent} has no sound encoder: audio skipped" in lines
    assert f"urbansound8k: not found under {root}" in lines
    assert "has no sound encoder: audiovisual skipped" in (out / "suite.csv").read_text()
    assert "draws whole groups" in (out / "suite.md").read_text()
    assert table.comparisons == []  # the baseline is silent


def test_the_page_shows_why_also_after_a_second_call(root: Path, tmp_path: Path, quick: dict[str, Any]) -> None:
    out = tmp_path / "out"
    run_suite(MODELS[:1], root, out, tasks=("probe", "segment"), **quick)
    page = (out / "suite.html").read_text(encoding="utf-8")
    assert page.count('class="confusion"') == 2 and page.count('class="map"') == 1
    assert "map of the features of 6 test items" in page
    assert page.count('class="asked"') == 6 and page.count('class="right"') + page.count('class="wrong"') == 6 * 5
    assert page.count("data:image/jpeg;base64,") == 6 * 6
    assert "forest called " in page and "town &amp; &lt;b&gt;|*" in page and "<b>|*" not in page
    assert not re.search(r"https?:|<script", page)
    run_suite(MODELS[:1], root, out, tasks=("probe", "segment"), **quick)
    assert (out / "suite.html").read_text(encoding="utf-8") == page
    for path in (out / "why").iterdir():
        path.write_text("[]", encoding="utf-8")
    run_suite(MODELS[:1], root, out, tasks=("probe", "segment"), **quick)
    assert 'class="map"' not in (out / "suite.html").read_text(encoding="utf-8")


def test_bands_and_cells_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = np.random.default_rng(0)
    for label in ("forest", "sea"):
        folder = tmp_path / "data" / "EuroSATallBands" / label
        folder.mkdir(parents=True)
        for n in range(8):
            values = draw.integers(0, 255, (12, 32, 32), np.uint8)
            size = {"width": 32, "height": 32, "count": 12, "dtype": "uint8"}
            place = {"crs": "EPSG:32633", "transform": from_origin(0, 0, 10, 10)}
            with rasterio.open(folder / f"{label}_{n}.tif", "w", driver="GTiff", **size, **place) as file:
                file.write(values)
    rows = "".join(f"{path.relative_to(tmp_path / 'data' / 'EuroSATallBands')},{path.parent.name}\n"
                   for path in sorted(tmp_path.rglob("*.tif")))  # fmt: skip
    (tmp_path / "data" / "EuroSATallBands" / "manifest.csv").write_text("image,label\n" + rows)
    words = [*WORDS[3:6], "random:test_resnet", "--quick", "--pixels=32", "--resamples=50", "--device=cpu",
             "--tasks=probe", "--data_root", str(tmp_path / "data"), "--json"]  # fmt: skip
    assert main([*words, "--out", str(tmp_path / "none")]) == 1
    [cell] = json.loads(capsys.readouterr().out)
    assert cell["state"] == "failed" and "bands" in cell["note"]
    assert main([*words, "--out", str(tmp_path / "some"), "--bands", "4,3,2"]) == 0
    [cell] = json.loads(capsys.readouterr().out)
    [row] = csv.DictReader(io.StringIO((tmp_path / "some" / "suite.csv").read_text()))
    assert cell["state"] == "done" and str(cell["value"]) == row["value"] and cell["n"] == int(row["n"]) > 0

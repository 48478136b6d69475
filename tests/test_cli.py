"""Every verb runs for real on a tiny world, and every mistake is one clear line with exit code 2."""

import html
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from earthtone.build.web import QuotaReachedError
from earthtone.cli import VERBS, main

TINY = [
    "--model.image_encoder=test_resnet", "--model.audio_encoder=test_resnet", "--model.dimensions=16",
    "--train.batch_size=8", "--train.epochs=2", "--train.device=cpu",
    "--signal.audio.sample_rate_hz=16000", "--signal.audio.window_seconds=1", "--signal.audio.mels=32",
    "--signal.audio.hop_seconds=0.02", "--signal.image.pixels=32", "--signal.image.stored_pixels=40",
]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy world, made by the verb itself."""
    out = tmp_path_factory.mktemp("toy") / "world"
    words = f"toyworld --out {out} --rows 48 --seconds 1 --hz 16000 --pixels 48 --seed 3"
    assert main(words.split()) == 0
    return out / "manifest.csv"


@pytest.fixture(scope="module")
def run(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, made by the verb itself."""
    out = tmp_path_factory.mktemp("runs") / "first"
    assert main(["pretrain", str(world), "--recipe", "small", "--out", str(out), *TINY]) == 0
    return out


def failure(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a wrong call prints, after asserting that it is one and that the exit code is 2."""
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and "Traceback" not in shown.err
    lines = [line for line in shown.err.splitlines() if line.startswith("earthtone: ")]
    assert len(lines) == 1, shown.err
    return lines[0]


def test_a_quota_that_is_used_up_has_an_exit_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def used_up(_: list[str]) -> int:
        raise QuotaReachedError("the archive has been asked 2000 times today", 3600.0)

    monkeypatch.setattr("earthtone.cli.find_verb", lambda _: used_up)
    assert main(["check", "x.csv"]) == 75
    assert re.fullmatch(
        r"earthtone: the archive .* today; type the same again after 20[\d-]+ \d\d:\d\d UTC: it goes on from here\n",
        capsys.readouterr().err,
    )


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name}" in shown for name in VERBS)
    assert main([]) == 2


@pytest.mark.parametrize("verb", [*VERBS, "evaluate retrieval", "evaluate probe", "evaluate finetune"])
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*verb.split(), "--help"]
    if verb in ("evaluate", "completion"):
        assert main(words) == 0
    else:
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
    assert f"usage: earthtone {verb}" in capsys.readouterr().out


def test_pretrain_help_explains_recipe_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["pretrain", "--help-all"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--train.learning_rate" in shown and "At the top of the schedule" in shown


@pytest.mark.slow
def test_check_prints_what_is_there(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(world)]) == 0
    assert "48 of 48 rows usable" in capsys.readouterr().out
    assert main(["check", str(world), "--json", "--headers_only"]) == 0
    assert json.loads(capsys.readouterr().out)["usable"] == 48


def test_check_exits_1_when_nothing_is_usable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pairs.csv").write_text("id,image,audio\na,none.jpg,none.wav\n")
    assert main(["check", str(tmp_path / "pairs.csv")]) == 1
    assert "none.jpg" in capsys.readouterr().out


def test_pack_then_pack_again(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = str(tmp_path / "pairs.lance")
    assert main(["pack", str(world), "--out", table, "--recipe", "small"]) == 0
    assert "48 pairs added" in capsys.readouterr().out
    assert main(["pack", str(world), "--out", table, "--recipe", "small"]) == 0
    assert "0 pairs added, 48 were there" in capsys.readouterr().out


@pytest.mark.slow
def test_pack_pretrain_and_evaluate_by_a_named_split(
    run: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = str(tmp_path / "pairs.lance")
    words = ["pack", str(world), "--out", table, "--recipe", "small", "--split_by", "geoclap"]
    assert main(words) == 0
    assert "split by geoclap: a random 70/10/20 (seed 42)" in capsys.readouterr().out
    assert "is split by geoclap, the new rows by manifest" in failure(words[:-2], capsys)
    other = ["pretrain", str(world), "--recipe", "small", "--out", str(tmp_path / "run"), "--train.epochs", "1", *TINY]
    assert main([*other, "--split_by", "buffered-blocks", "--buffer_km", "0.1"]) == 0
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert card["data"]["split"] == {"by": "buffered-blocks", "block_km": 10.0, "buffer_km": 0.1}
    assert "without pairs within 0.1 km" in html.unescape((tmp_path / "run" / "report.html").read_text())
    capsys.readouterr()
    words = ["evaluate", "retrieval", "--model", str(run), "--data", str(world), "--split_by", "geoclap", "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["split"]["record"]["rows"] == 48
    words[words.index(str(world))] = str(run / "table.lance")
    assert "--split_by has no effect" in failure(words, capsys)
    assert "no effect with --split_by geoclap" in failure([*words, "--buffer_km", "1"], capsys)


@pytest.mark.slow
def test_a_run_leaves_everything(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert {
        "model.safetensors",
        "card.json",
        "recipe.yaml",
        "log.jsonl",
        "tensorboard",
        "report.html",
        "training_images.safetensors",
    } <= names
    page = (run / "report.html").read_text()
    assert "Toy world" in page and "data:audio/ogg;base64," in page and "data:image/jpeg;base64," in page


@pytest.mark.slow
@pytest.mark.parametrize("packed", [True, False])
def test_evaluate_retrieval(
    run: Path, world: Path, tmp_path: Path, packed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(run / "table.lance") if packed else str(world)
    words = ["evaluate", "retrieval", "--model", str(run), "--data", data, "--split", "all", "--json"]
    assert main([*words, "--match", "land_cover"]) == 0
    directions = json.loads(capsys.readouterr().out)["directions"]
    assert set(directions) == {"image_to_sound", "sound_to_image"}
    for found in directions.values():
        assert {"R@1", "R@5", "R@10", "R@10%", "median_rank", "mrr", "ndcg@10"} <= found["metrics"].keys()
        assert any(name.startswith("km@") for name in found["metrics"])
        assert any("match" in name for name in found["metrics"])


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["soundingearth", "geoclap", "psm"])
def test_evaluate_retrieval_by_a_published_protocol(
    run: Path, protocol: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "retrieval", "--model", str(run), "--data", str(run / "table.lance"), "--split", "all"]
    words += ["--protocol", protocol, "--resamples", "20"]
    before = sorted(run.iterdir())
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "median_rank" in told["directions"]["image_to_sound"]["metrics"]
    sentence = told["protocol"]["difference"]
    assert main(words) == 0
    assert f"protocol {protocol}: {sentence}" in capsys.readouterr().out
    report = run / f"report-all-{protocol}.html"
    page = html.unescape(report.read_text())
    assert page.count(sentence) == 2 and f"Measured by the protocol {protocol}." in page
    report.unlink()
    assert sorted(run.iterdir()) == before
    for option in (["--twins", "merge"], ["--match", "land_cover"]):
        assert f"{' '.join(option)} has no effect with --protocol {protocol}" in failure([*words, *option], capsys)
    assert "did you mean psm?" in failure([*words[:-3], "pms"], capsys)


def test_evaluate_probe(run: Path, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for data in (run / "table.lance", world):
        assert main(["evaluate", "probe", "--model", str(run), "--data", str(data), "--label", "split", "--json"]) == 2
        capsys.readouterr()
        words = ["evaluate", "probe", "--model", str(run), "--data", str(data), "--label", "source", "--json"]
        assert main(words) == 2  # a column of the pair itself is no label
        capsys.readouterr()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_demo_in_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(tmp_path / "demo"), "--rows", "200", "--epochs", "1"]) == 0
    shown = capsys.readouterr().out
    assert "chance" in shown and "earthtone check my/manifest.csv" in shown
    assert (tmp_path / "demo" / "run" / "report.html").exists()
    assert "of shifted truths" in shown and (tmp_path / "demo" / "map" / "index.html").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pretrian"], "did you mean pretrain?"),
        (["evaluate", "retreival"], "retrieval, probe"),
        (["pretrain", "x.csv", "--out", "o", "--recipe", "smal"], "did you mean small?"),
        (["pretrain", "x.csv", "--out", "o", "--train.epoch", "3"], "did you mean --train.epochs?"),
        (["pretrain", "x.csv", "--out", "o", "--train.epochs", "many"], "train.epochs"),
        (["pretrain", "x.csv", "--out", "o", "--model.image_encoder", "resnet81"], "near it: resnet18"),
        (["pretrain", "x.csv"], "out"),
        (["check", "nowhere.csv"], "nowhere.csv"),
        (["check", "x.csv", "--columns", "image"], "OURS=THEIRS"),
        (["evaluate", "retrieval", "--model", "nowhere", "--data", "x"], "earthtone pretrain"),
        (["toyworld", "--out", "w", "--rows", "0"], "rows"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    words: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert expected in failure(words, capsys)
    assert list(tmp_path.iterdir()) == []


def test_options_that_would_have_no_effect_are_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = str(run / "table.lance")
    words = ["--model", str(run), "--data", table, "--columns", "image=file"]
    assert "no effect" in failure(["evaluate", "retrieval", *words], capsys)
    assert "no effect" in failure(["evaluate", "probe", *words, "--label", "land_cover"], capsys)
    assert "no effect" in failure(["check", table, "--bands", "[1,2,3]", "--headers_only"], capsys)
    assert "leave --recipe" in failure(["pack", table, "--out", "x", "--model", str(run), "--recipe", "small"], capsys)


def test_evaluation_leaves_the_runs_report_alone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "report.html").read_bytes()
    words = ["evaluate", "retrieval", "--model", str(run), "--data", str(run / "table.lance"), "--split", "train"]
    assert main(words) == 0
    assert (run / "report.html").read_bytes() == before and (run / "report-train.html").exists()
    assert str(run / "report-train.html") in capsys.readouterr().err


@pytest.mark.slow
def test_pack_as_a_model_wants_it(run: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = str(tmp_path / "again.lance")
    assert main(["pack", str(world), "--out", table, "--model", str(run)]) == 0
    assert main(["evaluate", "retrieval", "--model", str(run), "--data", table, "--split", "all"]) == 0


@pytest.mark.slow
def test_skipped_rows_are_said(run: Path, world: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = world.read_text().splitlines()
    rows = [
        row.replace("images/", f"{world.parent}/images/").replace("audio/", f"{world.parent}/audio/") for row in rows
    ]
    rows[3] = rows[3].replace(".png", "-gone.png")
    (tmp_path / "pairs.csv").write_text("\n".join(rows) + "\n")
    words = ["--model", str(run), "--data", str(tmp_path / "pairs.csv")]
    assert main(["evaluate", "retrieval", *words, "--split", "all"]) == 0
    assert "1 of 48 rows skipped (2.08 %; missing image: 1)" in caplog.text
    caplog.clear()
    assert main(["evaluate", "probe", *words, "--label", "land_cover"]) in (0, 2)
    assert "1 rows left out, missing image: 'toy-3-00000002'" in caplog.text


def test_public_names_are_functions_each_time_they_are_asked_for() -> None:
    import earthtone

    for _ in range(2):
        for name in earthtone.__all__:
            assert isinstance(getattr(earthtone, name), str) or callable(getattr(earthtone, name)), name


def test_unknown_encoder_is_named(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pretrain", str(world), "--out", str(tmp_path / "run"), *TINY, "--model.image_encoder", "resnet81"]
    assert "'resnet81' is no timm model; near it: resnet" in failure(words, capsys)


def test_a_recipe_with_options_of_both_losses_is_read(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "loss: {options: {temperature: 0.1}}\ntrain: {views: 2}\nwithin: {name: simclr, options: {temperature: 0.3}}\n"
    )
    words = ["pretrain", str(world), "--out", str(tmp_path / "run"), "--recipe", str(recipe)]
    assert "'resnet81' is no timm model" in failure([*words, "--model.image_encoder", "resnet81"], capsys)
    assert "'tau'; known are temperature" in failure([*words, "--within.options.tau", "1"], capsys)
    other = ["--loss.name", "siglip", "--within.name=none", "--model.image_encoder", "resnet81"]
    assert "'resnet81' is no timm model" in failure([*words, *other], capsys)  # options go with the name


def test_wrong_split_and_label_list_what_there_is(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "retrieval", "--model", str(run), "--data", str(run / "table.lance")]
    assert "did you mean test? train, val, test or all" in failure([*words, "--split", "tset"], capsys)
    assert "land_cover" in failure([*words, "--split", "all", "--match", "habitat"], capsys)


def test_unwritable_out(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert "choose another --out" in failure(["pack", str(world), "--out", str(tmp_path / "file" / "t.lance")], capsys)
    words = ["pretrain", str(world), "--out", str(tmp_path / "file" / "run"), *TINY]
    assert "choose another --out" in failure(words, capsys)


@pytest.mark.slow
def test_a_second_run_into_the_same_folder_is_refused(
    run: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "model.safetensors").read_bytes()
    words = ["pretrain", str(world), "--recipe", "small", "--out", str(run), *TINY]
    assert "--resume" in failure(words, capsys)
    assert (run / "model.safetensors").read_bytes() == before
    assert main([*words, "--resume"]) == 0  # finished already: nothing to do


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    from earthtone.errors import EarthtoneError

    with pytest.raises(EarthtoneError):
        main(["--debug", "check", str(tmp_path / "nowhere.csv")])


@pytest.mark.slow
def test_a_closed_pipe_is_no_error(world: Path) -> None:
    command = f"{sys.executable} -m earthtone check {world} --json --headers_only | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr


def test_nothing_heavy_is_imported_for_help() -> None:
    code = (
        "import sys; from earthtone.cli import main; main(['--help']); "
        "print([m for m in ('torch', 'numpy', 'lance', 'pyarrow', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip().endswith("[]")


def test_a_half_packed_table_is_not_taken_for_a_whole_one(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = run / "table.lance.unfinished"
    marker.touch()
    try:
        words = ["evaluate", "retrieval", "--model", str(run), "--data", str(run / "table.lance")]
        assert "packing has not ended" in failure(words, capsys)
    finally:
        marker.unlink()


def test_help_after_a_verb_and_before_it(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["help", "evaluate", "retrieval"], ["evaluate", "retrieval", "--help"]):
        with pytest.raises(SystemExit):
            main(words)
    shown = capsys.readouterr().out
    assert shown[: len(shown) // 2] == shown[len(shown) // 2 :] != ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["pretrain", "x.csv", "--loss", "siglip", "--out", "r"],
            "--loss siglip: no such file; .* such as --loss.name",
        ),
        (["pretrain", "x.csv", "--gpu", "1"], "--gpu; earthtone pretrain --help-all names all"),
        (["toyworld", "--out"], "expected one argument; earthtone toyworld --help names all"),
    ],
)
def test_what_is_typed_wrongly_is_answered_with_what_helps(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.search(told, failure(words, capsys))


def test_a_runs_folder_as_data_is_answered_with_its_table(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = failure(["evaluate", "retrieval", "--model", str(run), "--data", str(run)], capsys)
    assert f"the packed table {run / 'table.lance'}" in said


@pytest.mark.slow
def test_debug_messages_are_the_packages_own(world: Path) -> None:
    line = [sys.executable, "-m", "earthtone", "check", str(world), "--log_level", "debug"]
    said = subprocess.run(line, capture_output=True, text=True, timeout=120, check=True).stderr
    assert "IHDR" not in said, said[:500]  # what Pillow tells of every PNG

"""ONNX in 8 and 16 bits: calibrated, near float32, its cost told; and the file itself, seen by onnx."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import earthtone
from earthtone.cli import main
from earthtone.data.pack import pack
from earthtone.errors import ModelError
from earthtone.models.storage import save_model
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import SignalConfig

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.extras

Make = Callable[..., TwoTower]


@pytest.fixture(scope="module")
def many(
    write_pairs: Callable[[Path, int], Path], tiny_signal: SignalConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A packed table of 180 pairs, 120 of train."""
    folder = tmp_path_factory.mktemp("many")
    return pack(write_pairs(folder / "pairs", 180), folder / "many.lance", signal=tiny_signal, threads=2).path


def test_int8_is_calibrated_and_tells_its_cost(
    make: Make, many: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(tmp_path / "run", make(), {})
    words = ["export", "--model", str(tmp_path / "run"), "--to", "onnx", "--out", str(tmp_path / "out")]
    assert main([*words, "--precision", "int8", "--calibrate", str(many)]) == 0
    said = capsys.readouterr().out
    for line in (
        "image in int8: cosine to float32",
        "audio in int8: cosine to float32",
        "of 60 inputs",
        "% of how far",
        "ms an input",
    ):
        assert line in said
    assert said.count("R@10") == 2 and "of 60 pairs" in said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md", "audio.onnx", "image.onnx", "preprocessing.json",
    ]  # fmt: skip
    for medium, floats in (("image", {"Conv": 1, "Gemm": 1}), ("audio", {"Conv": 3, "Gemm": 1})):
        model = onnx.load(tmp_path / "out" / f"{medium}.onnx")
        made_of_bytes = {
            name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output
        }
        left = [node for node in model.graph.node if node.op_type in floats and node.input[0] not in made_of_bytes]
        assert {kind: sum(node.op_type == kind for node in left) for kind in floats} == floats  # stem, front end, head
        assert len([node for node in model.graph.node if node.op_type == "QuantizeLinear"]) > 5


def test_too_few_to_calibrate_on(make: Make, tiny_table: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"16 pairs to calibrate on .*; 100 or more expected"):
        earthtone.export(make(), "onnx", tmp_path / "out", precision="int8", calibrate=tiny_table)
    assert list(tmp_path.iterdir()) == []


def test_fp16_halves_the_file_and_keeps_the_front_end(make: Make, tmp_path: Path) -> None:
    model = make("resnet18")
    for precision in ("32", "fp16"):
        earthtone.export(model, "onnx", tmp_path / precision, precision=precision)
    sizes = [(tmp_path / precision / "image.onnx").stat().st_size for precision in ("32", "fp16")]
    assert 0.45 < sizes[1] / sizes[0] < 0.6
    kernels = [
        value
        for value in onnx.load(tmp_path / "fp16" / "audio.onnx").graph.initializer
        if list(value.dims[:1]) == [514]
    ]
    assert kernels and all(value.data_type == onnx.TensorProto.FLOAT for value in kernels)


def test_a_recording_in_parts_is_put_together_by_its_scores(make: Make, tmp_path: Path) -> None:
    """What the README says of recordings that are too long for memory; parts of whole windows."""
    model = make(windows="attention")
    earthtone.export(model, "onnx", tmp_path / "out")
    session = onnxruntime.InferenceSession(tmp_path / "out" / "audio.onnx", providers=["CPUExecutionProvider"])
    assert [(each.name, each.shape, each.type) for each in session.get_inputs()] == [
        ("samples", ["batch", "time"], "tensor(float)")
    ]
    samples = np.random.default_rng(0).normal(0, 0.1, (1, 6 * 16_000)).astype(np.float32)
    parts = [session.run(["windows", "scores"], {"samples": part}) for part in np.split(samples, 3, axis=1)]
    vectors, scores = (np.concatenate([part[at][0] for part in parts]) for at in (0, 1))
    weights = np.exp(scores - scores.max())
    whole = (weights[:, None] * vectors).sum(axis=0)
    cosine = whole @ model.embed_audio([(samples[0], 16_000)])[0] / np.linalg.norm(whole)
    assert cosine > 0.999  # two frames at each cut have silence on one side


def test_no_path_of_this_machine_and_no_trace_is_in_the_file(make: Make, tmp_path: Path) -> None:
    earthtone.export(make(), "onnx", tmp_path / "out")
    data = (tmp_path / "out" / "image.onnx").read_bytes()
    assert b"site-packages" not in data and str(Path(earthtone.__file__).parent).encode() not in data

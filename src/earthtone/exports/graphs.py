"""Towers as graphs that run without their code: torch.export's `.pt2` and ONNX, in float32 or in fewer bits."""

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx.experimental import _config

from earthtone.errors import ModelError
from earthtone.exports.agreement import FEWEST, Items, Run
from earthtone.exports.towers import Batch, Picture, Sound, Subject
from earthtone.models.two_tower import Embeddings

NUMBERS = {"32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
OPSET = 18
INPUT = {"image": "pixels", "audio": "samples"}
OUTPUTS = {"image": ("embedding",), "audio": ("embedding", "windows", "scores")}


def input_name(subject: Subject, medium: str) -> str:
    """Return what a graph's input is called: `pixels`, `samples` or `spectrograms`."""
    return INPUT[medium] if medium == "image" or subject.waveform else "spectrograms"


def program_in(program: Picture | Sound, precision: str) -> Picture | Sound:
    """Return a copy of a program whose encoder and projection multiply in `precision`; the front end stays float32."""
    number = NUMBERS[precision]
    made = copy.deepcopy(program).eval()
    made.number = number
    made.encoder.to(number)
    made.projection.to(number)
    return made


def traced(subject: Subject, medium: str, precision: str = "32") -> Any:
    """Return a tower as torch.export's program, for any number of inputs and any length. Raises ModelError.

    An encoder that is general from two inputs on alone gets a spare one (`towers.Picture.spare`).
    """
    program = program_in(subject.program(medium), precision)
    example = torch.from_numpy(_example(subject, medium))
    dims: dict[int, Any] = {0: torch.export.Dim.DYNAMIC}
    if medium == "audio":
        dims[1] = torch.export.Dim.DYNAMIC
    reasons: list[str] = []
    for spare in (False, True):
        program.spare = spare
        try:
            with _quiet(), torch.no_grad(), _oblivious():
                made = torch.export.export(program, (example,), dynamic_shapes=(dims,))
            made.module()(example[:1, : _one_window(subject)] if medium == "audio" else example[:1])
        except Exception as error:  # each encoder fails in its own way
            reasons.append(" ".join(f"{type(error).__name__}: {error}".split())[:300])
            continue
        return made
    raise ModelError(
        f"{subject.name}: torch.export cannot trace the {medium} encoder {subject.architecture[medium]} "
        f"({reasons[-1]}); try --to safetensors, timm or torchvision"
    )


def _oblivious() -> Any:
    """Return the context in which sizes of 0 and 1 are no special case of a traced program."""
    settings: Any = _config
    return settings.patch(backed_size_oblivious=True)


def _one_window(subject: Subject) -> int:
    assert subject.model is not None  # noqa: S101 - sounds have a model
    audio = subject.model.signal.audio
    hop = round(audio.hop_seconds * audio.sample_rate_hz) if subject.waveform else 1
    return audio.window_frames * hop


def _example(subject: Subject, medium: str) -> Batch:
    """Return inputs to trace with: two, sounds of two windows and a half, so that no size is 1 by chance."""
    if medium == "image":
        return np.zeros((2, subject.pixels, subject.pixels, subject.channels), np.uint8)
    length = round(2.5 * _one_window(subject))
    if subject.waveform:
        return np.zeros((2, length), np.float32)
    assert subject.model is not None  # noqa: S101 - sounds have a model
    return np.zeros((2, length, subject.model.signal.audio.mels), np.uint8)


def write_torch(path: Path, program: Any) -> Path:
    """Write torch.export's program."""
    with _quiet():
        torch.export.save(program, path)
    return path


def run_torch(path: Path) -> Run:
    """Return what runs a `.pt2` file."""
    with _quiet():
        module = torch.export.load(path).module()

    def run(given: Batch) -> Embeddings:
        with torch.no_grad():
            found = module(torch.from_numpy(given))
        return _first(found).float().numpy()

    return run


def _first(found: Any) -> Tensor:
    first: Tensor = found if isinstance(found, Tensor) else found[0]
    return first


def write_onnx(path: Path, subject: Subject, medium: str, program: Any) -> Path:
    """Write a traced program as ONNX; weights of more than 2 GB lie in a file beside it."""
    import onnx

    with _quiet():
        made = torch.onnx.export(
            program, dynamo=True, opset_version=OPSET, input_names=[input_name(subject, medium)],
            output_names=list(OUTPUTS[medium]), verbose=False,
        )  # fmt: skip
        assert made is not None  # noqa: S101 - of a program it is one
        large = parameters([subject.program(medium)]) * 4 > 2**31 - 2**26  # of one file of ONNX
        made.save(str(path), external_data=large)
    model = onnx.load(str(path), load_external_data=False)
    _tidy(model, subject, medium)
    onnx.save(model, str(path))
    onnx.checker.check_model(str(path), full_check=True)
    return path


def _tidy(model: Any, subject: Subject, medium: str) -> None:
    """Give the free sizes of inputs and outputs names that say what they are, and take the tracer's traces out."""
    sizes = {"image": {0: "batch"}, "audio": {0: "batch", 1: "time" if subject.waveform else "frames"}}[medium]
    for value in model.graph.input:
        for axis, name in sizes.items():
            value.type.tensor_type.shape.dim[axis].dim_param = name
    for value in model.graph.output:
        dims = value.type.tensor_type.shape.dim
        dims[0].dim_param = "batch"
        if len(dims) > 1 and value.name != "embedding":
            dims[1].dim_param = "windows"
    del model.graph.value_info[:]  # sizes by the tracer's own names
    for node in model.graph.node:
        kept = [each for each in node.metadata_props if each.key == _SCOPES]
        del node.metadata_props[:]  # others hold stack traces, with paths of this machine
        node.metadata_props.extend(kept)
        node.doc_string = ""
    del model.graph.metadata_props[:]
    model.doc_string = ""


_SCOPES = "pkg.torch.onnx.name_scopes"


def run_onnx(path: Path, threads: int | None = None) -> Run:
    """Return what runs an ONNX file in ONNX Runtime on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(given: Batch) -> Embeddings:
        return np.asarray(session.run(["embedding"], {name: np.ascontiguousarray(given)})[0], np.float32)

    return run


def write_int8(path: Path, plain: Path, subject: Subject, medium: str, items: Items) -> Path:
    """Write an ONNX file with the encoder's products in 8 bits, calibrated on `items` (Jacob et al., arXiv 1712.05877).

    Weights have a scale a channel, activations one a tensor. Front end, first convolution, projection and what is
    behind it stay in float32: they are small, and an error there goes through everything.
    """
    import onnx
    from onnxruntime import quantization

    model = onnx.load(str(plain))
    inside = [node for node in model.graph.node if _in_encoder(node)]
    first = next((node.name for node in inside if node.op_type in ("Conv", "MatMul", "Gemm")), None)
    chosen = [node.name for node in inside if node.op_type in _QUANTISED and node.name != first]
    if not chosen:
        raise ModelError(
            f"{subject.name}: the {medium} encoder has no products to make of 8 bits; leave --precision out"
        )
    name, given = input_name(subject, medium), items.pictures if medium == "image" else items.sounds

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left: Iterator[Batch] = iter(given)

        def get_next(self) -> dict[str, Batch] | None:
            return next(({name: each[None]} for each in self.left), None)

    with _quiet():
        quantization.quantize_static(
            str(plain), str(path), Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            nodes_to_quantize=chosen, op_types_to_quantize=list(_QUANTISED),
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )  # fmt: skip
    onnx.checker.check_model(str(path), full_check=True)
    return path


_QUANTISED = ("Conv", "MatMul", "Gemm", "Add")


def _in_encoder(node: Any) -> bool:
    scopes = next((each.value for each in node.metadata_props if each.key == _SCOPES), "")
    return "'encoder'" in scopes


def refuse_few(items: Items | None, data: object) -> None:
    """Raise ModelError where there are too few items to calibrate on."""
    if items is None or items.calibration < FEWEST:
        count = 0 if items is None else items.calibration
        raise ModelError(
            f"--calibrate {data}: {count} pairs to calibrate on (those of split train, or half of all); "
            f"{FEWEST} or more expected"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters say much, to standard output too, that tells nothing to who exports."""
    names = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "root", "torch.fx")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def parameters(modules: Sequence[nn.Module]) -> int:
    """Return how many weights modules have."""
    return sum(value.numel() for module in modules for value in module.parameters())

"""The verb export: a model's towers for other programs, checked against Earthtone before they are left there."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from earthtone.errors import needed_by, one_line_each
from earthtone.exports.agreement import (
    Cost,
    Items,
    Parity,
    Recall,
    Run,
    cases,
    check_parity,
    compared_recall,
    cost,
    read_items,
)
from earthtone.exports.describe import facts_of, write_description
from earthtone.exports.graphs import (
    refuse_few,
    run_onnx,
    run_torch,
    traced,
    write_int8,
    write_onnx,
    write_torch,
)
from earthtone.exports.options import ExportOptions
from earthtone.exports.towers import Subject, open_subject
from earthtone.exports.weights import refuse_others, run_written, write_flat, write_timm, write_torchvision
from earthtone.files import atomic_folder, refuse_used
from earthtone.progress import note
from earthtone.value_types import takes


@dataclass(frozen=True)
class Exported:
    """What `export` wrote."""

    folder: Path
    to: str
    precision: str
    parity: Mapping[str, Parity]
    """`image` and `audio` -> how near the float32 tower is to Earthtone's."""
    cost: Mapping[str, Cost]
    """The same -> what fewer bits cost; empty in float32."""
    recall: Recall | None
    """R@10 before and after, on the pairs of `calibrate`."""
    files: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {**asdict(self), "folder": str(self.folder), "files": list(self.files)}

    def to_text(self) -> str:
        """Return lines for people."""
        head = f"{self.folder}: {self.to}, {len(self.files)} files; README.md tells how to use them without earthtone"
        return one_line_each([head, *said_of(self.parity, self.cost, self.recall, self.precision)])


def said_of(
    parity: Mapping[str, Parity], costs: Mapping[str, Cost], recall: Recall | None, precision: str
) -> list[str]:
    """Return a line on each figure."""
    lines = [
        f"{medium}: within {each.difference:.1e} of a vector's length of Earthtone's own, in float32, on "
        f"{len(each.cases)} batches of other sizes and lengths ({'; '.join(each.cases)})"
        for medium, each in parity.items()
    ]
    lines += [
        f"{medium} in {precision}: cosine to float32 {each.cosine_median:.5f} in the median, {each.cosine_least:.5f} "
        f"at least, error {100 * each.error_share:.1f} % of how far vectors lie from their mean, of {each.inputs} "
        f"inputs; {each.milliseconds:.2f} ms an input, float32 "
        f"{each.milliseconds_float32:.2f} ms"
        for medium, each in costs.items()
    ]
    if recall is not None:
        lines += [
            f"R@10 {direction.replace('_', ' ')} of {recall.pairs} pairs: {before:.3f} in float32, "
            f"{recall.after[direction]:.3f} in {precision} ({recall.after[direction] - before:+.3f})"
            for direction, before in recall.before.items()
        ]
    return lines


@takes(ExportOptions)
def export(options: ExportOptions) -> Exported:
    """Write a model's towers into the folder `out` for another library, and return how near they are to Earthtone's.

    `to` is timm, torchvision, onnx, torch-export, safetensors or hf. Each tower is run as it was written, on noise and
    natural inputs of other sizes than those it was made with; where a number of a vector is off by more than 1e-4 of
    its length nothing is left. `calibrate` are pairs for that too, for `precision` int8 and for what fewer bits cost.
    Raises ConfigError, ModelError, DataError.
    """
    folder = Path(options.out)
    refuse_used(folder)
    if options.to == "onnx":
        with needed_by("export"):
            import onnx  # noqa: F401 - told before the long part
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
    subject = open_subject(options.model, options.seed)
    refuse_others(subject, options.to)
    items = None
    if options.calibrate is not None:
        items = read_items(subject, options.calibrate, options.columns, options.seed)
    if options.precision == "int8":
        refuse_few(items, options.calibrate)
    with atomic_folder(folder) as made:
        parity, costs, recall = _written(made, subject, options, items)
        facts = facts_of(subject, options.to, options.precision)
        facts["parity"] = {medium: asdict(each) for medium, each in parity.items()}
        if costs:
            facts["cost"] = {medium: asdict(each) for medium, each in costs.items()}
        if recall is not None:
            facts["recall_at_10"] = asdict(recall)
        lines = said_of(parity, costs, recall, options.precision)
        if items is not None:
            lines.append(f"measured on {items.data}; its sounds are {items.said}")
        write_description(made, subject, facts, lines, license_name=options.license)
    files = tuple(sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()))
    return Exported(folder, options.to, options.precision, parity, costs, recall, files)


def _written(
    folder: Path, subject: Subject, options: ExportOptions, items: Items | None
) -> tuple[dict[str, Parity], dict[str, Cost], Recall | None]:
    """Write the towers and return how near they are in float32, what fewer bits cost, and R@10 before and after."""
    plain, runs = _runs(folder, subject, options, items)
    measured = None if items is None else items.part(calibration=False)
    if measured is not None and not len(measured.pictures):
        measured = items
    parity, costs = {}, {}
    for medium, run in plain.items():
        given = cases(subject, medium, options.seed, measured)
        parity[medium] = check_parity(subject, medium, run, given, options.to)
        if options.precision != "32":
            inputs: Any = [row for _, batch in given for row in batch]
            if measured is not None:
                inputs = measured.pictures if medium == "image" else measured.sounds
            costs[medium] = cost(subject.name, options.precision, runs[medium], run, inputs)
    recall = None
    if measured is not None and options.precision != "32":
        unit = subject.model is not None and subject.model.config.unit
        recall = compared_recall(runs, plain, measured, unit=unit)
    return parity, costs, recall


def _runs(
    folder: Path, subject: Subject, options: ExportOptions, items: Items | None
) -> tuple[dict[str, Run], dict[str, Run]]:
    """Write the towers and return what runs each, in float32 and as it was written."""
    if options.to in ("onnx", "torch-export"):
        return _graph_runs(folder, subject, options, items)
    write = _WRITERS[options.to]
    if options.precision == "32":
        write(folder, subject, "32")
        runs = {medium: run_written(folder, subject, medium, options.to) for medium in subject.media}
        return runs, runs
    whole = folder / ".float32"
    whole.mkdir()
    write(whole, subject, "32")
    write(folder, subject, options.precision)
    plain = {medium: run_written(whole, subject, medium, options.to) for medium in subject.media}
    runs = {medium: run_written(folder, subject, medium, options.to) for medium in subject.media}
    shutil.rmtree(whole)
    return plain, runs


def _flat(folder: Path, subject: Subject, precision: str) -> None:
    write_flat(folder, subject, precision, {"format": "pt", "fingerprint": subject.fingerprint, "precision": precision})


def _hf(folder: Path, subject: Subject, precision: str) -> None:
    _flat(folder, subject, precision)
    facts = facts_of(subject, "hf", precision)
    towers = {medium: facts[medium] for medium in subject.media}
    (folder / "config.json").write_text(json.dumps(towers, indent=1) + "\n")


_WRITERS: Mapping[str, Callable[[Path, Subject, str], None]] = {
    "timm": write_timm, "torchvision": write_torchvision, "safetensors": _flat, "hf": _hf,
}  # fmt: skip


def _graph_runs(
    folder: Path, subject: Subject, options: ExportOptions, items: Items | None
) -> tuple[dict[str, Run], dict[str, Run]]:
    plain, runs = {}, {}
    suffix = ".onnx" if options.to == "onnx" else ".pt2"
    for medium in subject.media:
        note(f"{medium} tower: tracing {subject.architecture[medium]}")
        last = folder / f"{medium}{suffix}"
        first = last if options.precision == "32" else folder / f".{medium}-float32{suffix}"
        plain[medium] = _graph(first, subject, medium, "32")
        if options.precision == "32":
            runs[medium] = plain[medium]
        elif options.precision == "int8":
            assert items is not None  # noqa: S101 - `refuse_few`
            write_int8(last, first, subject, medium, items.part(calibration=True))
            runs[medium] = run_onnx(last)
        else:
            runs[medium] = _graph(last, subject, medium, options.precision)
        if first != last:
            for left in folder.glob(f"{first.name}*"):  # with its weights, where they lie beside it
                left.unlink()
    return plain, runs


def _graph(path: Path, subject: Subject, medium: str, precision: str) -> Run:
    program = traced(subject, medium, precision)
    if path.suffix == ".pt2":
        return run_torch(write_torch(path, program))
    return run_onnx(write_onnx(path, subject, medium, program))

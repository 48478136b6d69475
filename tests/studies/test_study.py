"""Units of any study: done once, failures named and tried again, a stop ends the call and nothing else."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from earthtone.errors import DataError
from earthtone.studies.study import (
    DONE,
    FAILED,
    SKIPPED,
    WAITING,
    SkippedError,
    StoppedError,
    Study,
    as_json,
    read_json,
    write_json,
)

KIND = "result of a step"  # one of those that have versions


@dataclass(frozen=True)
class Sum:
    """A unit whose result is a number in a file; units of one file have one identity."""

    name: str
    file: str


class Kept:
    """A folder of results, and how often each unit was measured."""

    def __init__(self, folder: Path, errors: dict[str, Exception] | None = None) -> None:
        self.folder, self.errors, self.measured = folder, errors or {}, list[str]()

    def read(self, unit: Sum) -> int | None:
        return read_json(self.folder / unit.file, lambda values: int(values["sum"]), KIND)

    def measure(self, unit: Sum) -> int:
        self.measured.append(unit.name)
        if unit.name in self.errors:
            raise self.errors[unit.name]
        write_json(self.folder / unit.file, {"sum": len(unit.name)}, KIND)
        return len(unit.name)


UNITS = [Sum("one", "a.json"), Sum("two", "b.json"), Sum("three", "c.json"), Sum("four", "d.json")]


def run(kept: Kept, units: list[Sum] = UNITS) -> tuple[Study[Sum, int], list[str]]:
    study, said = Study(units, kept.read), list[str]()
    study.run(study.in_turn(study.waiting, kept.measure, said.append), lambda unit: said.append(study.state(unit)))
    return study, said


def test_every_unit_is_done_once_whatever_happens_to_the_others(tmp_path: Path) -> None:
    errors = {
        "one": DataError("no data"), "two": SkippedError("needs one"), "three": ZeroDivisionError("by\nzero"),
    }  # fmt: skip
    study, said = run(Kept(tmp_path, errors))
    assert [study.state(unit) for unit in UNITS] == [FAILED, SKIPPED, FAILED, DONE]
    assert [study.why(unit) for unit in UNITS] == ["no data", "needs one", "ZeroDivisionError: by zero", ""]
    assert said == ["[1/4] one", FAILED, "[2/4] two", SKIPPED, "[3/4] three", FAILED, "[4/4] four", DONE]
    assert study.waiting == [] and set(study.seconds) == {unit.name for unit in UNITS}
    again = Kept(tmp_path)
    study, _ = run(again)
    assert again.measured == ["one", "two", "three"]  # a failure is not kept
    assert study.results == {"one": 3, "two": 3, "three": 5, "four": 4}


def test_a_stop_ends_the_call_and_the_next_goes_on(tmp_path: Path) -> None:
    study, _ = run(Kept(tmp_path, {"two": StoppedError("step 3 of 9")}))
    assert study.stopped == "two, step 3 of 9"
    assert [study.state(unit) for unit in UNITS] == [DONE, WAITING, WAITING, WAITING]
    again = Kept(tmp_path)
    assert run(again)[0].waiting == [] and again.measured == ["two", "three", "four"]


def test_units_of_one_identity_are_measured_once(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    study, _ = run(kept, [Sum("one", "a.json"), Sum("other name", "a.json")])
    assert kept.measured == ["one"] and study.results == {"one": 3, "other name": 3}


def test_a_damaged_result_is_one_line_with_what_to_do(tmp_path: Path) -> None:
    for text in ("{", "[]", "{}", '{"sum": "many"}', "[" * 100_000):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(DataError, match=r"a\.json: no result of a step .*delete it and run again"):
            Study(UNITS, Kept(tmp_path).read)


def test_identities_are_compared_as_json_gives_them_back() -> None:
    assert as_json({"seeds": (0, 1), 3: None}) == {"seeds": [0, 1], "3": None}

"""Run the benchmarks, each within its time, and write `benchmarks/RESULTS.md`: `make bench`.

Sizes are such that all take less than 15 minutes on two idle cores; `--full` takes each file's own sizes, without an
end. A benchmark that fails or takes too long is reported as failed; exit code 1 then.

    python benchmarks/run.py --only loader_rate training_step
"""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from earthtone.files import write_text_atomic
from machine import described

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "RESULTS.md"
#: `unlike_training` is a benchmark too, but needs the model of `make demo`.
NOT_BENCHMARKS = {"files", "machine", "run", "serve_world", "training", "unlike_training"}
SECONDS = 120.0  # for each, unless it is named below
MINUTES = 15.0  # for all
QUICK = {
    "curate": "48",
    "embed": "--tiles 500 --sounds 40 --files 24",
    "embed_inputs": "--files 24 --rounds 2",
    "export": "--encoder resnet18 --batch 4 --rounds 5 --calibrated 16",
    "feature_memory": "--images 1000 4000",
    "feature_rate": "--images 96",
    "loss_memory": "--pairs 2048 --plain_pairs 512 --tiled_pairs 4096",
    "page": "--points 100000",
    "retrieval_memory": "--pairs 20000 --sample 200",
    "search": "--rows 200000 --rounds 5",
    "serve_load": "--rows 120 --seconds 10",
    "serve": "--clicks 60 --sounds 8 --points 500000",
    "training_step": "--steps 4 --steps_resnet50 2",
}
ASKED_FOR = {"compile_step"}  # two minutes of compiling: with --full, or by --only
LIMITS = {
    "embed": 240.0,
    "export": 240.0,
    "feature_rate": 180.0,
    "gradcache": 180.0,
    "loader_memory": 180.0,
    "loss_memory": 240.0,
    "training_step": 240.0,
}


@dataclass(frozen=True)
class Outcome:
    """What one benchmark said, and whether it ended well."""

    name: str
    words: list[str]
    question: str
    lines: str
    seconds: float
    failed: str | None

    def to_markdown(self) -> str:
        """Its section of the results."""
        end = f"**failed: {self.failed}**" if self.failed else "done"
        command = " ".join(["python", *self.words])
        return (
            f"## {self.name}\n\n{self.question}\n\n`{command}` - {end}, {self.seconds:.0f} s\n\n"
            f"```\n{self.lines.strip() or 'no output'}\n```\n"
        )


def question_of(path: Path) -> str:
    """The first paragraph of a benchmark's docstring."""
    return " ".join(path.read_text(encoding="utf-8").split('"""')[1].split("\n\n")[0].split())


def run(name: str, limit: float | None, *, full: bool) -> Outcome:
    """Run one benchmark for so many seconds at most; it and what it has started then end."""
    path = FOLDER / f"{name}.py"
    words = [f"benchmarks/{name}.py", *([] if full else QUICK.get(name, "").split())]
    start, failed = time.perf_counter(), None
    with subprocess.Popen(
        [sys.executable, str(path), *words[1:]],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(timeout=limit)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            os.killpg(process.pid, 9)  # a session of its own: the processes that it has started are in it too
            out, err = process.communicate()
            if isinstance(error, KeyboardInterrupt):
                raise
            failed = f"not done within {limit:.0f} s"
        else:
            if process.returncode:
                failed = f"exit code {process.returncode}"
    if failed:
        out = "\n".join([out, *err.strip().splitlines()[-5:]])
    return Outcome(name, words, question_of(path), out, time.perf_counter() - start, failed)


def written(outcomes: list[Outcome], *, full: bool) -> str:
    """The results so far."""
    sizes = "each file's own sizes" if full else "the quick sizes of `make bench`"
    head = [f"# Results of the benchmarks\n\n{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {sizes}.", *described()]
    return "\n\n".join([*head, *(outcome.to_markdown() for outcome in outcomes)])


def main() -> int:
    """Run them and return the exit code."""
    known = sorted({path.stem for path in FOLDER.glob("*.py")} - NOT_BENCHMARKS)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=known, metavar="NAME", help=", ".join(known))
    parser.add_argument("--full", action="store_true", help="each file's own sizes, without an end")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for all of them")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    names = options.only or [name for name in known if options.full or name not in ASKED_FOR]
    end = time.monotonic() + 60 * options.minutes
    outcomes: list[Outcome] = []
    for number, name in enumerate(names, start=1):
        print(f"[{number}/{len(names)}] {name}", flush=True)
        limit = None if options.full else min(LIMITS.get(name, SECONDS), max(1.0, end - time.monotonic()))
        outcome = run(name, limit, full=options.full)
        outcomes.append(outcome)
        print(outcome.lines.strip(), f"-- {outcome.failed or 'done'}, {outcome.seconds:.0f} s", sep="\n", flush=True)
        write_text_atomic(options.out, written(outcomes, full=options.full))  # what is there so far, also after a stop
    failed = [outcome.name for outcome in outcomes if outcome.failed]
    print(f"{options.out}: {len(outcomes) - len(failed)} done" + (f", failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

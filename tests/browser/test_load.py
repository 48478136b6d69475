"""A short form of `benchmarks/serve_load.py`: many people at once, no error."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.browser
def test_fifty_clients_are_answered_without_an_error(page_url: str) -> None:
    script = ROOT / "benchmarks" / "serve_load.py"
    command = [sys.executable, script, "--url", page_url, "--clients", "50", "--seconds", "5"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "errors: 0" in done.stdout

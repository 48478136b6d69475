"""Requests that schemathesis makes of the OpenAPI: no fault of the server's own, and answers as they are described."""

from pathlib import Path
from typing import Any

import pytest
from page_server import ask, page_of

schemathesis = pytest.importorskip("schemathesis")
hypothesis = pytest.importorskip("hypothesis")

EXAMPLES = 12  # requests an address and a way of making them


@pytest.mark.extras
@pytest.mark.slow
def test_what_the_openapi_allows_is_answered_as_it_says(tiny_index: Path, tmp_path: Path) -> None:
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance
    from schemathesis.specs.openapi.checks import status_code_conformance as status_conformance

    checks = [not_a_server_error, content_type_conformance, response_schema_conformance, status_conformance]
    with page_of(tiny_index, model=tiny_index.parent / "model", marks=tmp_path / "marks.csv") as page:
        schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{page.port}/openapi.json")
        asked: dict[str, int] = {}
        told: list[str] = []
        for found in schema.get_all_operations():
            operation = found.ok()
            name = f"{operation.method.upper()} {operation.path}"
            asked[name] = 0

            def one(case: Any) -> None:
                asked[name] += 1  # noqa: B023 - called before the next
                case.call_and_validate(checks=checks)

            few = settings(
                max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            try:
                few(given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))(one))()
                if operation.method == "post":
                    few(given(case=operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))(one))()
            except Exception as error:
                told.append(f"{name}: {error}")
        assert not told, "\n\n".join(told)
        assert len(asked) >= 15 and min(asked.values()) >= 1
        assert ask(page, "/healthz").status == 200

"""Marks that the page makes: read for a query, appended to the file, on the disk before they are acknowledged."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query

from earthtone.atlas.marks import Mark, Marks, add_marks, read_marks
from earthtone.errors import one_line
from earthtone.serve.answers import MarkKept, MarkSaid, MarksTold
from earthtone.serve.guard import refused
from earthtone.serve.served import Served

_MOST_TOLD = 10_000
_MOST_QUERIES = 1000
_MOST_PROBLEMS = 20


def routes(served: Served) -> APIRouter:
    """Return what reads and writes marks."""
    router = APIRouter(prefix="/api", tags=["marks"])

    @router.get("/marks")
    def told(query: Annotated[str | None, Query(max_length=4000)] = None) -> MarksTold:
        """Return the marks of a query, or of all, the newest lines last (at most 10,000)."""
        there = read_marks(served.marks) if served.marks.exists() else Marks(())
        wanted = None if query is None else one_line(query)
        chosen = [mark for mark in there.marks if wanted is None or mark.query == wanted][-_MOST_TOLD:]
        return MarksTold(
            marks=[
                MarkKept(key=mark.id, query=mark.query, verdict=mark.verdict, time=mark.time, who=mark.who)
                for mark in chosen
            ],
            queries=dict(list(there.queries().items())[:_MOST_QUERIES]), problems=list(there.problems)[:_MOST_PROBLEMS],
        )  # fmt: skip

    @router.post("/marks", status_code=201)
    def say(said: MarkSaid) -> MarkKept:
        """Keep a mark. It is on the disk when this answers; several people and programs may write at once."""
        if not served.index.catalogue.of_keys([said.key]):
            raise refused(
                404, f"{one_line(said.key, 120)!r} is no key of an item of this index; that of a hit expected"
            )
        who = said.who.strip() or (served.options.who or "")
        time = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        add_marks(served.marks, [Mark(said.key, said.query, said.verdict, time, who)])
        return MarkKept(key=said.key, query=said.query, verdict=said.verdict, time=time, who=who)

    return router

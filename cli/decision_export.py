"""`placet decision export`: decisions of a filter in one file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from app.core.complaint import many
from app.core.errors import PlacetError, UsageError
from app.core.files import replacing
from cli import client
from cli.filter_options import Filters
from cli.output import Output, OutputOption, emit, say
from cli.progress import counted

#: Rows of a group in a Parquet file.
_GROUP = 10_000
#: What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

_COLUMNS = (
    "decision_id", "time", "system", "sidecar", "outcome", "reasons", "mode", "execution", "subject_issuer",
    "subject_id", "action", "resource_type", "resource_id", "policy", "library",
)  # fmt: skip


class Format(StrEnum):
    """The forms of an export."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


def export(
    filters: Filters,
    to: Annotated[Path, typer.Option("--output-file", "-o", metavar="FILE", help="Where to.", show_default=False)],
    form: Annotated[Format, typer.Option("--format", help="jsonl, csv or parquet.")] = Format.JSONL,
    records: Annotated[
        bool, typer.Option("--records", help="With jsonl: the records, byte for byte as OPA wrote them.")
    ] = False,
    limit: Annotated[int | None, typer.Option(help="At most so many of the newest.", min=1, show_default=False)] = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write decisions to a file, newest first. It is there when all of it is, and until then as it was before."""
    from cli.decision_sources import FromControlPlane

    if records and form is not Format.JSONL:
        raise UsageError("--records goes with --format jsonl")
    if form is Format.PARQUET:
        require_pyarrow()
    with client.connect(server, token_file) as plane, replacing(to) as file:
        stored = FromControlPlane(plane)
        if records:
            number = _raw(counted(stored.feed(filters, limit), "decision"), file)
        else:
            rows = counted(map(flat, stored.pages(filters, limit)), "decision")
            number = {Format.JSONL: _lines, Format.CSV: _csv, Format.PARQUET: _parquet}[form](rows, file)
    emit({"file": str(to), "decisions": number}, output)


def flat(one: dict[str, Any]) -> dict[str, Any]:
    """A decision, as the API lists it, in columns."""
    subject = one["subject"] or {}
    return {
        **{name: one[name] for name in _COLUMNS if name in one},
        "subject_issuer": subject.get("issuer"),
        "subject_id": subject.get("id"),
        "resource_type": one["resource"]["type"],
        "resource_id": one["resource"]["id"],
        **one["bundles"],
    }


def _raw(records: Iterable[bytes], file: IO[bytes]) -> int:
    from app.core.replay_record import Absent

    number = absent = 0
    for record in records:
        if isinstance(record, Absent):
            absent += 1
            continue
        file.write(record + b"\n")
        number += 1
    if absent:
        say(f"left out, as they are not there any more: {many(absent, 'record')}")
    return number


def _lines(rows: Iterable[dict[str, Any]], file: IO[bytes]) -> int:
    number = 0
    for row in rows:
        number += 1
        file.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
    return number


def _csv(rows: Iterable[dict[str, Any]], file: IO[bytes]) -> int:
    """RFC 4180. No cell is a formula to a spreadsheet: what could be one begins with an apostrophe."""
    number = 0
    text = io.TextIOWrapper(file, "utf-8", errors="replace", newline="")
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for row in rows:
        number += 1
        writer.writerow([_cell(row[name]) for name in _COLUMNS])
    text.flush()
    text.detach()
    return number


def _cell(value: Any) -> str:
    text = "" if value is None else " ".join(value) if isinstance(value, list) else str(value)
    return f"'{text}" if text.lstrip(" ")[:1] in _FORMULA else text


def _parquet(rows: Iterable[dict[str, Any]], file: IO[bytes]) -> int:
    import pyarrow
    from pyarrow import parquet

    texts = [name for name in _COLUMNS if name not in ("time", "reasons")]
    schema = pyarrow.schema(
        [("time", pyarrow.timestamp("ns", "UTC")), ("reasons", pyarrow.list_(pyarrow.string()))]
        + [(name, pyarrow.string()) for name in texts]
    )
    number = 0
    source = iter(rows)
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while some := list(islice(source, _GROUP)):
            number += len(some)
            columns: dict[str, list[Any]] = {name: [_text(row[name]) for row in some] for name in texts}
            columns["time"] = [_nanoseconds(row["time"]) for row in some]
            columns["reasons"] = [[_text(one) for one in row["reasons"] or []] for row in some]
            writer.write_table(pyarrow.table(columns, schema=schema))
    return number


def _text(value: str | None) -> str | None:
    return None if value is None else value.encode("utf-8", "replace").decode()


def _nanoseconds(time: str) -> int:
    whole, _, fraction = time.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(whole + "+00:00").timestamp()) * 1_000_000_000 + int(fraction.ljust(9, "0"))


def require_pyarrow() -> None:
    """Raises `PlacetError` where the extra `parquet` is not installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise PlacetError("Parquet needs pyarrow: install placet[parquet]") from error

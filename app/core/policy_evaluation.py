"""Asking a policy on a workbench: its rules, its data, and the governance library where it leans on it.

The caller is data here, `data.placet.subject`, as a file gives it: in a sidecar it is what the library verified.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core import strict_json
from app.core.compose import Library
from app.core.errors import PlacetError, UsageError
from app.core.files import write_tree
from app.core.opa import Opa
from app.core.policy_project import Project
from app.core.policy_remedy import told

#: What leans on the library: anything of it but the caller.
_LIBRARY = re.compile(rb"\bdata\.placet(?!\.subject\b)\b")
#: The library's package that decides, and that says who the caller is: here the author says so.
_PLACET = re.compile(rb"^package placet$", re.MULTILINE)


@dataclass(frozen=True)
class Benchmark:
    """How long one evaluation takes, and what it allocates."""

    evaluations: int
    ns_per_op: int
    allocations_per_op: int
    bytes_per_op: int


def reference(entrypoint: str) -> str:
    """A rule's path as a query: `a/b` is `data["a"]["b"]`."""
    return "data" + "".join(f"[{json.dumps(part)}]" for part in entrypoint.split("/"))


def document(raw: bytes, what: str) -> Any:
    """A JSON document that an author gave. Raises `UsageError`."""
    try:
        return strict_json.loads(raw)
    except strict_json.StrictJSONError as error:
        raise UsageError(f"{what}: {error}") from error


@contextmanager
def workbench(
    project: Project, query: str, subject: Mapping[str, Any] | None, more: Sequence[Mapping[str, Any]] = ()
) -> Iterator[list[str]]:
    """The options by which `opa eval` and `opa bench` load the policy, without its tests, and `more` data."""
    with tempfile.TemporaryDirectory(prefix="placet-eval-") as scratch:
        root = Path(scratch)
        parts: dict[str, bytes] = {f"policy/{path}": raw for path, raw in {**project.modules, **project.data}.items()}
        if subject is not None:
            parts["caller/data.json"] = json.dumps({"placet": {"subject": subject}}).encode()
        for number, one in enumerate(more):
            parts[f"data-{number}/data.json"] = json.dumps(one).encode()
        if project.entrypoint is not None and "data.placet.policy" in query:
            parts["glue/glue.rego"] = glue(project.entrypoint)
        if _LIBRARY.search(query.encode()) or any(map(_LIBRARY.search, project.modules.values())):
            library = {path: raw for path, raw in Library.shipped().modules.items() if not _PLACET.search(raw)}
            parts |= {f"library/{path}": raw for path, raw in library.items()}
        write_tree(root, parts)
        yield [word for name in sorted({path.split("/")[0] for path in parts}) for word in ("--data", str(root / name))]


def evaluate(
    project: Project,
    opa: Opa,
    query: str,
    given: Any,
    subject: Mapping[str, Any] | None,
    *,
    more: Sequence[Mapping[str, Any]] = (),
    options: Sequence[str] = (),
) -> dict[str, Any]:
    """What `opa eval` answers, with `options` of its own: no `result` when the query is undefined."""
    with workbench(project, query, subject, more) as loaded:
        asked = [] if given is None else ["--stdin-input"]
        answer = opa.run(
            ["eval", "--format", "json", *options, *asked, *loaded, query],
            stdin=b"" if given is None else json.dumps(given).encode(),
            accept_failure=True,
        )
        answered = _document(answer.stdout)
        if answer.returncode != 0 or "errors" in answered:
            raise PlacetError(_complaint(answered, answer.stderr, loaded, project))
    return answered


def glue(entrypoint: str) -> bytes:
    """What tells the library the policy's answer, as `app.core.compose` has it in a sidecar's bundle."""
    return f'package placet_glue\n\nvalue := object.get({{"v": {reference(entrypoint)}}}, "v", null)\n'.encode()


def refused(project: Project, opa: Opa, given: Any, subject: Mapping[str, Any] | None) -> list[str]:
    """The reason codes by which the library would deny the entrypoint's answer, whatever else speaks for it.

    `policy.denied` is the policy's own no; `policy.malformed` an answer that is not of the accepted form.
    """
    found = evaluate(project, opa, "data.placet.policy.failures", given, subject).get("result") or []
    return list(found[0]["expressions"][0]["value"]) if found else []


def bench(project: Project, opa: Opa, query: str, given: Any, subject: Mapping[str, Any] | None) -> Benchmark:
    """Evaluate a query for about a second, again and again. Raises `PlacetError` when it is undefined."""
    with workbench(project, query, subject) as options:
        asked = [] if given is None else ["--stdin-input"]
        answer = opa.run(
            ["bench", "--format", "json", "--metrics=false", *asked, *options, query],
            stdin=b"" if given is None else json.dumps(given).encode(),
            accept_failure=True,
        )
        measured = _document(answer.stdout)
        if answer.returncode != 0 or not measured.get("N"):
            raise PlacetError(_complaint(measured, answer.stderr, options, project))
    times = int(measured["N"])
    return Benchmark(
        times, int(measured["T"]) // times, int(measured["MemAllocs"]) // times, int(measured["MemBytes"]) // times
    )


def _document(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _complaint(answered: Mapping[str, Any], stderr: bytes, options: list[str], project: Project) -> str:
    """OPA's first error in one line, with paths as the author knows them."""

    def shown(text: str) -> str:
        for directory in options[1::2]:
            text = text.replace(f"{directory}/", project.prefix)
        return text

    if errors := answered.get("errors"):
        return told(errors[0], shown)
    said = stderr.decode(errors="replace").strip() or "OPA gave no result; is the query undefined?"
    return " ".join(shown(said.splitlines()[0]).split())[:500]


def first_fault(staged: Path, opa: Opa, prefix: str) -> str | None:
    """Why OPA cannot load the files in a directory: its first error with place and remedy, `prefix` before the path."""
    answered = _document(
        opa.run(["eval", "--format", "json", "--data", str(staged), "true"], accept_failure=True).stdout
    )
    errors = answered.get("errors") or [None]
    return told(errors[0], lambda text: text.replace(f"{staged}/", prefix)) if errors[0] else None

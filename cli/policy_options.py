"""What several commands of `placet policy` take, and how they read it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.core.errors import UsageError
from app.core.files import read_bounded

if TYPE_CHECKING:
    from app.core.policy_project import Project

#: Bytes of an input or a subject.
_MAX_INPUT = 16 * 1024 * 1024

DirectoryArgument = Annotated[
    Path, typer.Argument(help="The policy's directory, with its Rego and placet.yaml.", show_default="this one")
]
InputOption = Annotated[
    Path | None, typer.Option("--input", "-i", help="The input, a JSON file; - is stdin.", show_default=False)
]
SubjectOption = Annotated[
    Path | None,
    typer.Option(
        "--subject",
        help="The verified caller, data.placet.subject, as a JSON file. Default: subject.json beside the input.",
        show_default=False,
    ),
]


def given(path: Path | None) -> Any:
    """The input that a person named, or None."""
    from app.core.policy_evaluation import document

    if path is None:
        return None
    if str(path) == "-":
        raw = sys.stdin.buffer.read(_MAX_INPUT + 1)
        if len(raw) > _MAX_INPUT:
            raise UsageError(f"the input on stdin is larger than {_MAX_INPUT} bytes")
        return document(raw, "stdin")
    return document(read_bounded(path, _MAX_INPUT, "the input"), str(path))


def subject(path: Path | None, beside: Path | None) -> dict[str, Any] | None:
    """Who asks: as a file says, or as the one beside the input does."""
    if path is None and beside is not None and str(beside) != "-":
        neighbour = beside.with_name("subject.json")
        path = neighbour if neighbour.is_file() else None
    if path is None:
        return None
    return _object(path, "the subject", '{"id": "…", "issuer": "…"}')


def documents(paths: list[Path] | None) -> list[dict[str, Any]]:
    """Further data that a person named."""
    return [_object(path, "the data", '{"limits": {"EUR": 500}}') for path in paths or []]


def _object(path: Path, what: str, example: str) -> dict[str, Any]:
    from app.core.policy_evaluation import document

    found = document(read_bounded(path, _MAX_INPUT, what), str(path))
    if not isinstance(found, dict):
        raise UsageError(f"{path}: {what} is an object such as {example}")
    return found


def question(project: Project, query: str | None) -> str:
    """The query that a person gave, or the policy's entrypoint."""
    from app.core.policy_evaluation import reference

    if query is not None:
        return query
    if project.entrypoint is None:
        raise UsageError(
            f"{project.directory} does not say which rule decides: give --query data.…, or name the entrypoint in "
            "placet.yaml, such as entrypoint: payments/authz/decision"
        )
    return reference(project.entrypoint)

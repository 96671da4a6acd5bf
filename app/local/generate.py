"""Writes what follows from the table of reason codes: Python and Rego constants and the page of the docs.

`python -m app.local.generate` writes the files; with `--check` it only says which are out of date, and exits 1.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TypedDict

import app

REPOSITORY = Path(app.__file__).resolve().parent.parent

#: Where a reason comes from, in the order of the docs page, with that page's heading.
SCOPES = {
    "decision": "In a decision",
    "client": "At the client",
    "verification": "When a release is verified",
    "sidecar": "In a sidecar's status",
    "control": "At the control plane",
}


class ReasonRow(TypedDict):
    """One row of app/core/reasons.json. The order of the decision rows is the order in which a decision lists them."""

    code: str
    scope: str
    message: str
    meaning: str
    remedy: str


def outputs(rows: list[ReasonRow]) -> dict[Path, str]:
    """The generated files, by path in the repository."""
    return {
        Path("app/core/reason_codes.py"): _python(rows),
        Path("rego/placet/reasons.rego"): _rego(rows),
        Path("docs/reasons.md"): _page(rows),
    }


def _python(rows: list[ReasonRow]) -> str:
    members = "\n".join(f'    {row["code"].replace(".", "_").upper()} = "{row["code"]}"' for row in rows)
    return f'''"""Reason codes. Generated from reasons.json by `make generate`; do not edit."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """A stable reason code; its meaning and remedy stand in docs/reasons.md."""

{members}
'''


def _rego(rows: list[ReasonRow]) -> str:
    entries = "\n".join(
        f'\t{_text(row["code"])}: {{\n\t\t"code": {_text(row["code"])},\n\t\t"message": {_text(row["message"])},\n\t}},'
        for row in rows
        if row["scope"] == "decision"
    )
    return f"""# Reason codes of decisions. Generated from app/core/reasons.json by `make generate`; do not edit.
package placet.reasons

reasons := {{
{entries}
}}
"""


def _page(rows: list[ReasonRow]) -> str:
    sections = "\n".join(
        f"\n## {heading}\n\n| Code | Message | Meaning | What to do |\n|---|---|---|---|\n"
        + "\n".join(
            f"| `{row['code']}` | {row['message']} | {row['meaning']} | {row['remedy']} |"
            for row in rows
            if row["scope"] == scope
        )
        for scope, heading in SCOPES.items()
    )
    return f"""# Reason codes

<!-- Generated from app/core/reasons.json by `make generate`; do not edit. -->

Codes are stable: a code keeps its meaning for ever, and new ones may come. Codes that start with `policy:` are the
policy's own; no code of Placet holds a colon. A decision lists every check that failed, in the order of this table.
{sections}
"""


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def main(arguments: list[str]) -> int:
    """Write the files, or with `--check` compare them. Returns the exit code."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m app.local.generate [--check]\n")
        return 2
    rows: list[ReasonRow] = json.loads((REPOSITORY / "app/core/reasons.json").read_text())
    stale = [
        path
        for path, text in outputs(rows).items()
        if not (REPOSITORY / path).exists() or (REPOSITORY / path).read_text() != text
    ]
    if arguments == ["--check"]:
        for path in stale:
            sys.stderr.write(f"{path} is out of date: run `make generate`\n")
        return 1 if stale else 0
    for path in stale:
        (REPOSITORY / path).write_text(outputs(rows)[path])
        sys.stderr.write(f"wrote {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Change the governance library line by line, and say which changes no Rego test sees. `make mutants` calls this.

    make mutants ARGS="chain token"     # modules of rego/placet; all of them take an hour and more

A condition becomes `true`, a comparison its neighbour, a `not` goes, a number grows by one. A change that survives is
an equivalent one, or a test that is missing: each is to be looked at by somebody.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

from app.local.tools import installed

LIBRARY = Path(__file__).resolve().parents[1] / "rego" / "placet"
NEIGHBOURS = {"==": "!=", "!=": "==", "<=": "<", "<": "<=", ">=": ">", ">": ">=", "+": "-", "-": "+"}
_TEXT = re.compile(r'"(?:\\.|[^"\\])*"|`[^`]*`')
#: Seconds: a change may make a test run without end, which somebody would see.
LIMIT = 120


def changes(line: str) -> Iterator[str]:
    """The line in other words. Those that are no whole condition keep their place in what is around them."""
    code = line.split("#")[0]
    stripped = code.strip()
    if not stripped or stripped.startswith(("package ", "import ", "default ")):
        return
    if line.startswith("\t") and _whole(code) and not stripped.startswith(("some ", "every ", "}")):
        yield re.sub(r"\S.*", "true", line)
    bare = _TEXT.sub(lambda text: "x" * len(text[0]), code)
    if found := re.match(r"\s*(not )", bare):
        yield line[: found.start(1)] + line[found.end(1) :]
    for found in re.finditer(r" (==|!=|<=|<|>=|>|\+|-) ", bare):
        yield line[: found.start(1)] + NEIGHBOURS[found[1]] + line[found.end(1) :]
    for found in re.finditer(r"(?<![\w.])\d+(?![\w.])", bare):
        yield f"{line[: found.start()]}{int(found[0]) + 1}{line[found.end() :]}"


def _whole(code: str) -> bool:
    """Whether it opens and closes nothing that stands on other lines, and is no member of a list."""
    bare = _TEXT.sub("", code)
    pairs = all(bare.count(first) == bare.count(last) for first, last in ("()", "[]", "{}"))
    return pairs and not bare.rstrip().endswith(",")


def survivors(opa: Path, directory: Path, module: str) -> Iterator[tuple[int, str, str]]:
    """The changes that all tests let through: the line's number, the line, and what became of it."""
    path = directory / f"{module}.rego"
    original = path.read_text()
    lines = original.splitlines()
    for number, line in enumerate(lines):
        for changed in changes(line):
            path.write_text("\n".join([*lines[:number], changed, *lines[number + 1 :]]))
            # The module's own tests see nearly all of it, and are quick.
            if _passes(opa, directory, f"^data.placet.{module}.*_test") and _passes(opa, directory, "."):
                yield number + 1, line.strip(), changed.strip()
    path.write_text(original)


def _passes(opa: Path, directory: Path, tests: str) -> bool:
    try:
        done = subprocess.run(
            [opa, "test", "--run", tests, "--timeout", "60s", directory],
            capture_output=True,
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def main(modules: list[str]) -> int:
    """Change these modules, or all; fails on a name that is none."""
    known = sorted(path.stem for path in LIBRARY.glob("*.rego") if not path.stem.endswith("_test"))
    if unknown := sorted(set(modules) - set(known)):
        sys.stderr.write(f"no such module: {unknown[0]}\n")
        return 2
    opa = installed("opa")
    with tempfile.TemporaryDirectory(prefix="placet-mutants-") as scratch:
        directory = copytree(LIBRARY, Path(scratch) / "placet")
        for module in modules or known:
            for number, line, changed in survivors(opa, directory, module):
                sys.stdout.write(f"{module}.rego:{number}: {line}  ->  {changed}\n")
                sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A project of Rego as tests/corpora.yaml describes it, and what plain OPA says of it."""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from app.core import bundle_source, older_rego, strict_yaml
from app.core.bundle import named_by
from app.core.complaint import complaint
from app.core.errors import PlacetError, UsageError
from app.core.files import write_tree
from app.core.opa import Opa

#: How often a test came out how: by file, package, name and outcome.
Results = Counter[tuple[str, str, str, str]]


class Corpus(BaseModel):
    """What must be known about a project to build it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Where it is from; for people.
    source: str = ""
    #: What makes up the policy, below the checkout.
    directories: tuple[str, ...] = (".",)
    #: Patterns of directories, each of which is a policy by itself; in place of `directories`.
    each: tuple[str, ...] = ()
    #: Files that are its tests.
    tests: tuple[str, ...] = ("*_test.rego",)
    #: Where else there are tests: every module there is one.
    test_directories: tuple[str, ...] = ()
    #: Whether it is older Rego.
    v0: bool = False
    #: The rule that decides, or a pattern of it; the annotated one when it is not given.
    entrypoint: str | None = None
    #: Files that are left out of the bundle.
    ignore: tuple[str, ...] = ()
    #: Builtins that its system allows by name.
    allow: frozenset[str] = frozenset()
    #: Whether OPA's strict mode is on.
    strict: bool = True
    #: Rules that tell the time: their answers differ from one question to the next.
    clock: tuple[str, ...] = ()
    #: The builtins for which it must be refused, all of them. Its tests are not run: plain OPA lacks them too.
    refused: tuple[str, ...] = ()


def known(path: Path) -> dict[str, Corpus]:
    """The projects that a file describes. Raises `UsageError`."""
    try:
        return {name: Corpus.model_validate(one) for name, one in (strict_yaml.load(path.read_bytes()) or {}).items()}
    except ValidationError as error:
        raise UsageError(f"{path}: {complaint(error)}; its members are {', '.join(Corpus.model_fields)}") from error
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} describes no projects: {error}") from error


def chosen(argument: str, corpora: Mapping[str, Corpus]) -> tuple[str, Corpus, Path]:
    """The project that an argument names, and its checkout. Raises `UsageError`."""
    name, equals, directory = argument.partition("=") if "=" in argument else ("", "", argument)
    checkout = Path(directory).absolute()
    if not checkout.is_dir():
        raise UsageError(f"{directory} is not a directory; check the project out, and name it: NAME=DIRECTORY")
    if equals and name not in corpora:
        raise UsageError(f"{name} is none of the projects described: {', '.join(corpora)}")
    return (name, corpora[name], checkout) if equals else (checkout.name, Corpus(), checkout)


def tests_of(corpus: Corpus, directories: Sequence[Path], elsewhere: Sequence[Path], opa: Opa) -> dict[str, bytes]:
    """The tests beside the policy and elsewhere, by the path where they run over the bundle, as today's Rego."""
    found: dict[str, bytes] = {}
    for number, directory in enumerate([*directories, *elsewhere]):
        for path in sorted(directory.rglob("*.rego")):
            name = path.relative_to(directory).as_posix()
            if not _hidden(name) and (directory in elsewhere or named_by(name, corpus.tests)):
                found[f"tests/{number}/{bundle_source.module_path(name)}"] = path.read_bytes()
    return older_rego.convert(found, opa) if corpus.v0 else found


def results(opa: Opa, directories: Sequence[Path], v0: bool = False) -> Results:
    """What `opa test` says of each test. Raises `PlacetError` when it cannot run them."""
    options = ["--v0-compatible"] if v0 else []
    answer = opa.run(["test", "--format", "json", *options, *map(str, directories)], accept_failure=True)
    if said := answer.stderr.decode(errors="replace").strip():
        first = next((line for line in said.splitlines() if ".rego:" in line), said.splitlines()[0])
        raise PlacetError(f"opa test cannot run its tests: {first[:300]}")
    return Counter(_result(one, directories) for one in json.loads(answer.stdout or b"[]") or [])


def _result(found: Mapping[str, Any], directories: Sequence[Path]) -> tuple[str, str, str, str]:
    outcome = "error" if "error" in found else "failed" if found.get("fail") else "passed"
    outcome = "skipped" if found.get("skip") else outcome
    file = found["location"]["file"]
    for directory in directories:
        file = file.removeprefix(f"{directory}/")
    file = bundle_source.module_path(re.sub(r"^tests/\d+/", "", file))
    # OPA numbers tests of one name in the order of its reading.
    return file, found["package"], re.sub(r"#\d+$", "", found["name"]), outcome


def differing(before: Results, after: Results) -> Iterator[tuple[str, str, str]]:
    """Each test that came out otherwise: its name, and both outcomes."""
    lost, new = before - after, after - before
    for test in sorted({one[:3] for one in [*lost, *new]}):
        was, became = (
            " and ".join(sorted(one[3] for one in side.elements() if one[:3] == test)) or "not run"
            for side in (lost, new)
        )
        yield f"{test[0]}: {test[1]}.{test[2]}", was, became


def evaluated(corpus: Corpus, directories: Sequence[Path], opa: Opa) -> Any:
    """All that the project defines, without its tests, as `opa eval` gives it. Raises `PlacetError`."""
    with tempfile.TemporaryDirectory(prefix="placet-corpora-") as scratch:
        options = ["--v0-compatible"] if corpus.v0 else []
        for number, directory in enumerate(directories):
            for path in directory.rglob("*"):
                name = path.relative_to(directory).as_posix()
                if path.is_file() and not named_by(name, (*corpus.tests, *corpus.ignore)) and not _hidden(name):
                    write_tree(Path(scratch, str(number)), {name: path.read_bytes()})
            options += ["--data", str(Path(scratch, str(number)))]
        answer = opa.run(["eval", "--format", "json", "--stdin-input", *options, "data"], stdin=b"{}")
    return json.loads(answer.stdout)["result"][0]["expressions"][0]["value"]


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))

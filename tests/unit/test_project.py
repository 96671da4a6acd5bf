"""The repository keeps its own habits: locks, layers, short modules, and documents that tell the truth."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from cli.main import NOUNS

ROOT = Path(__file__).resolve().parents[2]

#: What tools leave in a checkout; everything else is ours.
LEFT_BY_TOOLS = {".git", ".venv", ".uv", "__pycache__", "build", "dist", "site", ".placet"}
LEFT_BY_TOOLS |= {".pytest_cache", ".mypy_cache", ".ruff_cache", ".import_linter_cache", ".hypothesis"}

#: Python modules of more than 300 lines, each with the reason why it is not two.
LONGER: dict[str, str] = {}

#: One page each; the pages that people read first.
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def ours() -> Iterator[Path]:
    for directory, below, files in os.walk(ROOT):
        below[:] = [name for name in below if name not in LEFT_BY_TOOLS and not name.endswith(".egg-info")]
        for name in files:
            if not name.startswith(".coverage"):
                yield Path(directory, name)


def text_of(path: Path) -> str:
    raw = path.read_bytes()
    return "" if b"\0" in raw else raw.decode("utf-8")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# ---- the locks ---------------------------------------------------------------------------------------------


def locked(file: str) -> dict[str, list[str]]:
    """Each pinned requirement of a lock, with its hashes."""
    pins: dict[str, list[str]] = {}
    text = text_of(ROOT / file).replace("\\\n", " ")
    for line in text.splitlines():
        if not line or line.lstrip().startswith("#"):
            continue
        requirement, *hashes = line.split("--hash=")
        pins[requirement.split(";")[0].strip()] = [found.strip() for found in hashes]
    return pins


@pytest.mark.parametrize("file", ["requirements.lock", "requirements-uv.lock"])
def test_a_lock_pins_everything_by_hash_and_names_no_host(file: str) -> None:
    pins = locked(file)
    assert pins
    for requirement, hashes in pins.items():
        assert re.fullmatch(r"[a-z0-9._-]+==[^=\s]+", requirement), requirement
        assert hashes, f"{requirement} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", found) for found in hashes), requirement
    text = text_of(ROOT / file)
    assert "://" not in text
    assert "--index-url" not in text
    assert "--find-links" not in text


def test_the_lock_holds_every_dependency_of_pyproject() -> None:
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))
    wanted = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    wanted += project["build-system"]["requires"]
    names = {re.split(r"[\[<>=~! ]", requirement, maxsplit=1)[0].lower() for requirement in wanted}
    assert names <= {requirement.split("==")[0] for requirement in locked("requirements.lock")}


def test_there_is_one_lock() -> None:
    others = {"uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock", "pylock.toml"}
    assert not [relative(path) for path in ours() if path.name in others]


# ---- the code ----------------------------------------------------------------------------------------------


def test_modules_are_short() -> None:
    code = (path for top in ("app", "cli", "bench", "migrations", "rego", "sdk") for path in (ROOT / top).rglob("*.*"))
    long = {
        relative(path) for path in code if path.suffix in (".py", ".rego") and len(text_of(path).splitlines()) >= 300
    }
    assert long == set(LONGER)


def test_no_module_is_named_after_nothing() -> None:
    vague = re.compile(r"^(utils?|helpers?|managers?|base|misc|common)\.py$")
    assert not [relative(path) for path in ours() if vague.match(path.name)]


def test_no_test_reads_the_clock_at_import() -> None:
    """What is valid for minutes when a module is imported has expired when a long run comes to it."""

    def reads(node: ast.AST) -> Iterator[int]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            children: Iterable[ast.AST] = [*node.decorator_list, *node.args.defaults]
        else:
            children = [] if isinstance(node, ast.Lambda) else ast.iter_child_nodes(node)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.time", "time.time_ns"):
            yield node.lineno
        for child in children:
            yield from reads(child)

    modules = (ROOT / "tests").rglob("*.py")
    assert not [(relative(path), line) for path in modules for line in reads(ast.parse(text_of(path)))]


def test_the_layers_hold() -> None:
    """The import-linter contracts of pyproject.toml."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# ---- what does not belong into a repository ---------------------------------------------------------------

#: Directories of one machine, hosts of package registries (mirrors and air gaps have others), and leftovers.
#: Written so that this file does not match itself.
FOREIGN = {
    "a path of somebody's machine": r"(?<![\w.~-])/(?:roo[t]|hom[e]/\w+|User[s]/\w+|wor[k]|tm[p]/gobuild)/",
    "the host of a package registry": r"\b(?:pypi\.or[g]|files\.pythonhosted\.or[g]|proxy\.golang\.or[g]"
    r"|sum\.golang\.or[g]|registry\.npmjs\.or[g]|deb\.debian\.or[g]|index\.crates\.i[o])\b",
    "a merge left over": r"^(?:<{7}|>{7}) ",
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KE[Y]-----\n[A-Za-z0-9+/=]{20}",
}


@pytest.mark.parametrize("what", FOREIGN)
def test_nothing_foreign_is_in_the_repository(what: str) -> None:
    pattern = re.compile(FOREIGN[what], re.MULTILINE)
    found = [f"{relative(path)}: {hit.group()}" for path in ours() for hit in pattern.finditer(text_of(path))]
    assert not found


def test_text_files_end_in_one_newline_and_have_no_trailing_spaces() -> None:
    kinds = {".py", ".rego", ".md", ".toml", ".yaml", ".yml", ".json", ".lock", ".html", ".css"}
    for path in ours():
        if path.suffix in kinds and "cases" not in path.parts and "static" not in path.parts:
            text = text_of(path)
            assert not text or (text.endswith("\n") and not text.endswith("\n\n")), relative(path)
            assert not re.search(r"[ \t]+$", text, re.MULTILINE), relative(path)


# ---- documents tell the truth ------------------------------------------------------------------------------


def test_every_command_of_the_makefile_has_its_line_of_help() -> None:
    makefile = text_of(ROOT / "Makefile")
    helped = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout
    phony = set(re.findall(r"^\.PHONY: (\S+)$", makefile, re.MULTILINE))
    parts = {"test-rego", "test-python", "lint-python", "lint-rego"}
    assert phony - parts == set(re.findall(r"^  make (\S+)", helped, re.MULTILINE))


def test_make_targets_named_in_documents_exist() -> None:
    phony = set(re.findall(r"^\.PHONY: (\S+)$", text_of(ROOT / "Makefile"), re.MULTILINE))
    for page in DOCUMENTS:
        for target in re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text_of(page), re.MULTILINE):
            assert target in phony, f"{relative(page)}: make {target}"


@pytest.mark.parametrize("page", DOCUMENTS, ids=relative)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text_of(page)):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{relative(page)} links to {target}"


@pytest.mark.parametrize("page", DOCUMENTS, ids=relative)
def test_files_named_in_documents_exist(page: Path) -> None:
    tops = "app|cli|rego|bundles|migrations|tools|tests|bench|docs|sdk"
    for name in re.findall(rf"`((?:{tops})/[\w./-]+)`", text_of(page)):
        assert (ROOT / name).exists(), f"{relative(page)} names {name}"


def commands_in(page: Path) -> Iterator[list[str]]:
    """The `placet …` command lines in the fenced blocks of a page, without prompts and comments."""
    for block in re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if re.match(r"(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\S*/)?placet ", line):
                words = shlex.split(line, comments=True)
                yield words[[Path(word).name for word in words].index("placet") + 1 :]


@pytest.mark.parametrize("page", DOCUMENTS, ids=relative)
def test_commands_in_documents_exist_with_their_options(page: Path) -> None:
    for noun, *words in commands_in(page):
        assert noun in NOUNS, f"{relative(page)}: placet {noun}"
        command: Any = typer.main.get_command(importlib.import_module(NOUNS[noun][0]).app)
        while hasattr(command, "commands"):
            assert words, f"{relative(page)}: placet {noun} is not a whole command"
            assert words[0] in command.commands, f"{relative(page)}: placet {noun} {words[0]}"
            command = command.commands[words.pop(0)]
        options = {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}
        for word in words[: words.index("--")] if "--" in words else words:
            name = word.split("=")[0]
            if name.startswith("-") and len(name) > 1:
                assert name in options | {"--help"}, f"{relative(page)}: placet {noun} {command.name} {name}"


def test_every_adr_is_in_the_index() -> None:
    folder = ROOT / "docs" / "adr"
    records = sorted(path.name for path in folder.glob("[0-9]*.md"))
    index = text_of(folder / "README.md")
    assert records
    assert re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", index) == records
    assert [int(name[:4]) for name in records] == list(range(1, len(records) + 1))


def test_the_changelog_knows_this_version() -> None:
    version = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]["version"]
    assert f"## {version}" in text_of(ROOT / "CHANGELOG.md")


def test_hooks_are_fetched_from_nowhere() -> None:
    hooks = text_of(ROOT / ".pre-commit-config.yaml")
    assert re.findall(r"^  - repo: (\S+)$", hooks, re.MULTILINE) == ["local"]

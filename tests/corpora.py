"""Real projects of Rego, built, signed, verified and run in OPA: with the test results that `opa test` gives?

`make corpora ARGS="regal=../regal ../my-policies"` calls this. Each argument is a checkout: NAME=DIRECTORY for one of
the projects of tests/corpora.yaml (`--list` of another file), or a directory alone for one that needs no options. A
table goes to the output, each difference to the errors; the exit code is 1 when there is one.
"""

from __future__ import annotations

import argparse
import fnmatch
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from corpus import Corpus, Results, chosen, differing, evaluated, known, results, tests_of

from app.core import building, bundle_source, git_facts, older_rego
from app.core.bundle import Bundle, modules_of
from app.core.bundle_manifest import Choices
from app.core.errors import Denied, PlacetError, UsageError
from app.core.files import write_tree
from app.core.opa import Opa
from app.core.signing import SigningSession
from app.core.trust import TrustConfig
from app.core.verification import verify_release
from app.core.verification_policy import SignerIdentity, VerificationPolicy
from app.local.replay_opa import ReplayOpa
from app.local.sigstore import LocalSigstore
from app.local.tools import installed

KNOWN = Path(__file__).with_suffix(".yaml")
SIGNER = "corpora@example.org"


@dataclass
class Row:
    """What came out for one project. `wrong` is what should not be."""

    name: str
    files: int = 0
    before: Results = field(default_factory=Counter)
    after: Results = field(default_factory=Counter)
    bundles: int = 0
    size: int = 0
    converted: int = 0
    #: Roots whose whole documents OPA was asked for.
    roots: int = 0
    refused: str = ""
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Row, name: str) -> None:
        """Count one more bundle of the project in."""
        for number in ("files", "bundles", "size", "converted", "roots"):
            setattr(self, number, getattr(self, number) + getattr(other, number))
        self.before += other.before
        self.after += other.after
        self.wrong += [f"{name}: {one}" for one in other.wrong]


@dataclass(frozen=True)
class Bench:
    """What every project is judged with."""

    opa: Opa
    trust: TrustConfig
    session: SigningSession

    def policy(self, corpus: Corpus) -> VerificationPolicy:
        """The signer of this run may sign, and nobody else."""
        signer = SignerIdentity(identity=SIGNER, issuer=self.session.issuer)
        return VerificationPolicy(identities=[signer], allowed_builtins=sorted(corpus.allow))


def judge(name: str, corpus: Corpus, checkout: Path, bench: Bench) -> Row:
    """Everything about one project: each of its policies built, signed, verified, run and tested."""
    if not corpus.each:
        return _judged(name, corpus, [checkout / one for one in corpus.directories], checkout, bench)
    whole = Row(name)
    directories = sorted({path for pattern in corpus.each for path in checkout.glob(pattern) if path.is_dir()})
    if not directories:
        raise UsageError(f"{name}: no directory of {checkout} is called {', '.join(corpus.each)}")
    for path in directories:
        whole.add(_judged(path.name, corpus, [path], checkout, bench), path.name)
    return whole


def _judged(name: str, corpus: Corpus, directories: list[Path], checkout: Path, bench: Bench) -> Row:
    row = Row(name)
    elsewhere = [checkout / one for one in corpus.test_directories]
    row.files = sum(len(list(path.rglob("*.rego"))) for path in [*directories, *elsewhere])
    left_out = (*corpus.ignore, *corpus.tests)
    try:
        sources = [bundle_source.read(str(path), ignore=left_out, git=False) for path in directories]
        entrypoint = _entrypoint(corpus, sources, bench.opa)
        choices = Choices((), entrypoint, None, corpus.allow, corpus.strict, corpus.v0)
        built = building.build(sources, bench.opa, choices=choices)
        row.bundles, row.size, row.converted = 1, len(built.bundle), len(built.converted)
        signature = bench.session.sign(
            building.release_statements(built.bundle, built.notes, f"{name}.tar.gz").provenance
        )
        release = verify_release(
            built.bundle, signature, [], policy=bench.policy(corpus), trust=bench.trust, opa=bench.opa
        )
    except Denied as denied:
        _refused(row, corpus, denied)
        return row
    if corpus.refused:
        row.wrong.append(f"was built, though it should be refused for {', '.join(corpus.refused)}")
        return row
    with tempfile.TemporaryDirectory(prefix="placet-corpora-") as scratch:
        staged = Path(scratch, "policy")
        write_tree(staged, {**release.bundle.modules, **release.bundle.data})
        try:
            write_tree(staged, tests_of(corpus, directories, elsewhere, bench.opa))
            row.before = results(bench.opa, [*directories, *elsewhere], corpus.v0)
            row.after = results(bench.opa, [staged])
            _compare_answers(row, corpus, directories, built.bundle, release.bundle, bench.opa)
        except PlacetError as error:
            row.wrong.append(str(error))
            return row
    if not row.before:
        row.wrong.append("opa test finds no test: nothing is shown by that")
    for test, was, became in differing(row.before, row.after):
        row.wrong.append(f"{test}: {was} by opa test, {became} from the bundle")
    return row


def _entrypoint(corpus: Corpus, sources: Sequence[bundle_source.Source], opa: Opa) -> str | None:
    """The rule that decides, where a pattern names it: the only one that it fits."""
    if corpus.entrypoint is None or "*" not in corpus.entrypoint:
        return corpus.entrypoint
    converted = [older_rego.converted(one, opa, every=corpus.v0) for one in sources]
    rules = {rule for one in converted for module in opa.inspect(modules_of(one.files)) for rule in module.rules}
    found = sorted(rule for rule in rules if fnmatch.fnmatchcase(rule, corpus.entrypoint))
    return found[0] if len(found) == 1 else None  # the build names those that there are


def _refused(row: Row, corpus: Corpus, denied: Denied) -> None:
    """Whether it was to be refused, and for those very builtins."""
    others = denied.others if isinstance(denied, building.Refused) else ()
    said = "\n".join([denied.detail, *(one.message for one in others)])
    named = set(re.findall(r"undefined function ([^\s;]+)", said))
    for listed in re.findall(r"builtins that a policy may not call, .* lacks: (.+)", said):
        named |= set(listed.split(", "))
    row.refused = ", ".join(sorted(named)) or str(denied)
    if not corpus.refused:
        row.wrong.append(f"is refused: {denied}")
    elif named != set(corpus.refused):
        row.wrong.append(f"is refused for {row.refused}, not for {', '.join(corpus.refused)}")


def _compare_answers(row: Row, corpus: Corpus, directories: list[Path], raw: bytes, bundle: Bundle, opa: Opa) -> None:
    """Ask an OPA that runs the bundle for all that it defines, and OPA for the same of the project as it lies there."""
    expected = evaluated(corpus, directories, opa)
    serving = ReplayOpa(opa, raw)
    try:
        loaded = len(serving.client.get("/v1/policies").json()["result"])
        answer = serving.client.post("/v1/data", json={"input": {}})
        decided = serving.client.post(f"/v1/data/{bundle.manifest.entrypoint}", json={"input": {}})
    finally:
        serving.close()
    if loaded != len(bundle.modules):
        row.wrong.append(f"OPA runs {loaded} of the bundle's {len(bundle.modules)} modules")
    for asked in (answer, decided):
        if asked.status_code != 200:
            row.wrong.append(f"OPA answers {asked.url.path} with {asked.status_code}: {asked.text[:200]}")
            return
    given = answer.json()["result"]
    for path in corpus.clock:
        for document in (expected, given):
            above, _, name = path.rpartition("/")
            _below(document, above)[name] = "the time"
    for root in bundle.manifest.roots:
        row.roots += 1
        if _below(expected, root) != _below(given, root):
            row.wrong.append(f"OPA answers data.{root.replace('/', '.')} otherwise from the bundle")


def _below(document: Any, path: str) -> Any:
    for name in path.split("/"):
        document = document.get(name) if isinstance(document, dict) else None
    return document


def table(rows: Sequence[tuple[Row, str]], opa: Opa) -> str:
    """The rows, each with its commit, as Markdown."""
    head = ["project", "commit", "Rego files", "`opa test`", "built, signed, verified", "same answers", "its tests"]
    lines = [
        f"OPA {opa.version}, {datetime.now(UTC):%Y-%m-%d}. Tests: passed / failed / errors.",
        "",
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
    ]
    for row, commit in rows:
        if row.refused:
            cells = ["", f"refused: {row.refused}", "", ""]
        else:
            many = f"{row.bundles} bundles, " if row.bundles > 1 else ""
            older = f", {row.converted} modules converted" if row.converted else ""
            same = "same" if row.before == row.after else "NOT the same"
            cells = [
                _counts(row.before),
                f"{many}{row.size / 1000:,.0f} kB{older}",
                f"{row.roots} roots",
                f"{_counts(row.after)}, {same}",
            ]
        lines.append(f"| {' | '.join([row.name, commit[:12], str(row.files), *cells])} |")
    return "\n".join(lines)


def _counts(results: Results) -> str:
    of = Counter[str]()
    for one, count in results.items():
        of[one[3]] += count
    skipped = f" / {of['skipped']} skipped" if of["skipped"] else ""
    return f"{of['passed']} / {of['failed']} / {of['error']}{skipped}"


def run(wanted: Sequence[tuple[str, Corpus, Path]], opa: Opa, sigstore: LocalSigstore) -> int:
    """Judge projects and print the table."""
    trust = TrustConfig.from_file(sigstore.trust_config)
    rows = []
    for name, corpus, checkout in wanted:
        print(f"corpora: {name}", file=sys.stderr)
        session = SigningSession(trust, sigstore.token(SIGNER))
        facts = git_facts.facts(checkout)
        rows.append((judge(name, corpus, checkout, Bench(opa, trust, session)), facts.commit if facts else ""))
    print(table(rows, opa))
    for row, _ in rows:
        for wrong in row.wrong:
            print(f"corpora: {row.name}: {wrong}", file=sys.stderr)
    return 1 if any(row.wrong for row, _ in rows) else 0


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make corpora", description=__doc__)
    parser.add_argument("checkouts", nargs="+", metavar="NAME=DIRECTORY", help="a checkout, with its name in the list")
    parser.add_argument("--list", type=Path, default=KNOWN, help="the projects that are known by name")
    given = parser.parse_args(arguments)
    try:
        corpora = known(given.list)
        wanted = [chosen(one, corpora) for one in given.checkouts]
        with (
            tempfile.TemporaryDirectory(prefix="placet-corpora-") as scratch,
            LocalSigstore(Path(scratch)) as sigstore,
        ):
            return run(wanted, Opa(installed("opa")), sigstore)
    except PlacetError as error:
        print(f"corpora: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

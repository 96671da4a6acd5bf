"""The OPA binary as a tool: check, inspect and rehearse policies with the very program that will run them."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import file_digest
from pathlib import Path
from threading import Timer
from typing import Any

from app.core import rego_parser, schema_annotations
from app.core.errors import Denied, PlacetError, TooSlow
from app.core.files import write_tree
from app.core.forbidden_builtins import FORBIDDEN_BUILTINS, REPLAYED_BUILTINS
from app.core.opa_errors import errors_in as errors_in
from app.core.opa_errors import first_error
from app.core.passed_checks import PassedChecks
from app.core.reason_codes import Reason
from app.core.rego_parser import Module as Module
from app.core.rego_reader import Readers

#: Seconds that one call of OPA may take, such as all tests of a policy.
TIMEOUT = 120

#: Seconds in which a policy must be read and compiled: 10,000 rules take about two on a busy core, and a few dozen
#: comprehensions inside each other years. Whoever sends such a release holds a worker no longer than this.
COMPILING = 60

#: Bytes of modules up to which one process compiles and reads them with less work than two: it takes longer for a rule.
_SMALL = 8 * 1024

#: Seconds after an answer at which the next process is started: whoever waits for the answer does not wait for that.
_AFTER = 0.05

#: Memory up to which a process that only compiles is not made to collect its garbage often: so much, and so much for a
#: byte of source. It ends before that is worth the time.
_HEAP = 512 * 1024 * 1024
_HEAP_A_BYTE = 300

#: Commands that read or compile, and evaluate nothing.
_COMPILERS = ("check", "fmt", "inspect", "parse")


@dataclass(frozen=True)
class Rehearsal:
    """What activating a composed bundle takes, measured in an OPA of its own."""

    #: Seconds of parsing and compiling.
    activation_seconds: float


class Opa:
    """One OPA binary, identified by its digest."""

    def __init__(self, binary: Path, *, busy: bool = False) -> None:
        """`busy`: it is asked about one policy after another, so that a process always waits for the next."""
        self.binary = binary
        self.passed = PassedChecks(binary)
        self._busy = busy
        self._readers = Readers(binary, _environment(_HEAP))
        if not binary.is_file():
            raise PlacetError(f"there is no OPA at {binary}; run `placet tools install`, or give --opa PATH")

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the binary, as `sha256:…`."""
        with self.binary.open("rb") as file:
            return "sha256:" + file_digest(file, "sha256").hexdigest()

    @cached_property
    def version(self) -> str:
        """The version that the binary gives, such as `1.22.2`."""
        first = self.run(["version"]).stdout.decode(errors="replace").splitlines()[0]
        return first.removeprefix("Version: ")

    @cached_property
    def _current(self) -> Mapping[str, Any]:
        """All that this OPA can do."""
        found: dict[str, Any] = json.loads(self.run(["capabilities", "--current"]).stdout)
        return found

    @cached_property
    def builtins(self) -> frozenset[str]:
        """The names of all its builtins, also of those that a policy may not call."""
        return frozenset(builtin["name"] for builtin in self._current["builtins"])

    @cached_property
    def capabilities(self) -> bytes:
        """What a policy may call, as OPA's `--capabilities` takes it: this OPA's, without the forbidden builtins."""
        return self.capabilities_with(frozenset())

    def capabilities_with(self, allowed: frozenset[str]) -> bytes:
        """The same, with the builtins that a system allows by name."""
        return json.dumps(self._capabilities(allowed)).encode()

    def _capabilities(self, allowed: frozenset[str]) -> dict[str, Any]:
        builtins = [
            builtin
            for builtin in self._current["builtins"]
            if builtin["name"] in allowed
            or (
                builtin["name"] not in FORBIDDEN_BUILTINS
                and (not builtin.get("nondeterministic") or builtin["name"] in REPLAYED_BUILTINS)
            )
        ]
        return {**self._current, "builtins": builtins, "allow_net": []}

    def expect(self, *, strict: bool = False) -> None:
        """Start what compiles and reads a small policy, while there is none yet: `accepted` finds it started."""
        self._readers.expect(self.passed.binary(), strict=strict)

    def accepted(
        self, modules: Mapping[str, bytes], *, strict: bool = False, allowed: frozenset[str] = frozenset()
    ) -> list[Module] | None:
        """What `inspect` gives of a small policy that `check` has nothing against, from one process.

        None of any other: ask both. Raises `Denied` when it takes too long.
        """
        if sum(map(len, modules.values())) > _SMALL or schema_annotations.possible(modules):
            return None
        reader = self._readers.one(self.passed.binary(), strict=strict)
        try:
            answer = reader.read(modules, self._capabilities(allowed), time.monotonic() + COMPILING)
        except TimeoutError as error:
            raise _slow("check", COMPILING, Reason.REGO_COMPILE) from error
        if self._busy:
            (another := Timer(_AFTER, self._expect_another)).daemon = True
            another.start()
        return None if answer is None else rego_parser.read(answer, modules)

    def _expect_another(self) -> None:
        with suppress(PlacetError):  # whoever asks next is told
            self.expect()

    def check(
        self,
        modules: Mapping[str, bytes],
        *,
        strict: bool = False,
        allowed: frozenset[str] = frozenset(),
        capabilities: Path | None = None,
    ) -> None:
        """Compile the modules without the forbidden builtins. Raises `Denied` with OPA's first error.

        `allowed` are builtins that a system allows all the same; `capabilities` replaces the whole list.
        """
        deadline = time.monotonic() + COMPILING
        with tempfile.TemporaryDirectory(prefix="placet-check-") as scratch:
            root = Path(scratch)
            limits = capabilities or root / "capabilities.json"
            if capabilities is None:
                limits.write_bytes(self.capabilities_with(allowed) if allowed else self.capabilities)
            policy = root / "policy"
            write_tree(policy, modules)
            for faulty, row, what in schema_annotations.faults(modules, policy, partial(self.run, deadline=deadline)):
                raise Denied(Reason.REGO_COMPILE, f"{faulty}:{row}:1: {what}", field=faulty)
            options = ["--strict"] if strict else []
            command = ["check", *options, "--capabilities", str(limits), "--format", "json", str(policy)]
            heap = _HEAP + _HEAP_A_BYTE * sum(map(len, modules.values()))
            answer = self.run(command, accept_failure=True, heap=heap, deadline=deadline)
            if answer.returncode != 0:
                first = first_error(answer, policy)
                place = next((file for file in modules if first.startswith(f"{file}:")), None)
                raise Denied(Reason.REGO_COMPILE, first, field=place)

    def inspect(self, modules: Mapping[str, bytes]) -> list[Module]:
        """Packages and rules of the modules. Raises `Denied` when one does not parse or is not UTF-8."""
        return rego_parser.inspect(modules, self, time.monotonic() + COMPILING)

    def parse(self, file: str, source: bytes) -> Any:
        """The syntax tree of one module, with lines. Raises `Denied` when it does not parse."""
        return rego_parser.located(file, source, self)

    def rehearse(self, composed: bytes) -> Rehearsal:
        """Load a composed bundle in a scratch OPA: it must compile, and must deny an empty request.

        Raises `Denied` when it does not.
        """
        with tempfile.TemporaryDirectory(prefix="placet-rehearse-") as scratch:
            bundle = Path(scratch) / "bundle.tar.gz"
            bundle.write_bytes(composed)
            began = time.monotonic()
            answer = self.run(
                [
                    "eval",
                    "--bundle",
                    str(bundle),
                    "--format",
                    "json",
                    "--metrics",
                    "--stdin-input",
                    "data.placet.decision",
                ],
                stdin=b"{}",
                accept_failure=True,
                deadline=began + COMPILING,
                too_slow=Reason.ACTIVATION_SLOW,
            )
            took = time.monotonic() - began
        if answer.returncode != 0:
            raise Denied(Reason.ACTIVATION_FAILED, first_error(answer))
        document = json.loads(answer.stdout)
        try:
            decision = document["result"][0]["expressions"][0]["value"]
        except (KeyError, IndexError) as error:
            raise Denied(Reason.ACTIVATION_FAILED, "the composed bundle gives no decision") from error
        if decision.get("allow") is not False:
            raise Denied(Reason.ACTIVATION_FAILED, "the composed bundle does not deny an empty request")
        metrics = document.get("metrics", {})
        spent = sum(metrics.get(name, 0) for name in ("timer_rego_load_bundles_ns", "timer_rego_module_compile_ns"))
        return Rehearsal(min(spent / 1e9, took) if spent else took)

    def run(
        self,
        arguments: Sequence[str],
        *,
        stdin: bytes = b"",
        accept_failure: bool = False,
        memory: int | None = None,
        heap: int | None = None,
        deadline: float | None = None,
        too_slow: Reason | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run OPA with an empty environment: nothing but its arguments may change what it does.

        With more than `memory` bytes of its own it fails, where they can be limited (Linux); up to `heap` it seldom
        collects garbage. What is not done at the monotonic `deadline` is ended, and denied as `too_slow`, if given.
        """
        compiles = arguments[0] in _COMPILERS
        limit = COMPILING if compiles or too_slow else TIMEOUT
        seconds = limit if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            process = subprocess.Popen(
                [str(self.binary), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(heap),
            )
        except OSError as error:
            raise PlacetError(f"cannot run {self.binary}: {error.strerror}") from error
        with process:
            try:
                if memory is not None and sys.platform == "linux":
                    resource.prlimit(process.pid, resource.RLIMIT_DATA, (memory, memory))
                stdout, stderr = process.communicate(stdin, timeout=seconds)
            except subprocess.TimeoutExpired as error:
                if compiles or too_slow is not None:
                    raise _slow(arguments[0], limit, too_slow or Reason.REGO_COMPILE) from error
                said = f"opa {arguments[0]} took more than {limit} s"
                raise PlacetError(f"{said}; look for what never ends, or ask for less at once") from error
            finally:
                process.kill()  # does nothing to one that has ended
        answer = subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
        if answer.returncode != 0 and not accept_failure:
            raise PlacetError(f"opa {arguments[0]} failed: {first_error(answer)}")
        return answer


def _environment(heap: int | None) -> dict[str, str]:
    return {"TZ": "UTC", **({} if heap is None else {"GOGC": "400", "GOMEMLIMIT": str(heap)})}


def _slow(command: str, limit: float, reason: Reason) -> TooSlow:
    remedy = "nest comprehensions less deeply, or write several rules in place of a large one"
    return TooSlow(reason, f"opa {command} took more than {limit} s; {remedy}")

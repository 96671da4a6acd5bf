"""The OPA binary as a tool: check, inspect and rehearse policies with the very program that will run them."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import file_digest
from pathlib import Path
from typing import Any

from app.core.errors import Denied, PlacetError
from app.core.files import write_tree
from app.core.reason_codes import Reason

#: Seconds that one call of OPA may take: checking 10,000 rules takes about two on a busy core.
TIMEOUT = 120

#: Builtins that a policy may not call. Their answer depends on something else than bundle, data, input and the
#: one clock reading (http, net, opa.runtime, rand, uuid, signing), or they verify tokens and certificates at a
#: time of their own, share a cache that answers wrongly, or can be made to stop OPA by what a caller sends.
FORBIDDEN_BUILTINS = frozenset(
    {
        "crypto.x509.parse_and_verify_certificates",
        "http.send",
        "io.jwt.decode",
        "io.jwt.encode_sign",
        "io.jwt.encode_sign_raw",
        "json.match_schema",
        "json.verify_schema",
        "net.lookup_ip_addr",
        "opa.runtime",
        "rand.intn",
        "uuid.rfc4122",
    }
    | {f"io.jwt.verify_{family}{bits}" for family in ("hs", "rs", "ps", "es") for bits in (256, 384, 512)}
    | {"io.jwt.verify_eddsa"}
)

#: What OPA itself calls non-deterministic and a policy may call all the same: records keep its answers for replay. An
#: OPA that was given with `--opa` may have more of the kind; those are forbidden too.
REPLAYED_BUILTINS = frozenset({"time.now_ns", "io.jwt.decode_verify"})

#: The syntax trees of all modules in the input, from one process, as one string: OPA would indent an object.
_INSPECT = """json.marshal([{"file": file, "syntax": syntax} |
  some file, source in input
  syntax := rego.parse_module(file, source)
])"""


@dataclass(frozen=True)
class Module:
    """What one Rego module defines: its package, and the rules' paths as far as they are constant."""

    file: str
    package: str
    rules: tuple[str, ...]
    #: The whole syntax tree, as OPA's parser gives it, without lines.
    syntax: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Rehearsal:
    """What activating a composed bundle takes, measured in an OPA of its own."""

    #: Seconds of parsing and compiling.
    activation_seconds: float


class Opa:
    """One OPA binary, identified by its digest."""

    def __init__(self, binary: Path) -> None:
        self.binary = binary
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
        builtins = [
            builtin
            for builtin in self._current["builtins"]
            if builtin["name"] in allowed
            or (
                builtin["name"] not in FORBIDDEN_BUILTINS
                and (not builtin.get("nondeterministic") or builtin["name"] in REPLAYED_BUILTINS)
            )
        ]
        return json.dumps({**self._current, "builtins": builtins, "allow_net": []}).encode()

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
        with tempfile.TemporaryDirectory(prefix="placet-check-") as scratch:
            root = Path(scratch)
            limits = capabilities or root / "capabilities.json"
            if capabilities is None:
                limits.write_bytes(self.capabilities_with(allowed) if allowed else self.capabilities)
            policy = root / "policy"
            write_tree(policy, modules)
            options = ["--strict"] if strict else []
            command = [
                "check",
                *options,
                "--capabilities",
                str(limits),
                "--format",
                "json",
                str(policy),
            ]
            answer = self.run(command, accept_failure=True)
            if answer.returncode != 0:
                raise Denied(Reason.REGO_COMPILE, _first_error(answer, policy))

    def inspect(self, modules: Mapping[str, bytes]) -> list[Module]:
        """Packages and rules of the modules. Raises `Denied` when one does not parse or is not UTF-8."""
        try:
            source = {path: content.decode() for path, content in modules.items()}
        except UnicodeDecodeError as error:
            raise Denied(Reason.REGO_COMPILE, f"a module is not UTF-8: {error.reason}") from error
        answer = self.run(
            ["eval", "--format", "raw", "--stdin-input", _INSPECT],
            stdin=json.dumps(source).encode(),
            accept_failure=True,
        )
        if answer.returncode != 0:
            raise Denied(Reason.REGO_COMPILE, _first_error(answer, Path()))
        found = _loaded(answer.stdout)
        if len(found) != len(modules):
            raise Denied(Reason.REGO_COMPILE, "a module does not parse")
        return [_module(one) for one in found]

    def parse(self, file: str, source: bytes) -> Any:
        """The syntax tree of one module, with lines. Raises `Denied` when it does not parse."""
        with tempfile.TemporaryDirectory(prefix="placet-parse-") as scratch:
            path = Path(scratch) / "module.rego"
            path.write_bytes(source)
            answer = self.run(
                ["parse", "--format", "json", "--json-include", "locations,-comments", str(path)], accept_failure=True
            )
        if answer.returncode != 0:
            raise Denied(Reason.REGO_COMPILE, f"{file} does not parse", field=file)
        return _loaded(answer.stdout)

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
            )
            took = time.monotonic() - began
        if answer.returncode != 0:
            raise Denied(Reason.ACTIVATION_FAILED, _first_error(answer, Path()))
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
        self, arguments: Sequence[str], *, stdin: bytes = b"", accept_failure: bool = False
    ) -> subprocess.CompletedProcess[bytes]:
        """Run OPA with an empty environment: nothing but its arguments may change what it does."""
        try:
            answer = subprocess.run(
                [str(self.binary), *arguments],
                input=stdin,
                capture_output=True,
                timeout=TIMEOUT,
                env={"TZ": "UTC"},
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise PlacetError(f"opa {arguments[0]} took more than {TIMEOUT} s") from error
        except OSError as error:
            raise PlacetError(f"cannot run {self.binary}: {error.strerror}") from error
        if answer.returncode != 0 and not accept_failure:
            raise PlacetError(f"opa {arguments[0]} failed: {_first_error(answer, Path())}")
        return answer


def errors_in(answer: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    """The errors that OPA told as JSON, on whichever stream; empty when it told none."""
    for stream in (answer.stderr, answer.stdout):
        try:
            errors = json.loads(stream)["errors"]
        except (ValueError, KeyError, TypeError):
            continue
        if errors:
            return list(errors)
    return []


def _first_error(answer: subprocess.CompletedProcess[bytes], base: Path) -> str:
    """OPA's first error as one line, `file:line:column: message`, with paths as the author knows them."""
    if errors := errors_in(answer):
        return _error_line(errors[0], base)
    text = (answer.stderr or answer.stdout).decode(errors="replace").strip() or f"exit code {answer.returncode}"
    return text.splitlines()[0][:500]


def _error_line(error: dict[str, Any], base: Path) -> str:
    location = error.get("location") or {}
    file = str(location.get("file", "")).removeprefix(f"{base}/")
    where = f"{file}:{location['row']}:{location['col']}: " if file and "row" in location else ""
    return f"{where}{error.get('message', 'unknown error')}".splitlines()[0][:500]


def _loaded(syntax: bytes) -> Any:
    try:
        return json.loads(syntax)
    except RecursionError as error:
        raise Denied(Reason.REGO_COMPILE, "a module is nested too deeply") from error


def _module(found: dict[str, Any]) -> Module:
    syntax = found["syntax"]
    segments = [str(term["value"]) for term in syntax["package"]["path"][1:]]
    if any("/" in segment for segment in segments):
        raise Denied(Reason.REGO_OUTSIDE_ROOTS, f"{found['file']}: a package's name has a slash", field=found["file"])
    package = "/".join(segments)
    rules = []
    for rule in syntax.get("rules", []):
        path = [package]
        for position, term in enumerate(rule["head"].get("ref") or []):
            if position and term["type"] != "string":
                break  # from here on the path depends on a variable
            path.append(str(term["value"]))
        rules.append("/".join(path))
    return Module(found["file"], package, tuple(rules), syntax)

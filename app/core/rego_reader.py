"""One process of OPA that compiles a small policy and gives its syntax trees, and may be started before there is one.

Starting takes a process of OPA 12 ms, and reading a small policy a few. So it starts early and waits for its
capabilities on stdin, having read nothing; it reads one policy, and ends. It says yes or nothing: why not, and whether
at all, `opa check` and `opa parse` are then asked anew.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import tempfile
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock, Thread, Timer
from typing import Any

from app.core.errors import PlacetError
from app.core.files import write_tree

#: The capabilities that the query below needs.
_ASKED = {"json", "rego"}

#: The syntax trees of the modules, as one string: OPA would indent an object.
TREES = """json.marshal([{"file": file, "syntax": syntax} |
  some file, source in input
  syntax := rego.parse_module(file, source)
])"""

_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*")


class RegoReader:
    """A process that was started, and reads one policy."""

    def __init__(self, binary: Path, environment: Mapping[str, str], *, strict: bool) -> None:
        self.strict = strict
        # Made when there is something to read; where somebody else made it, nothing is read.
        self._scratch = Path(tempfile.gettempdir(), f"placet-read-{secrets.token_hex(16)}")
        place = ["--data", str(self._scratch / "policy"), "--input", str(self._scratch / "sources.json")]
        options = ["--format", "raw", "--capabilities", "/dev/stdin", *place, *(["--strict"] if strict else [])]
        try:
            self._process = subprocess.Popen(
                [str(binary), "eval", *options, TREES],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
        except OSError as error:
            raise PlacetError(f"cannot run {binary}: {error.strerror}") from error
        self.end = weakref.finalize(self, _end, self._process)

    def read(self, modules: Mapping[str, bytes], capabilities: Mapping[str, Any], deadline: float) -> bytes | None:
        """The trees of the modules as JSON, or None when they do not compile. Raises `TimeoutError`."""
        try:
            sources = json.dumps({path: content.decode() for path, content in modules.items()})
            self._scratch.mkdir(0o700)
        except (UnicodeDecodeError, FileExistsError):
            return None
        try:
            write_tree(self._scratch / "policy", modules)
            (self._scratch / "sources.json").write_text(sources)
            limits = json.dumps(_needed(capabilities, modules.values())).encode()
            answer = self._answer(limits, deadline)
        finally:
            self.end()
            # Whoever waits for the answer does not wait for this.
            clean = partial(shutil.rmtree, self._scratch, ignore_errors=True)
            try:
                Thread(target=clean).start()
            except RuntimeError:  # no thread to spare, or the interpreter ends
                clean()
        return answer if self._process.returncode == 0 else None

    def _answer(self, limits: bytes, deadline: float) -> bytes:
        """What it writes until it ends, before the deadline. `communicate` looks for the end only now and then."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        timer = Timer(max(0.0, deadline - time.monotonic()), process.kill)
        timer.start()
        try:
            with suppress(BrokenPipeError), process.stdin:
                process.stdin.write(limits)
            answer = process.stdout.read()
        finally:
            timer.cancel()
        if time.monotonic() >= deadline:
            raise TimeoutError
        return answer


class Readers:
    """The readers of one OPA, of which at most one waits."""

    def __init__(self, binary: Path, environment: Mapping[str, str]) -> None:
        self._binary = binary
        self._environment = environment
        self._lock = Lock()
        self._waiting: tuple[RegoReader, Sequence[object]] | None = None

    def expect(self, identity: Sequence[object], *, strict: bool = False) -> None:
        """Have one wait. `identity` is what tells the binary from one that is put in its place meanwhile."""
        with self._lock:
            if self._waiting is None:
                self._waiting = self._started(strict), identity

    def one(self, identity: Sequence[object], *, strict: bool) -> RegoReader:
        """The one that waits, if it is of this binary and as strict; else another."""
        with self._lock:
            waiting, self._waiting = self._waiting, None
        if waiting is None:
            return self._started(strict)
        reader, of = waiting
        if of == identity and reader.strict == strict:
            return reader
        reader.end()
        return self._started(strict)

    def _started(self, strict: bool) -> RegoReader:
        return RegoReader(self._binary, self._environment, strict=strict)


def _needed(capabilities: Mapping[str, Any], sources: Iterable[bytes]) -> dict[str, Any]:
    """The capabilities without the builtins that no module can name: OPA reads all it is given, which takes 8 ms.

    A builtin is called by an operator, by what the compiler makes of the text (`internal.…`), or by its name, whose
    first part cannot be written in any other way.
    """
    names = _ASKED.union(*({name.decode() for name in _NAME.findall(source)} for source in sources))
    builtins = [
        one
        for one in capabilities["builtins"]
        if one.get("infix") or (first := one["name"].split(".", 1)[0]) == "internal" or first in names
    ]
    return {**capabilities, "builtins": builtins}


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # does nothing to one that has ended
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    process.wait()

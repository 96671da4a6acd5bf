"""The table of tools, and what pins each: a Go module below `tools/`, whose go.sum lists every checksum."""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from app.core.errors import PlacetError, UsageError
from app.core.shipped import shipped


@dataclass(frozen=True)
class Tool:
    """A program, by the name of its binary."""

    name: str
    #: The directory below `tools/` whose go.mod pins it.
    module: str
    #: The Go package that is built.
    package: str
    #: The requirement in go.mod whose version is the tool's.
    requirement: str
    #: Built only when it is named: nothing that Placet does needs it.
    optional: bool = False

    @property
    def directory(self) -> Path:
        """Where its go.mod lies."""
        return shipped("tools") / self.module

    @property
    def version(self) -> str:
        """The pinned version, such as `v1.22.2`."""
        pattern = rf"^\s*(?:require )?{re.escape(self.requirement)} (v\S+)"
        return _find(pattern, self.directory / "go.mod", f"a requirement of {self.requirement}")

    @property
    def go_version(self) -> tuple[int, ...]:
        """The oldest Go that builds it."""
        found = _find(r"^go (\d+\.\d+(?:\.\d+)?)", self.directory / "go.mod", "a go line")
        return tuple(int(part) for part in found.split("."))

    @property
    def digest(self) -> str:
        """Names all that decides what is built, but for the Go version: go.mod, go.sum, our sources, platform."""
        sources = sorted(
            path for path in self.directory.rglob("*") if path.suffix == ".go" or path.name in ("go.mod", "go.sum")
        )
        whole = hashlib.sha256(f"{sys.platform} {platform.machine()}\n".encode())
        for path in sources:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            whole.update(f"{path.relative_to(self.directory).as_posix()} {content}\n".encode())
        return whole.hexdigest()[:16]


TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool("opa", "opa", "github.com/open-policy-agent/opa", "github.com/open-policy-agent/opa"),
        Tool("fulcio", "sigstore", "github.com/sigstore/fulcio", "github.com/sigstore/fulcio"),
        Tool(
            "tesseract",
            "sigstore",
            "github.com/transparency-dev/tesseract/cmd/tesseract/posix",
            "github.com/transparency-dev/tesseract",
        ),
        Tool(
            "rekor",
            "sigstore",
            "github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix",
            "github.com/sigstore/rekor-tiles/v2",
        ),
        Tool(
            "timestamp-server",
            "sigstore",
            "placet.dev/tools/sigstore/timestamp-server",
            "github.com/sigstore/timestamp-authority/v2",
        ),
        Tool(
            "cosign",
            "cosign",
            "github.com/sigstore/cosign/v3/cmd/cosign",
            "github.com/sigstore/cosign/v3",
            optional=True,
        ),
        Tool(
            "versitygw",
            "s3",
            "github.com/versity/versitygw/cmd/versitygw",
            "github.com/versity/versitygw",
            optional=True,
        ),
        Tool("local-kms", "kms", "github.com/nsmithuk/local-kms", "github.com/nsmithuk/local-kms", optional=True),
        Tool(
            "registry",
            "registry",
            "placet.dev/tools/registry/registry",
            "github.com/distribution/distribution/v3",
            optional=True,
        ),
        Tool("oras", "registry", "oras.land/oras/cmd/oras", "oras.land/oras", optional=True),
        Tool(
            "regal",
            "regal",
            "github.com/open-policy-agent/regal",
            "github.com/open-policy-agent/regal",
            optional=True,
        ),
        Tool(
            "oidc-provider",
            "oidc",
            "placet.dev/tools/oidc/provider",
            "github.com/zitadel/oidc/v3",
            optional=True,
        ),
    )
}

#: What is built unless tools are named.
NEEDED = tuple(tool.name for tool in TOOLS.values() if not tool.optional)


def tool(name: str) -> Tool:
    """The tool called `name`. Raises `UsageError` that lists the names."""
    try:
        return TOOLS[name]
    except KeyError:
        raise UsageError(f"there is no tool {name!r}; the tools are {', '.join(TOOLS)}") from None


def _find(pattern: str, path: Path, what: str) -> str:
    match = re.search(pattern, path.read_text(), re.MULTILINE)
    if match is None:
        raise PlacetError(f"{path} has not {what}; restore it from the repository")
    return match.group(1)

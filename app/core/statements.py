"""The in-toto statements that Placet writes: https://github.com/in-toto/attestation/tree/main/spec/v1.

Statements are RFC 8785 bytes. Their predicates hold strings, not numbers beyond 2^53.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from app.core import strict_json

STATEMENT = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"

#: SLSA provenance: https://slsa.dev/spec/v1.0/provenance
PROVENANCE = "https://slsa.dev/provenance/v1"
#: Link: https://github.com/in-toto/attestation/blob/main/spec/predicates/link.md
LINK = "https://in-toto.io/attestation/link/v0.3"
#: Test result: https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"

#: The one prefix under which Placet names what no standard names.
PLACET = "https://placet.dev"
BUILD_TYPE = f"{PLACET}/build/bundle/v1"
BUILDER = f"{PLACET}/builder/cli"
#: A layout for a release pipeline: docs/evidence.md.
LAYOUT = f"{PLACET}/layout/v1"

#: Bytes of a statement: as base64 in a Sigstore bundle it must stay below what a verifier reads.
MAX_STATEMENT = 640 * 1024

Resource = dict[str, Any]


def resource(name: str, digest: str) -> Resource:
    """An in-toto ResourceDescriptor of something with a `sha256:…` digest."""
    return {"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}}


def statement(subject: Sequence[Resource], predicate_type: str, predicate: Mapping[str, Any]) -> bytes:
    """A statement, as the bytes that are signed."""
    return strict_json.canonical(
        {
            "_type": STATEMENT,
            "subject": list(subject),
            "predicateType": predicate_type,
            "predicate": dict(predicate),
        }
    )


def provenance(
    bundle: Resource,
    *,
    sources: Sequence[Resource],
    manifest: Mapping[str, Any],
    started: str,
    finished: str,
    inputs: Sequence[Resource] = (),
    tools: Sequence[Resource] = (),
    builder: str = BUILDER,
    invocation: str | None = None,
) -> bytes:
    """SLSA provenance of a bundle. `started` and `finished` are RFC 3339 times.

    `inputs`: what was named to the build, by URI and digest, such as a git commit; `sources`: each file that went in;
    `tools`: what ran during the build; `builder`, `invocation`: URIs of who built, and in which run.
    """
    external: dict[str, Any] = {"manifest": dict(manifest)}
    if inputs:
        external["source"] = [one["uri"] if "uri" in one else one["name"] for one in inputs]
    metadata = {"startedOn": started, "finishedOn": finished}
    if invocation:
        metadata["invocationId"] = invocation
    by: dict[str, Any] = {"id": builder, "version": {"placet": version("placet")}}
    if tools:
        by["builderDependencies"] = list(tools)
    return statement(
        [bundle],
        PROVENANCE,
        {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": external,
                "internalParameters": {},
                "resolvedDependencies": [*inputs, *sources],
            },
            "runDetails": {"builder": by, "metadata": metadata},
        },
    )


def test_result(
    bundle: Resource,
    *,
    result: str,
    configuration: Sequence[Resource],
    passed: Sequence[str],
    warned: Sequence[str],
    coverage: Mapping[str, Any],
) -> bytes:
    """A test result. `result` is PASSED or WARNED; `coverage` is a member of our own, which the standard lets stand."""
    return statement(
        [bundle],
        TEST_RESULT,
        {
            "result": result,
            "configuration": list(configuration),
            "passedTests": list(passed),
            "warnedTests": list(warned),
            "failedTests": [],
            "coverage": dict(coverage),
        },
    )


def link(
    name: str,
    *,
    command: Sequence[str],
    materials: Sequence[Resource],
    products: Sequence[Resource],
    byproducts: Mapping[str, str | int] | None = None,
) -> bytes:
    """An in-toto link: the step `name` made `products` (the statement's subject) out of `materials`."""
    return statement(
        products,
        LINK,
        {
            "name": name,
            "command": list(command),
            "materials": list(materials),
            "byproducts": dict(byproducts or {}),
            "environment": {},
        },
    )

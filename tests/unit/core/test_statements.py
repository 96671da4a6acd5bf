import json

from sigstore.dsse import Statement

from app.core import statements
from app.core.bundle import digest_of

BUNDLE = statements.resource("x.tar.gz", digest_of(b"x"))


def test_a_resource_has_the_bare_digest():
    assert statements.resource("x", "sha256:" + "a" * 64) == {"name": "x", "digest": {"sha256": "a" * 64}}


def test_provenance_is_slsa_about_the_bundle():
    raw = statements.provenance(BUNDLE, sources=[BUNDLE], manifest={"roots": ["app"]}, started="s", finished="f")
    document = json.loads(raw)
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert document["predicateType"] == "https://slsa.dev/provenance/v1"
    assert document["subject"] == [BUNDLE]
    definition, details = document["predicate"]["buildDefinition"], document["predicate"]["runDetails"]
    assert definition["resolvedDependencies"] == [BUNDLE]
    assert definition["externalParameters"] == {"manifest": {"roots": ["app"]}}
    assert definition["buildType"].startswith("https://")
    assert details["builder"]["id"].startswith("https://")
    assert (details["metadata"]["startedOn"], details["metadata"]["finishedOn"]) == ("s", "f")
    Statement(raw)  # what sigstore-python signs


def test_provenance_names_inputs_tools_and_the_run():
    git = {"uri": "git+https://git.example.org/policy@c", "digest": {"gitCommit": "c"}}
    opa = statements.resource("opa", digest_of(b"opa"))
    raw = statements.provenance(
        BUNDLE, sources=[BUNDLE], manifest={}, started="s", finished="f", inputs=[git], tools=[opa],
        builder="https://ci.example.org/runners/1", invocation="https://ci.example.org/jobs/2",
    )  # fmt: skip
    predicate = json.loads(raw)["predicate"]
    assert predicate["buildDefinition"]["resolvedDependencies"] == [git, BUNDLE]
    assert predicate["buildDefinition"]["externalParameters"]["source"] == [git["uri"]]
    builder = predicate["runDetails"]["builder"]
    assert (builder["id"], builder["builderDependencies"]) == ("https://ci.example.org/runners/1", [opa])
    assert predicate["runDetails"]["metadata"]["invocationId"] == "https://ci.example.org/jobs/2"
    Statement(raw)


def test_a_link_names_step_materials_and_products():
    raw = statements.link("build", command=["a", "b"], materials=[], products=[BUNDLE], byproducts={"k": "v"})
    document = json.loads(raw)
    assert document["predicateType"] == "https://in-toto.io/attestation/link/v0.3"
    assert document["subject"] == [BUNDLE]
    predicate = {"name": "build", "command": ["a", "b"], "materials": [], "byproducts": {"k": "v"}, "environment": {}}
    assert document["predicate"] == predicate
    Statement(raw)


def test_the_same_statement_is_the_same_bytes():
    one = statements.statement([BUNDLE], "t", {"b": 1, "a": 2})
    assert one == statements.statement([BUNDLE], "t", {"a": 2, "b": 1})
    assert b" " not in one

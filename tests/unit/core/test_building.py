import json
from pathlib import Path

import pytest

from app.core import building, bundle, bundle_source, statements, strict_json
from app.core.bundle import digest_of, parse_bundle
from app.core.bundle_manifest import Choices
from app.core.errors import Denied, UsageError
from app.core.opa import Opa
from app.core.policy_template import Template, create
from app.core.reason_codes import Reason

from .tars import POLICY
from .tars import bundle as packed

MANIFEST = b'{"roots": ["app"], "metadata": {"placet": {"entrypoint": "app/allow"}}}'


@pytest.fixture(scope="module")
def opa(opa_binary):
    return Opa(opa_binary)


@pytest.fixture
def directory(tmp_path):
    (tmp_path / ".manifest").write_bytes(MANIFEST)
    (tmp_path / "app.rego").write_bytes(POLICY)
    (tmp_path / "app_test.rego").write_bytes(b"package app_test\n")
    return tmp_path


@pytest.fixture
def built(directory, opa):
    return building.build(directory, opa)


def test_the_notes_name_what_went_in(built, opa, directory):
    notes = json.loads(built.notes)
    assert notes["bundle"] == built.digest == digest_of(built.bundle)
    assert notes["sources"] == [
        statements.resource(".manifest", digest_of(MANIFEST)),  # as written, not as packed
        statements.resource("app.rego", digest_of(POLICY)),
    ]
    assert notes["opa"] == {"version": opa.version, "digest": opa.digest}
    assert notes["started"] <= notes["finished"]
    assert notes["started"].endswith("Z")


def test_a_file_that_changes_during_the_build_cannot_be_noted_unseen(directory, opa, monkeypatch):
    """What the notes name is what was packed, even if the file is another one a moment later."""
    check = building.check_policy

    def changed_meanwhile(*arguments, **options):
        (directory / "app.rego").write_bytes(b"package app\n\nallow := true\n")
        check(*arguments, **options)

    monkeypatch.setattr(building, "check_policy", changed_meanwhile)
    built = building.build(directory, opa)
    [module] = [one for one in json.loads(built.notes)["sources"] if one["name"] == "app.rego"]
    assert "sha256:" + module["digest"]["sha256"] == digest_of(parse_bundle(built.bundle).modules["app.rego"])


def test_a_directory_replaced_by_a_link_during_the_build(directory, opa, monkeypatch, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "app.rego").write_bytes(b"package app\n\nallow := true\n")
    check = building.check_policy

    def swapped(*arguments, **options):
        (directory / "app.rego").unlink()
        (directory / "app.rego").symlink_to(elsewhere / "app.rego")
        check(*arguments, **options)

    monkeypatch.setattr(building, "check_policy", swapped)
    built = building.build(directory, opa)
    assert parse_bundle(built.bundle).modules["app.rego"] == POLICY


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b"package other\n", Reason.REGO_OUTSIDE_ROOTS),
        (b"package app\n", Reason.MANIFEST_ENTRYPOINT),
        (b"package app\n\nallow := {", Reason.REGO_COMPILE),
        (b"package app\n\nimport data.unused\n\nallow := true\n", Reason.REGO_COMPILE),  # strict, for authors
        (b'package app\n\nallow := http.send({"url": "http://x", "method": "get"})\n', Reason.REGO_COMPILE),
    ],
)
def test_what_the_verifier_would_refuse_is_not_built(directory, opa, source, reason):
    (directory / "app.rego").write_bytes(source)
    with pytest.raises(Denied) as denied:
        building.build(directory, opa)
    assert denied.value.reason == reason


def test_statements_about_a_bundle_with_its_notes(built, opa):
    unsigned = building.release_statements(built.bundle, built.notes, "x.tar.gz")
    provenance = json.loads(unsigned.provenance)
    assert provenance["subject"] == [statements.resource("x.tar.gz", built.digest)]
    assert len(provenance["predicate"]["buildDefinition"]["resolvedDependencies"]) == 2
    assert provenance["predicate"]["buildDefinition"]["externalParameters"]["manifest"]["built"] == "by placet"
    build, sign = (json.loads(link) for link in unsigned.links(b"signature"))
    assert (build["predicate"]["name"], sign["predicate"]["name"]) == ("build", "sign")
    assert build["subject"] == [statements.resource("x.tar.gz", built.digest)]
    assert build["predicate"]["byproducts"] == {"opa-version": opa.version, "opa-digest": opa.digest}
    # Materials of a step are products of the one before: the chain is by digest.
    assert sign["predicate"]["materials"] == build["subject"]
    assert sign["subject"][1] == statements.resource("x.tar.gz.sigstore.json", digest_of(b"signature"))


def test_a_bundle_built_elsewhere_says_so():
    unsigned = building.release_statements(packed(), None, "x.tar.gz")
    definition = json.loads(unsigned.provenance)["predicate"]["buildDefinition"]
    assert definition["resolvedDependencies"] == []
    assert definition["externalParameters"]["manifest"]["built"] == "elsewhere"
    [sign] = unsigned.links(b"signature")
    assert json.loads(sign)["predicate"]["name"] == "sign"


def test_notes_of_another_bundle(built):
    with pytest.raises(UsageError, match="about another bundle"):
        building.release_statements(packed(), built.notes, "x.tar.gz")


def altered(notes, **members):
    return strict_json.canonical({**json.loads(notes), **members})


@pytest.mark.parametrize(
    "damage",
    [
        lambda notes: b"",
        lambda notes: notes[:-1],
        lambda notes: notes[:-1] + b', "opa": {}}',
        lambda notes: b"[]",
        lambda notes: b"{}",
        lambda notes: altered(notes, sources=None),
        lambda notes: altered(notes, sources=[1]),
        lambda notes: altered(notes, sources=[{"name": "x"}]),
        lambda notes: altered(notes, sources=[{"name": "x", "digest": []}]),
        lambda notes: altered(notes, opa=[]),
        lambda notes: altered(notes, opa={"version": "1"}),
        lambda notes: strict_json.canonical({k: v for k, v in json.loads(notes).items() if k != "started"}),
    ],
)
def test_damaged_notes(built, damage):
    with pytest.raises(UsageError, match="damaged"):
        building.release_statements(built.bundle, damage(built.notes), "x.tar.gz")


def test_notes_of_another_kind(built):
    with pytest.raises(UsageError):
        building.release_statements(built.bundle, altered(built.notes, type="x"), "x.tar.gz")


def test_a_malformed_bundle_is_not_described():
    with pytest.raises(Denied):
        building.release_statements(b"junk", None, "x.tar.gz")


def test_the_link_of_a_publication():
    link = json.loads(building.publish_link(b"bundle", b"signature", "x.tar.gz", "payments", "prod"))
    assert link["predicate"]["name"] == "publish"
    assert link["subject"] == [statements.resource("x.tar.gz", digest_of(b"bundle"))]
    assert [one["name"] for one in link["predicate"]["materials"]] == ["x.tar.gz", "x.tar.gz.sigstore.json"]
    assert (link["predicate"]["byproducts"]["system"], link["predicate"]["byproducts"]["channel"]) == (
        "payments",
        "prod",
    )


@pytest.mark.parametrize("example", sorted(path.parent for path in Path("bundles").rglob(".manifest")), ids=str)
def test_the_shipped_examples_build_reproducibly(example, opa):
    once, again = building.build(example, opa), building.build(example, opa)
    assert once.bundle == again.bundle
    assert bundle.parse_bundle(once.bundle).manifest.revision


def test_two_new_policies_are_one_bundle(tmp_path, opa):
    made = [create(name, Template.HTTP_API, tmp_path) for name in ("one", "two")]
    sources = [bundle_source.read(str(path), git=False) for path in made]
    with pytest.raises(Denied, match="--entrypoint one/authz/decision") as denied:
        building.build(sources, opa)
    assert denied.value.reason == Reason.MANIFEST_ENTRYPOINT
    built = building.build(sources, opa, choices=Choices(entrypoint="two/authz/decision"))
    found = parse_bundle(built.bundle).manifest
    assert (sorted(found.roots), found.entrypoint) == (["one", "two"], "two/authz/decision")


def test_builtins_that_placet_yaml_allows(directory, opa):
    (directory / "dice.rego").write_bytes(b"package app\n\nroll := rand.intn(`x`, 3)\n")
    with pytest.raises(building.Refused, match=r"dice\.rego:3:9: undefined .*; a policy may not call .*placet\.yaml"):
        building.build(directory, opa)
    (directory / "placet.yaml").write_text("allowed_builtins: [rand.intn]\n")
    assert building.build(directory, opa).allowed == ("rand.intn",)
    (directory / "placet.yaml").write_text("allowed_builtins: [rand.int]\n")
    with pytest.raises(UsageError, match=r"placet\.yaml: allowed_builtins: rand\.int: OPA .* has no such builtin"):
        building.build(directory, opa)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("f if {\n", r"more\.rego:4:1: unexpected eof token; OPA could not read on from here"),
        ("f := b\n", r"more\.rego:3:6: var b is unsafe; give it a value"),
        ("f {\n\ttrue\n}\n", r"more\.rego:3:1: .*; older Rego \(v0\) is converted by .*--v0-compatible`$"),
    ],
)
def test_what_does_not_compile_has_a_remedy(directory, opa, text, said):
    (directory / "more.rego").write_text(f"package app\n\n{text}")
    with pytest.raises(building.Refused, match=said) as refused:
        building.build(directory, opa)
    assert not [one for one in refused.value.others if "more.rego" in one.message]

"""Releases are verified before they are taken, evidence is a set, and TUF serves exactly what was verified."""

import json
from hashlib import sha256

import pytest
from tuf.api.metadata import Metadata

from app.core.statements import TEST_RESULT
from app.core.targets import ISSUED_AT

from .conftest import DEVELOPER, LINK, OTHER, signed


def digest_of(body):
    return "sha256:" + sha256(body).hexdigest()


def targets(client):
    """The targets that the published metadata names now, by path."""
    timestamp = Metadata.from_bytes(client.get("/tuf/metadata/timestamp.json").content)
    version = timestamp.signed.snapshot_meta.version
    snapshot = Metadata.from_bytes(client.get(f"/tuf/metadata/{version}.snapshot.json").content)
    version = snapshot.signed.meta["targets.json"].version
    return Metadata.from_bytes(client.get(f"/tuf/metadata/{version}.targets.json").content).signed.targets


def target(client, path):
    found = targets(client)[path]
    body = client.get(f"/tuf/targets/{found.get_prefixed_paths()[0]}").content
    found.verify_length_and_hashes(body)
    return body


def test_a_release_is_taken_and_shown(api):
    api.create_system()
    answer = api.publish(b"one", attestations=[signed(predicate_type=LINK, name="build")])
    assert answer.status_code == 201, answer.text
    release = answer.json()
    assert release["digest"] == digest_of(b"one")
    assert release["signer"] == DEVELOPER
    assert (release["entrypoint"], release["roots"]) == ("app/authz/decision", ["app"])
    assert [one["predicate_type"] for one in release["attestations"]] == [LINK]
    assert [row["digest"] for row in api.get("/api/v1/systems/payments/releases").json()] == [release["digest"]]
    whole = api.get(f"/api/v1/systems/payments/releases/{release['digest']}").json()
    assert whole["statements"][0]["name"] == "build"


def test_a_wrong_signer_is_denied_and_nothing_is_kept(api, plane):
    api.create_system()
    answer = api.publish(b"one", signature=signed(OTHER))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["reason"] == "evidence.identity"
    assert answer.json()["step"] == "signature"
    assert api.get("/api/v1/systems/payments/releases").json() == []
    assert not list((plane.settings.directory / "objects").glob("targets/releases/**/*"))
    assert 'placet_releases_refused_total{reason="evidence.identity"} 1.0' in api.get("/metrics").text


def test_new_evidence_is_merged_and_repeats_change_nothing(api):
    api.create_system()
    build, test = signed(predicate_type=LINK, name="build"), signed(predicate_type="https://x/test", n=1)
    digest = api.publish(b"one", attestations=[build]).json()["digest"]
    api.put("/api/v1/systems/payments/channels/prod", json={"release": digest})
    path = f"releases/{digest.removeprefix('sha256:')}/bundle.tar.gz.attestations.jsonl"
    assert target(api.client, path) == build + b"\n"

    again = api.publish(b"one", attestations=[build])
    assert (again.status_code, len(again.json()["attestations"])) == (200, 1)
    merged = api.publish(b"one", attestations=[test, build, test])
    assert (merged.status_code, len(merged.json()["attestations"])) == (200, 2)
    assert set(target(api.client, path).splitlines()) == {build, test}


def test_what_is_attested_again_supersedes_what_was_said_before(api):
    """A pipeline that runs again over one bundle adds up to no more evidence than it makes, however often it runs."""
    api.create_system()

    def run(minute, percent):
        build = {"name": "build", "command": [str(minute)]}
        published = [{"name": "publish", "byproducts": {"system": "payments", "channel": one}} for one in ("a", "b")]
        links = [
            signed(predicate_type=LINK, predicate=one, subject=[{"name": "x.tar.gz"}], minute=minute)
            for one in [build, *published]
        ]
        return [*links, signed(predicate_type=TEST_RESULT, predicate={"percent": percent}, minute=minute)]

    first, second, third = run(1, 80), run(2, 90), run(3, 95)
    digest = api.publish(b"one", attestations=first).json()["digest"]
    api.put("/api/v1/systems/payments/channels/prod", json={"release": digest})
    path = f"releases/{digest.removeprefix('sha256:')}/bundle.tar.gz.attestations.jsonl"
    for attested, wanted in ((third, third), (second, third), (first + second, third)):
        shown = api.publish(b"one", attestations=attested).json()["attestations"]
        assert set(target(api.client, path).splitlines()) == set(wanted)
        assert {one["sha256"] for one in shown} == {sha256(one).hexdigest() for one in wanted}
    # Of another step, of other products and by somebody else it is not the same statement.
    other = [
        signed(predicate_type=LINK, predicate={"name": "scan"}, subject=[{"name": "x.tar.gz"}]),
        signed(predicate_type=LINK, predicate={"name": "build"}, subject=[{"name": "y.tar.gz"}]),
    ]
    assert len(api.publish(b"one", attestations=other).json()["attestations"]) == len(third) + len(other)


def test_a_channel_points_at_what_the_policy_accepts_now(api):
    """A signer who may no longer sign leaves releases behind, which nobody brings back."""
    api.create_system(identities=[DEVELOPER, OTHER])
    digests = [
        api.publish(name, signature=signed(by)).json()["digest"] for name, by in ((b"1", DEVELOPER), (b"2", OTHER))
    ]
    channel = "/api/v1/systems/payments/channels/prod"
    assert [api.put(channel, json={"release": one}).status_code for one in digests] == [200, 200]
    changed = api.put("/api/v1/systems/payments/signers", json={"identities": [DEVELOPER]})
    assert changed.status_code == 200, changed.text
    assert api.put(channel, json={"release": digests[0]}).json()["sequence"] == 3
    refused = api.put(channel, json={"release": digests[1]})
    assert (refused.status_code, refused.json()["reason"]) == (422, "evidence.identity")
    assert api.get("/api/v1/systems/payments/channels").json()[0]["release"] == digests[0]


def test_a_second_signature_of_the_same_bundle_does_not_replace_the_first(api):
    api.create_system(identities=[DEVELOPER, OTHER])
    digest = api.publish(b"one").json()["digest"]
    assert api.publish(b"one", signature=signed(OTHER)).json()["signer"] == DEVELOPER
    api.put("/api/v1/systems/payments/channels/prod", json={"release": digest})
    path = f"releases/{digest.removeprefix('sha256:')}/bundle.tar.gz.sigstore.json"
    assert target(api.client, path) == signed()


def test_nobody_can_spoil_the_evidence_of_a_release_that_others_carry(api):
    """Evidence that the other system's policy does not accept would make its sidecars refuse the release."""
    api.create_system("payments")
    api.create_system("ledger", identities=[DEVELOPER, OTHER])
    digest = api.publish(b"one", system="payments").json()["digest"]
    foreign = signed(OTHER, predicate_type=LINK, name="odd")
    spoilt = api.publish(b"one", system="ledger", attestations=[foreign])
    assert (spoilt.status_code, spoilt.json()["reason"]) == (422, "evidence.identity")
    assert api.get(f"/api/v1/systems/ledger/releases/{digest}").status_code == 404
    assert api.publish(b"one", system="ledger").status_code == 201


def test_required_evidence_is_required(api):
    api.create_system(required_predicates=["https://x/test"])
    denied = api.publish(b"one")
    assert (denied.json()["reason"], denied.json()["field"]) == ("evidence.incomplete", "https://x/test")
    assert api.publish(b"one", attestations=[signed(predicate_type="https://x/test")]).status_code == 201


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ({"bundle": b"x"}, 422),
        ({"signature": b"x"}, 422),
        ({"bundle": b"x", "signature": signed(), "surprise": b"x"}, 422),
        ({"bundle": b"x", "signature": b"s" * (1024 * 1024 + 1)}, 413),
        ({"bundle": b"x", "signature": signed(), "attestations": b"a" * (8 * 1024 * 1024 + 1)}, 413),
    ],
)
def test_malformed_uploads_are_refused(api, files, status):
    api.create_system()
    answer = api.post("/api/v1/systems/payments/releases", files=files)
    assert answer.status_code == status, answer.text
    assert api.get("/api/v1/systems/payments/releases").json() == []


def test_an_upload_is_bounded_while_it_is_read(api):
    api.create_system()
    sent = 0

    def endless():
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="bundle"; filename="b"\r\n\r\n'
        while sent < 200 * 1024 * 1024:
            sent += 1024 * 1024
            yield b"\0" * 1024 * 1024

    answer = api.post(
        "/api/v1/systems/payments/releases",
        content=endless(),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert answer.status_code == 413


def test_a_json_body_is_bounded_too(api):
    answer = api.post("/api/v1/quarantine", content=b" " * (1024 * 1024 + 1))
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_release_of_an_unknown_system_is_not_taken(api):
    assert api.publish(system="nobody").status_code == 404


def test_channel_sequences_only_go_up_also_when_they_go_back(api):
    api.create_system(horizon_seconds=7)
    one, two = (api.publish(body).json()["digest"] for body in (b"one", b"two"))

    def point(release):
        answer = api.put("/api/v1/systems/payments/channels/prod", json={"release": release})
        assert answer.status_code == 200, answer.text
        return answer.json()["sequence"]

    assert [point(one), point(one), point(two), point(one)] == [1, 1, 2, 3]
    pointer = json.loads(target(api.client, "payments/prod.json"))
    assert pointer == {
        "system": "payments",
        "channel": "prod",
        "sequence": 3,
        "release": one,
        "horizon_seconds": 7,
    }
    hexadecimal = one.removeprefix("sha256:")
    assert target(api.client, f"releases/{hexadecimal}/bundle.tar.gz") == b"one"
    assert not any(two.removeprefix("sha256:") in path for path in targets(api.client)), "only what is pointed to"
    assert [row["sequence"] for row in api.get("/api/v1/systems/payments/channels").json()] == [3]


def test_a_channel_points_only_at_a_release_of_its_system(api):
    api.create_system("payments")
    api.create_system("ledger")
    digest = api.publish(b"one", system="ledger").json()["digest"]
    answer = api.put("/api/v1/systems/payments/channels/prod", json={"release": digest})
    assert answer.status_code == 404
    assert "payments/prod.json" not in targets(api.client)
    assert api.put("/api/v1/systems/payments/channels/Prod!", json={"release": digest}).status_code == 422


def test_every_change_signs_a_new_time_of_issue(api):
    def timestamp():
        return Metadata.from_bytes(api.client.get("/tuf/metadata/timestamp.json").content).signed

    before = timestamp()
    api.post("/api/v1/quarantine", json={"issuer": "i", "subject": "s", "reason": "r"})
    after = timestamp()
    assert after.version > before.version
    assert after.unrecognized_fields[ISSUED_AT] > before.unrecognized_fields[ISSUED_AT]
    assert after.unrecognized_fields[ISSUED_AT].endswith("Z")


@pytest.mark.parametrize(
    "path",
    [
        "/tuf/targets/../keys/targets.pem",
        "/tuf/targets/%2e%2e/%2e%2e/session.key",
        "/tuf/targets/releases/..%2f..%2fadmin.token",
        "/tuf/metadata/..%2ftuf-root.json",
        "/tuf/metadata/root.json",
        "/tuf/metadata/2.root.json",
        "/tuf/targets/records/payments/one/x",
        "/tuf/targets/placet",
    ],
)
def test_tuf_serves_targets_and_metadata_alone(api, path):
    assert api.client.get(path).status_code in {404, 303}


@pytest.mark.parametrize("name", ["releases", "state", "Payments", "a.b", "", "a" * 64, "-a"])
def test_names_that_do_not_fit_are_refused(api, name):
    answer = api.post("/api/v1/systems", json={"name": name, "identities": [DEVELOPER]})
    assert answer.status_code == 422


def test_a_system_without_signers_or_twice_is_refused(api):
    assert api.post("/api/v1/systems", json={"name": "a", "identities": []}).status_code == 422
    api.create_system("a")
    assert api.post("/api/v1/systems", json={"name": "a", "identities": [DEVELOPER]}).status_code == 409
    misspelt = {"name": "b", "identities": [DEVELOPER], "required_predicate": ["x"]}
    assert api.post("/api/v1/systems", json=misspelt).status_code == 422

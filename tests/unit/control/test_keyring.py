"""Keys of warrants and attestation results: made at the start, rotated without a gap, never shown."""

import json
import stat
import time
from datetime import timedelta

import jwt
import pytest
from sqlmodel import select

from app.control import key_store, keyring
from app.control.installation import initialise
from app.control.key_store import KeyStore
from app.control.keyring import Keyring, Status
from app.control.plane import Plane
from app.control.problems import Conflict, NotFound, Unavailable
from app.control.settings import Settings
from app.control.store import SigningKey
from app.control.store.columns import now
from app.core.errors import PlacetError, UsageError
from app.core.jwk import vet

from .conftest import verify_plain
from .test_trust import state


def claims(seconds=60):
    return {"iss": "i", "exp": int(time.time()) + seconds}


def statuses(plane, purpose="warrant"):
    with plane.store.read() as session:
        return {one.key.kid: str(one.status) for one in keyring.listed(session, purpose)}


def move(plane, kid, **times):
    """Set a key's times, as if they had passed."""
    with plane.store.write() as session:
        key = session.get_one(SigningKey, kid)
        for name, value in times.items():
            setattr(key, name, value)
        session.add(key)


def sign(plane, seconds=60, purpose="warrant"):
    with plane.store.write() as session:
        return plane.keyring.sign(session, purpose, claims(seconds), "warrant+jwt")


def kid_of(token):
    return jwt.get_unverified_header(token)["kid"]


def test_every_purpose_has_a_key_from_the_start_and_only_public_halves_are_stored_or_published(api, plane, installed):
    published = state(api)
    for purpose, member in (("warrant", "warrant_issuers"), ("attestation", "attesters")):
        (signer,) = published[member]
        ((kid, jwk),) = signer["keys"].items()
        assert signer["issuer"] == "spiffe://placet.internal/control-plane"
        assert (jwk["alg"], jwk["kid"]) == ("EdDSA", kid)
        assert vet(kid, jwk).jwk == jwk, "vetted again, with no private member"
        file = installed.directory / "keys" / f"{purpose}-{kid}.pem"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with plane.store.read() as session:
        rows = session.exec(select(SigningKey)).all()
    assert {row.purpose for row in rows} == {"warrant", "attestation", "identity"}
    assert all(set(row.jwk) - {"y"} == {"kty", "kid", "alg", "use", "crv", "x"} for row in rows)


def test_a_jwt_has_exactly_the_header_of_a_warrant_and_verifies(plane):
    token = sign(plane)
    header = jwt.get_unverified_header(token)
    with plane.store.read() as session:
        jwk = Keyring.published(session, "warrant")[header["kid"]]
        assert header["kid"] not in Keyring.published(session, "attestation"), "each purpose has its own key"
    assert header == {"alg": "EdDSA", "kid": jwk["kid"], "typ": "warrant+jwt"}
    assert jwt.decode(token, jwt.PyJWK(jwk), algorithms=["EdDSA"])["iss"] == "i"


def test_rotation_has_no_gap(api, plane):
    """At every moment the key that signs has been published for the lead, and every token still verifies."""
    first_token = sign(plane, 600)
    first = kid_of(first_token)
    move(plane, first, signs_from=now() - timedelta(hours=1))
    listed = api.post("/api/v1/signing-keys/warrant/rotate", json={"lead_seconds": 60}).json()
    second = listed[0]["kid"]
    assert [one["status"] for one in listed] == ["next", "current"]
    assert set(state(api)["warrant_issuers"][0]["keys"]) == {first, second}, "announced before it signs"
    assert kid_of(sign(plane)) == first
    assert api.post("/api/v1/signing-keys/warrant/rotate", json={}).status_code == 409, "one at a time"

    move(plane, second, signs_from=now())
    assert kid_of(sign(plane)) == second
    assert statuses(plane) == {second: "current", first: "retired"}
    with plane.store.read() as session:
        keys = Keyring.published(session, "warrant")
    assert jwt.decode(first_token, jwt.PyJWK(keys[first]), algorithms=["EdDSA"]), "what it signed still verifies"

    # Its last token expired 121 seconds ago, and so long ago it signed last.
    move(plane, second, signs_from=now() - timedelta(seconds=121))
    assert statuses(plane)[first] == "retired", "the token of ten minutes is still good"
    move(plane, first, signed_until=int(time.time()) - 121)
    assert statuses(plane) == {second: "current", first: "gone"}
    with plane.publishing():
        pass
    assert set(state(api)["warrant_issuers"][0]["keys"]) == {second}


def test_a_key_stays_published_until_its_longest_token_expires(plane):
    kid = kid_of(sign(plane, 1000))
    sign(plane, 10)
    with plane.store.read() as session:
        assert abs(session.get_one(SigningKey, kid).signed_until - (time.time() + 1000)) < 5


def test_a_key_that_was_lost_is_withdrawn_at_once(api, plane):
    first = kid_of(sign(plane))
    answer = api.delete(f"/api/v1/signing-keys/{first}")
    assert answer.status_code == 409, "without another one nothing could be signed"
    second = api.post("/api/v1/signing-keys/warrant/rotate", json={"lead_seconds": 3600}).json()[0]["kid"]
    assert api.delete(f"/api/v1/signing-keys/{first}").status_code == 204
    assert set(state(api)["warrant_issuers"][0]["keys"]) == {second}, "published when it was answered"
    assert kid_of(sign(plane)) == second, "the next one signs at once"
    assert statuses(plane) == {second: "current", first: "gone"}
    assert api.delete(f"/api/v1/signing-keys/{first}").status_code == 404
    assert api.delete("/api/v1/signing-keys/nonsense").status_code == 404


def test_an_announced_key_can_be_withdrawn_alone(api, plane):
    first = kid_of(sign(plane))
    second = api.post("/api/v1/signing-keys/warrant/rotate", json={}).json()[0]["kid"]
    assert api.delete(f"/api/v1/signing-keys/{second}").status_code == 204
    assert statuses(plane) == {second: "gone", first: "current"}
    assert kid_of(sign(plane)) == first


@pytest.mark.parametrize("lead", [-1, 30 * 86400 + 1, "x", None, 1.5])
def test_an_absurd_lead_is_refused(api, lead):
    assert api.post("/api/v1/signing-keys/warrant/rotate", json={"lead_seconds": lead}).status_code == 422


def test_only_an_administrator_rotates(api):
    others = api.with_token("warrant:issue", "warrant:revoke", "governance:write", "system:write", "token:write")
    assert others.post("/api/v1/signing-keys/warrant/rotate", json={}).status_code == 403
    assert others.delete("/api/v1/signing-keys/x").status_code == 403
    assert api.post("/api/v1/signing-keys/nonsense/rotate", json={}).status_code == 422


def test_no_answer_shows_a_private_key(api, installed):
    pem = [file.read_text().split("\n")[1] for file in (installed.directory / "keys").glob("*.pem")]
    texts = [api.get(path).text for path in ("/api/v1/signing-keys", "/api/v1/warrant-issuers")]
    assert len(pem) == 6
    assert not [secret for secret in pem for text in texts if secret in text or '"d"' in text]
    issuers = json.loads(texts[1])
    assert issuers["domain"] == "placet.internal"
    assert [one["domain"] for one in issuers["issuers"]] == ["placet.internal"]


def test_a_key_file_that_others_can_read_signs_nothing(plane, installed):
    with plane.store.read() as session:
        (kid,) = Keyring.published(session, "warrant")
    file = installed.directory / "keys" / f"warrant-{kid}.pem"
    file.chmod(0o640)
    with pytest.raises(Unavailable, match="others can read"):
        sign(plane)
    file.chmod(0o600)
    assert kid_of(sign(plane)) == kid


def test_a_swapped_key_file_signs_nothing(plane, installed):
    """The file of another key under this key's name: what it signs would verify nowhere."""
    with plane.store.read() as session:
        (warrant,) = Keyring.published(session, "warrant")
        (other,) = Keyring.published(session, "attestation")
    keys = installed.directory / "keys"
    (keys / f"warrant-{warrant}.pem").write_bytes((keys / f"attestation-{other}.pem").read_bytes())
    with pytest.raises(Unavailable, match="not the one that was announced"):
        sign(plane)


def test_a_given_key_is_taken_at_init_and_an_unusable_one_refuses_it_whole(tmp_path):
    uri, jwk = KeyStore(tmp_path).create("given")
    path = tmp_path / uri.removeprefix("file:")
    made = initialise(tmp_path / "control", tmp_path / "root.pem", warrant_key=f"file:{path}")
    with_given = Plane.open(Settings.load(made.directory), verify_plain)
    assert kid_of(sign(with_given)) == jwk["kid"]
    assert kid_of(sign(with_given, purpose="attestation")) != jwk["kid"]
    with pytest.raises(Conflict, match="used already"), with_given.publishing() as session:
        with_given.keyring.rotate(session, "warrant", by="x", uri=f"file:{path}")
    with_given.close()
    for wrong in ("nonsense", "gnupg:ab", f"file:{tmp_path / 'none.pem'}", "hsm:2?label=none"):
        with pytest.raises(PlacetError) as caught:
            initialise(tmp_path / "other", tmp_path / "other.pem", warrant_key=wrong)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "other").exists()
        assert not (tmp_path / "other.pem").exists()


def test_a_cloud_key_without_its_region_is_one_clear_line(tmp_path, monkeypatch):
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(PlacetError, match=r"the key awskms:alias/none cannot be used: You must specify a region"):
        KeyStore(tmp_path).adopt("awskms:alias/none")


@pytest.mark.parametrize("uri", ["gcpkms:projects/p", "azurekms://v.vault.azure.net/keys/k/1"])
def test_a_cloud_key_without_its_library_is_one_clear_line(tmp_path, uri):
    with pytest.raises(PlacetError, match=f"the key {uri} cannot be used: .*(requires?|required)") as caught:
        KeyStore(tmp_path).adopt(uri)
    assert not isinstance(caught.value, UsageError)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("hsm:nonsense", "in hsm:KEYID"),
        ("hsm:-1?label=x", "in hsm:KEYID"),
        ("hsm:²", "in hsm:KEYID"),
        ("azurekms://v.vault.azure.net", "azurekms://VAULT"),
        ("azurekms://v.vault.azure.net/keys/", "azurekms://VAULT"),
    ],
)
def test_a_name_that_is_none_says_how_one_looks(tmp_path, uri, said):
    with pytest.raises(UsageError) as caught:
        KeyStore(tmp_path).adopt(uri)
    assert str(caught.value).startswith(f"{uri!r} names no key: ")
    assert said in str(caught.value)


def test_another_version_of_a_key_than_the_one_that_was_named_is_not_taken(tmp_path, monkeypatch):
    newest = "azurekms://v.vault.azure.net/keys/k/2"
    monkeypatch.setattr(key_store.AzureSigner, "import_", lambda vault, name: (newest, None))
    with pytest.raises(UsageError, match=f"the newest version of this key, {newest}"):
        KeyStore(tmp_path).adopt("azurekms://v.vault.azure.net/keys/k/1")


def test_without_any_key_nothing_is_signed(plane):
    with plane.store.write() as session:
        for row in session.exec(select(SigningKey).where(SigningKey.purpose == "warrant")):
            session.delete(row)
    with pytest.raises(Unavailable, match="no key"):
        sign(plane)
    plane.republish()  # as at each start
    assert sign(plane)
    with plane.store.read() as session:
        assert [one.status for one in keyring.listed(session, "warrant")] == [Status.CURRENT]
        with pytest.raises(NotFound):
            keyring.withdraw(session, "none", by="x")

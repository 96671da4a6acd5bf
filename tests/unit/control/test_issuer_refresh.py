"""Issuers' keys that the control plane fetches: from where it may, what it takes, and what it does when that fails."""

import base64
import gzip
import ipaddress
import json
import socket
import time
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate
from hypothesis import given
from hypothesis import strategies as st

from app.control import issuer_keys, issuers, jwks_refresh, outbound, publication
from app.control.outbound import Outbound
from app.control.plane import Plane
from app.control.problems import Problem
from app.control.settings import Settings
from app.control.store import IssuerSource
from app.control.store.columns import now

from .conftest import verify_plain, verify_statement_plain
from .key_server import authority, key_server
from .test_releases import target
from .test_trust import ED25519, P256, RSA, public

LOCAL = Outbound(loopback=True)
ISSUER = "https://accounts.example.org"
OLD, NEW = public(ED25519, kid="old"), public(P256, kid="new")


@pytest.fixture
def plane(installed):
    settings = Settings.load(installed.directory)
    opened = Plane.open(settings, verify_plain, verify_statement_plain, LOCAL)
    yield opened
    opened.close()


@pytest.fixture
def keys():
    with key_server() as server:
        server.give(OLD)
        yield server


def add(api, issuer=ISSUER, **members):
    # An hour: the background loop of the app under test leaves these alone unless a test moves the clock.
    body = {"issuer": issuer, "audiences": ["payments"], "refresh_seconds": 3600, "max_age_seconds": 7200, **members}
    return api.post("/api/v1/issuers", json=body)


def published(api):
    return {one["issuer"]: one for one in json.loads(target(api.client, "state.json"))["issuers"]}


def refreshed(api, issuer=ISSUER):
    answer = api.post("/api/v1/issuers/refresh", params={"issuer": issuer})
    assert answer.status_code == 200, answer.text
    return answer.json()


def aged(plane, seconds):
    """As if the last fetch had been so long ago."""
    with plane.publishing() as session:
        for source in issuers.sources(session).values():
            source.fetched_at = source.tried_at = now() - timedelta(seconds=seconds)
            session.add(source)


def test_keys_are_fetched_at_once_and_rotations_are_followed(api, keys):
    answer = add(api, jwks_uri=f"{keys.url}/keys")
    assert answer.status_code == 201, answer.text
    assert answer.json()["condition"] == "fresh"
    assert answer.json()["key_age_seconds"] < 60
    assert list(published(api)[ISSUER]["keys"]) == ["old"]
    keys.give(OLD, NEW)
    assert [key["kid"] for key in refreshed(api)["keys"]] == ["old", "new"]
    keys.give(NEW)
    assert refreshed(api)["keys"][0]["thumbprint"] == issuer_keys.thumbprint(published(api)[ISSUER]["keys"]["new"])
    assert list(published(api)[ISSUER]["keys"]) == ["new"]
    assert api.delete("/api/v1/issuers", params={"issuer": ISSUER}).status_code == 204
    assert published(api) == {}
    assert api.post("/api/v1/issuers/refresh", params={"issuer": ISSUER}).status_code == 404


def test_an_unchanged_set_is_not_sent_again(api, keys):
    keys.give(OLD, ETag='"1"')
    add(api, jwks_uri=f"{keys.url}/keys")
    assert refreshed(api)["condition"] == "fresh"
    assert keys.asked[-1][1]["If-None-Match"] == '"1"'
    assert list(published(api)[ISSUER]["keys"]) == ["old"]
    assert "placet_" not in json.dumps(keys.asked), "no token of ours goes there"


def test_an_address_that_gives_nothing_is_not_kept(api, keys):
    for number, members in enumerate((
        {"jwks_uri": f"{keys.url}/none"},
        {"jwks_uri": "http://127.0.0.1:1/keys"},
        {"jwks_uri": f"{keys.url}/keys", "discover": True},
        {"jwks_uri": f"{keys.url}/keys", "jwks": {"keys": [OLD]}},
        {"jwks_uri": f"{keys.url}/keys", "x509_roots": authority()[0]},
        {"jwks_uri": f"{keys.url}/keys", "max_age_seconds": 3600},
        {"jwks": {"keys": [OLD]}, "pins": [issuer_keys.thumbprint(OLD)]},
        {"jwks_uri": f"{keys.url}/keys", "ca": "no PEM"},
        {"jwks_uri": "ftp://127.0.0.1/keys"},
        {"jwks_uri": "http://user:secret@127.0.0.1/keys"},
        {"jwks_uri": "http://127.0.0.1:x/keys"},
        {},
    )):  # fmt: skip
        answer = add(api, **members)
        assert answer.status_code == (502 if number < 2 else 422), members
        assert "\n" not in answer.json()["detail"]
    assert published(api) == {}


def test_only_an_administrator_may_make_the_server_ask_an_address(api, keys):
    writer = api.with_token("issuer:write")
    assert add(writer, jwks={"keys": [OLD]}).status_code == 201
    assert add(writer, jwks_uri=f"{keys.url}/keys").status_code == 403
    assert keys.asked == []


def test_by_default_neither_this_machine_nor_plain_http_is_asked(keys):
    for rules in (Outbound(), Outbound(private=True)):
        with pytest.raises(Problem, match=r"must be https; for development, .* --allow-loopback-issuers"):
            rules.get(f"{keys.url}/keys")
        with pytest.raises(Problem, match="loopback address"):
            rules.get("https://localhost:1/keys")
    with pytest.raises(Problem, match=r"must be https$"):
        LOCAL.get("http://example.org/keys")
    assert keys.asked == []


ADDRESSES = {
    "8.8.8.8": "public",
    "2600::1": "public",
    "10.1.2.3": "private",
    "192.168.1.1": "private",
    "172.16.0.1": "private",
    "fd00::1": "private",
    "::ffff:10.1.2.3": "private",
    "127.0.0.1": "loopback",
    "::1": "loopback",
    "::ffff:127.0.0.1": "loopback",
    "169.254.169.254": "never",
    "::ffff:169.254.169.254": "never",
    "fe80::1": "never",
    "0.0.0.0": "never",
    "::": "never",
    "224.0.0.1": "never",
    "ff02::1": "never",
    "255.255.255.255": "never",
    "100.64.0.1": "private",
    "::127.0.0.1": "never",
    "::7f00:1": "never",
    "fec0::1": "never",
    "192.88.99.1": "never",
    "198.18.0.1": "never",
    "192.0.2.1": "never",
    "3fff::1": "never",
    "5f00::1": "never",
    "2001:db8::1": "never",
    "64:ff9b::a01:203": "never",
    "2002:a01:203::1": "never",
    "240.0.0.1": "never",
}


@pytest.mark.parametrize(("address", "group"), ADDRESSES.items())
def test_which_addresses_may_be_asked(address, group):
    permitted = {
        name: rules.permits(ipaddress.ip_address(address))
        for name, rules in (
            ("default", Outbound()),
            ("private", Outbound(private=True)),
            ("loopback", Outbound(loopback=True)),
        )
    }
    expected = {"public": {"default", "private", "loopback"}, "private": {"private"}, "loopback": {"loopback"}}
    assert {name for name, allowed in permitted.items() if allowed} == expected.get(group, set())


@given(st.ip_addresses())
def test_what_is_not_global_is_never_asked_by_default(address):
    assert not Outbound().permits(address) or address.is_global


def test_the_address_that_was_checked_is_the_one_that_is_asked(keys, monkeypatch):
    """A name that changes between check and use, or that has one bad address among good ones, gains nothing."""
    asked = []

    def resolve(host, port, **_):
        asked.append(host)
        return [(2, 1, 6, "", ("93.184.215.14", port)), (2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(outbound.socket, "getaddrinfo", resolve)
    with pytest.raises(Problem, match=r"issuer.example is at 127\.0\.0\.1"):
        Outbound().get("https://issuer.example/keys")
    assert asked == ["issuer.example"], "it is resolved once"


def test_redirects_encodings_and_floods_are_refused(keys):
    def said(answer):
        keys.answers["/keys"] = answer
        with pytest.raises(Problem) as caught:
            LOCAL.get(f"{keys.url}/keys")
        return str(caught.value)

    assert "redirects are not followed" in said((302, {"Location": "/elsewhere"}, b""))
    assert "status 304" in said((304, {}, b"")), "nobody asked whether it changed"
    assert "content encoding" in said((200, {"Content-Encoding": "gzip"}, gzip.compress(b"{}")))
    assert "more than" in said((200, {}, b" " * (outbound.MAX_BYTES + 1)))
    assert [path for path, _ in keys.asked] == ["/keys"] * 4


@pytest.mark.parametrize("part", ["headers", "body", "nothing"])
def test_who_drips_is_cut_off(keys, monkeypatch, part):
    monkeypatch.setattr(outbound, "TOTAL_TIMEOUT", 1.0)

    def drip(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" if part != "nothing" else b"")
        if part == "body":
            handler.wfile.write(b"Content-Length: 1000\r\n\r\n")
        for _ in range(100):
            handler.wfile.write({"headers": b"X: y\r\n", "body": b" ", "nothing": b""}[part])
            handler.wfile.flush()
            time.sleep(0.1)

    keys.answers["/keys"] = drip
    start = time.monotonic()
    with pytest.raises(Problem):
        LOCAL.get(f"{keys.url}/keys")
    assert time.monotonic() - start < 9  # all of it takes ten


def test_a_connection_that_comes_too_late_is_cut_off_too(keys, monkeypatch):
    """The time counts from the beginning, also while a name is looked up."""
    monkeypatch.setattr(outbound, "TOTAL_TIMEOUT", 0.5)
    look_up = socket.getaddrinfo

    def slow(*arguments, **options):
        time.sleep(1)
        return look_up(*arguments, **options)

    monkeypatch.setattr(outbound.socket, "getaddrinfo", slow)
    with pytest.raises(Problem, match="did not answer in time"):
        LOCAL.get(f"{keys.url}/keys")
    assert keys.asked == []


def test_a_pinned_ca_alone_vouches_for_the_server():
    with key_server(tls=True) as keys, key_server(tls=True, name="127.0.0.2") as other:
        keys.give(OLD)
        other.give(OLD)
        assert json.loads(LOCAL.get(f"{keys.url}/keys", ca=keys.ca).body)["keys"] == [OLD]
        for server, ca in ((keys, None), (keys, authority()[0]), (other, other.ca)):
            with pytest.raises(Problem, match=r"(?i)certificate"):
                LOCAL.get(f"{server.url}/keys", ca=ca)


def test_a_failure_keeps_the_keys_until_they_are_too_old(api, plane, keys):
    add(api, jwks_uri=f"{keys.url}/keys")
    keys.answers["/keys"] = (500, {}, b"")
    shown = refreshed(api)
    assert (shown["condition"], "status 500" in shown["source"]["trouble"]) == ("failing", True)
    assert list(published(api)[ISSUER]["keys"]) == ["old"]

    aged(plane, 7201)
    assert published(api)[ISSUER]["keys"] == {}, "withdrawn by the next publication, whatever the fetching does"
    (shown,) = api.get("/api/v1/issuers").json()
    assert (shown["condition"], shown["key_age_seconds"] >= 7200) == ("withdrawn", True)
    with plane.store.read() as session:
        assert issuers.keys_in_force(session, issuers.find(session, ISSUER)) == {}
    assert refreshed(api)["condition"] == "withdrawn"

    keys.give(OLD)
    assert refreshed(api)["condition"] == "fresh"
    assert list(published(api)[ISSUER]["keys"]) == ["old"]
    assert f'placet_issuer_refresh_failures_total{{issuer="{ISSUER}"}}' in api.get("/metrics").text


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (b"nonsense", "not JSON"),
        (b'{"keys": [], "keys": []}', "stands twice"),
        (b'{"keys": {}}', "no list keys"),
        (json.dumps({"keys": [OLD, {"kty": "oct", "k": "c2VjcmV0", "kid": "k"}]}).encode(), "must replace it"),
        (json.dumps({"keys": [OLD, OLD]}).encode(), "stands twice"),
        (json.dumps({"keys": [{**OLD, "use": "enc"}]}).encode(), "none is for signatures"),
        (json.dumps({"keys": [{**OLD, "kid": f"k{number}"} for number in range(65)]}).encode(), "too large"),
    ],
)
def test_a_set_that_cannot_be_used_changes_nothing(api, keys, document, said):
    add(api, jwks_uri=f"{keys.url}/keys")
    keys.answers["/keys"] = (200, {}, document)
    shown = refreshed(api)
    assert said in shown["source"]["trouble"], shown["source"]
    assert list(published(api)[ISSUER]["keys"]) == ["old"]


def test_keys_that_cannot_be_used_are_left_out_and_reported(api, keys):
    odd = public(ec.generate_private_key(ec.SECP521R1()), kid="odd\0\n")
    short = public(rsa.generate_private_key(65537, 1024), kid="short")
    keys.give(OLD, odd, short, {**NEW, "use": "enc"}, public(RSA, kid="rsa"))
    shown = add(api, jwks_uri=f"{keys.url}/keys").json()
    assert [key["kid"] for key in shown["keys"]] == ["old", "rsa"]
    assert [line.split(":")[0] for line in shown["source"]["refused"]] == ["odd\\x00 ", "short"]


odd_values = st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.lists(st.text(max_size=3), max_size=2)
odd_keys = st.fixed_dictionaries(
    {},
    optional={
        "kty": st.sampled_from(["EC", "OKP", "RSA", "oct"]) | odd_values,
        "crv": st.sampled_from(["P-256", "Ed25519"]) | odd_values,
        "use": st.sampled_from(["sig", "enc", "jwt-svid", "x509-svid"]) | odd_values,
        "kid": st.just("k") | odd_values,
        "x": st.just(OLD["x"]) | odd_values,
        "y": odd_values,
        "alg": odd_values,
        "x5c": st.lists(st.text(max_size=8), max_size=2) | odd_values,
    },
)


@given(st.fixed_dictionaries({}, optional={"keys": st.lists(odd_keys | odd_values, max_size=4) | odd_values}))
def test_any_set_is_taken_or_refused_in_one_line(document):
    for kind in issuers.KINDS:
        said, found = "", None
        try:
            found, _ = jwks_refresh.usable(document, kind, [])
        except Problem as problem:
            said = str(problem)
        assert "\n" not in said
        assert bool(said) == (found is None)
        assert found is None or all(set(key) <= {"kty", "crv", "x", "kid", "alg", "use"} for key in found.keys.values())


@given(st.text(max_size=40) | st.builds("https://{}".format, st.text(max_size=20)))
def test_any_address_is_taken_or_refused_in_one_line(text):
    said = ""
    try:
        Outbound().check(text)
    except Problem as problem:
        said = str(problem)
    assert "\n" not in said
    assert said or text.lower().startswith("https://")


def test_with_pins_a_new_key_needs_somebody(api, keys):
    pins = [issuer_keys.thumbprint(OLD)]
    assert add(api, jwks_uri=f"{keys.url}/keys", pins=pins).status_code == 201
    keys.give(OLD, NEW)
    shown = refreshed(api)
    assert ([key["kid"] for key in shown["keys"]], shown["source"]["trouble"]) == (["old"], None)
    assert issuer_keys.thumbprint(NEW) in shown["source"]["refused"][0]
    keys.give(NEW)
    shown = refreshed(api)
    assert ([key["kid"] for key in shown["keys"]], "not pinned" in shown["source"]["trouble"]) == (["old"], True)
    assert add(api, jwks_uri=f"{keys.url}/keys", pins=[*pins, issuer_keys.thumbprint(NEW)]).status_code == 200
    assert list(published(api)[ISSUER]["keys"]) == ["new"]


def test_the_thumbprint_is_that_of_rfc_7638():
    n = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj"
        "hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQ"
        "vRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzK"
        "nqDKgw"
    )
    key = {"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}
    assert issuer_keys.thumbprint(key) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"  # its section 3.1


def test_discovery_compares_the_issuer(api, keys):
    document = {"issuer": keys.url, "jwks_uri": f"{keys.url}/keys"}
    keys.answers["/.well-known/openid-configuration"] = document
    shown = add(api, issuer=keys.url, discover=True).json()
    assert (shown["source"]["uri"], shown["source"]["discovered"]) == (f"{keys.url}/keys", True)
    for wrong in ({**document, "issuer": f"{keys.url}/"}, {"issuer": keys.url}, {**document, "jwks_uri": "file:///x"}):
        keys.answers["/.well-known/openid-configuration"] = wrong
        assert refreshed(api, keys.url)["source"]["trouble"]
    # The key set may move; an ETag of the old place says nothing about the new one.
    keys.give(OLD, ETag='"1"')
    keys.answers["/.well-known/openid-configuration"] = document
    refreshed(api, keys.url)
    keys.give(NEW, path="/moved", ETag='"1"')
    keys.answers["/.well-known/openid-configuration"] = {**document, "jwks_uri": f"{keys.url}/moved"}
    assert [key["kid"] for key in refreshed(api, keys.url)["keys"]] == ["new"]


def test_a_spiffe_bundle_is_split(api, keys):
    root, _ = authority("spiffe root")
    der = base64.b64encode(load_pem_x509_certificate(root.encode()).public_bytes(Encoding.DER)).decode()
    x509 = {"kty": "EC", "use": "x509-svid", "crv": "P-256", "x": OLD["x"], "y": OLD["x"], "x5c": [der]}
    keys.give({**OLD, "use": "jwt-svid"}, x509, NEW)
    domain = "spiffe://partner.example"
    shown = add(api, issuer=domain, kind="spiffe", jwks_uri=f"{keys.url}/keys").json()
    assert [key["kid"] for key in shown["keys"]] == ["old"]
    assert "neither jwt-svid nor x509-svid" in shown["source"]["refused"][0]
    found = published(api)[domain]
    assert (found["domain"], found["names"], found["x509_roots"]) == ("partner.example", f"{domain}/", [root])
    # By hand it is the same bundle, and roots alone will do.
    given = add(api, issuer=domain, kind="spiffe", jwks={"keys": [{**OLD, "use": "jwt-svid"}, x509]})
    assert (given.status_code, published(api)[domain]["x509_roots"]) == (200, [root])
    assert add(api, issuer=domain, kind="spiffe", x509_roots=root + authority()[0]).status_code == 200
    assert (published(api)[domain]["keys"], len(published(api)[domain]["x509_roots"])) == ({}, 2)
    assert add(api, jwks={"keys": [OLD]}, x509_roots=root).status_code == 422


KINDS = [
    ({"kind": "spiffe", "issuer": "spiffe://placet.internal"}, {"domain": "", "names": "spiffe://placet.internal/"}),
    ({"kind": "spiffe", "issuer": "spiffe://b.example"}, {"domain": "b.example", "names": "spiffe://b.example/"}),
    ({"kind": "kubernetes"}, {"names": "system:serviceaccount:"}),
    ({"kind": "kubernetes", "names": "system:serviceaccount:prod:"}, {"names": "system:serviceaccount:prod:"}),
    ({"names": "spiffe://placet.internal/"}, {"names": "spiffe://placet.internal/"}),
    ({"names": "spiffe://b.example/ci/", "domain": "b.example"}, {"domain": "b.example"}),
    ({"domain": "placet.internal", "names": "team-"}, {"domain": "", "names": "team-"}),
    ({"kind": "spiffe", "issuer": "https://b.example"}, None),
    ({"kind": "spiffe", "issuer": "spiffe://b.example/x"}, None),
    ({"kind": "spiffe", "issuer": "spiffe://b.example", "domain": "c.example"}, None),
    ({"kind": "spiffe", "issuer": "spiffe://b.example", "names": "spiffe://c.example/"}, None),
    ({"kind": "kubernetes", "names": "system:node:"}, None),
    ({"names": "system:serviceaccount:x:"}, None),
    ({"names": "System:ServiceAccount:x:"}, None),
    ({"names": "spiffe://b.example/"}, None),
    ({"names": "spiffe://placet.internal"}, None),
    ({"names": "SPIFFE://placet.internal/"}, None),
    ({"kind": "ldap"}, None),
    ({"domain": "B.example"}, None),
]


@pytest.mark.parametrize(("members", "expected"), KINDS)
def test_an_issuer_vouches_for_names_of_its_own_domain_alone(api, members, expected):
    answer = add(api, **{"jwks": {"keys": [OLD]}, **members})
    if expected is None:
        assert answer.status_code == 422
        assert published(api) == {}
    else:
        assert answer.status_code == 201, answer.text
        (found,) = published(api).values()
        assert found.items() >= expected.items()


def test_what_is_due_is_claimed_by_one_process(plane):
    source = issuers.Source("https://accounts.example.org/keys", refresh_seconds=3600)
    trust = issuers.checked(issuers.Trust(ISSUER, ["payments"], source=source), "placet.internal")
    with plane.publishing() as session:
        issuers.put(session, trust, uri=source.uri)
    assert jwks_refresh.claim_due(plane) == []
    aged(plane, 3600)
    assert jwks_refresh.claim_due(plane) == [ISSUER]
    assert jwks_refresh.claim_due(plane) == [], "the other process has it"


def test_an_issuer_that_is_replaced_while_it_is_asked_stays_replaced(api, plane, keys):
    add(api, jwks_uri=f"{keys.url}/keys")

    def slow(handler):
        assert add(api, jwks={"keys": [NEW]}).status_code == 200
        body = json.dumps({"keys": [public(ed25519.Ed25519PrivateKey.generate(), kid="late")]}).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    keys.answers["/keys"] = slow
    jwks_refresh.refresh(plane, ISSUER)
    assert list(published(api)[ISSUER]["keys"]) == ["new"]
    with plane.store.read() as session:
        assert session.get(IssuerSource, issuers.find(session, ISSUER).id) is None


def test_an_issuer_whose_row_is_used_again_keeps_its_keys(api, plane, keys):
    """SQLite gives the number of a removed row to the next one."""
    add(api, jwks_uri=f"{keys.url}/keys")
    keys.give(NEW, path="/other")

    def slow(handler):
        keys.give(OLD)
        assert api.delete("/api/v1/issuers", params={"issuer": ISSUER}).status_code == 204
        assert add(api, issuer="https://other.example.org", jwks_uri=f"{keys.url}/other").status_code == 201
        with plane.publishing() as session:  # the worst case: everything else is the same
            issuers.sources(session)[issuers.find(session, "https://other.example.org").id].uri = f"{keys.url}/keys"
        late = {"keys": [public(ed25519.Ed25519PrivateKey.generate(), kid="late")]}
        body = json.dumps(late).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    keys.answers["/keys"] = slow
    jwks_refresh.refresh(plane, ISSUER)
    assert {name: list(one["keys"]) for name, one in published(api).items()} == {"https://other.example.org": ["new"]}


def test_keys_that_come_back_need_room_like_new_ones(api, plane, keys, monkeypatch):
    """Else the next publication, and with it the signed time of issue, would fail for ever."""
    add(api, jwks_uri=f"{keys.url}/keys")
    aged(plane, 7201)
    assert published(api)[ISSUER]["keys"] == {}
    room = len(target(api.client, "state.json")) + publication.RESERVED + 200
    monkeypatch.setattr(publication, "MAX_STATE", room)
    shown = refreshed(api)
    assert (shown["condition"], "remove issuers" in shown["source"]["trouble"]) == ("withdrawn", True)
    plane.republish()
    monkeypatch.undo()
    assert refreshed(api)["condition"] == "fresh"


def test_roots_that_sidecars_would_refuse_are_left_out_of_a_bundle(api, keys):
    good, weak = authority()[0], authority(weak=True)[0]
    roots = [{"kty": "EC", "use": "x509-svid", "x5c": [base64.b64encode(der(pem)).decode()]} for pem in (good, weak)]
    keys.give(*roots)
    domain = "spiffe://partner.example"
    shown = add(api, issuer=domain, kind="spiffe", jwks_uri=f"{keys.url}/keys").json()
    assert ("1024 bits" in shown["source"]["refused"][0], len(shown["x509_roots"])) == (True, 1)
    assert published(api)[domain]["x509_roots"] == [good]
    assert add(api, issuer=domain, kind="spiffe", x509_roots=weak).status_code == 422


def der(pem):
    return load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)


def test_the_background_does_it_by_itself(api, keys):
    assert add(api, jwks_uri=f"{keys.url}/keys", refresh_seconds=1, max_age_seconds=60).status_code == 201
    keys.give(NEW)
    deadline = time.monotonic() + 20
    while list(published(api)[ISSUER]["keys"]) != ["new"]:
        assert time.monotonic() < deadline, "nobody fetched the new key"
        time.sleep(0.2)

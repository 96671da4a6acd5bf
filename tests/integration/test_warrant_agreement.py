"""`verify_chain` and OPA agree: the same chains, whole and spoilt in every way, through both."""

import base64
import importlib.util
import json
import random
import time
from pathlib import Path

import pytest

from app.core import holder_keys
from app.core.errors import Denied
from app.core.jwk import vet
from app.core.warrant_chain import ChainDenied, verify_chain
from app.core.warrant_trust import Signer, WarrantTrust
from bench import stand, world

pytestmark = pytest.mark.stack

#: As many chains as are compared in one run. Seeds are fixed: the same chains each time, but for the time of day.
CHAINS = 600
STRANGER = "https://stranger.example"
KEYS = [world.Key(f"holder-{number}", ("EdDSA", "ES256")[number % 2]) for number in range(4)]
#: What `verify_chain` does not look at, because only a decision can: who asks, with which proof, and how often.
OF_DECISIONS = {"warrant.proof_missing", "warrant.proof_invalid", "warrant.needs_execution"}
#: What Rego says at once, and `verify_chain` only of a chain that stands.
OF_REQUESTS = {"warrant.action", "warrant.resource", "warrant.constraint"}


def names(number, issuer):
    return f"spiffe://example.org/agent/{number}" if issuer == world.OIDC else f"agent-{number}"


class Maker:
    """Makes chains: sound ones, and such in which one or two things are wrong."""

    def __init__(self, seed, there):
        self.random = random.Random(seed)
        self.there = there

    def chain(self):
        pick = self.random
        hops = pick.choice([0, 0, 1, 1, 2, 3])
        holders = [pick.choice([world.OIDC, world.OIDC, world.AGENTS]) for _ in range(hops + 1)]
        links = []
        for number, issuer in enumerate(holders):
            claims = self.there.claims(
                sub=names(number, issuer),
                issuer=issuer,
                jti=f"w-{number}",
                iss=world.WARRANTS if number == 0 else names(number - 1, holders[number - 1]),
                depth=hops - number,
                exp=self.there.now + 1800 - number,
                nbf=self.there.now - 60 + number,
                cnf={"jwk": KEYS[number].jwk},
            )
            links.append(
                {"claims": claims, "key": self.there.keys[world.WARRANTS] if number == 0 else KEYS[number - 1]}
            )
        if pick.random() < 0.5:
            links[-1]["claims"]["act"] = {"iss": world.OIDC, "sub": "spiffe://example.org/bot"}
        for _ in range(pick.choice([0, 1, 1, 1, 2])):
            pick.choice([self.narrow, self.change, self.change, self.forge])(links)
        tokens = [self.sign(number, link) for number, link in enumerate(links)]
        if pick.random() < 0.1:
            tokens = pick.choice([tokens[1:], tokens[::-1], [*tokens, tokens[-1]], tokens * 5, ["junk"], [*tokens, ""]])
        return tokens, links

    def narrow(self, links):
        """One hop, and all after it, allow less."""
        at = self.random.randrange(len(links))
        less = self.random.choice(
            [
                {"actions": ["refund"]},
                {"actions": ["read:a*", "refund"]},
                {"resources": ["payment/p-*"]},
                {"constraints": {"amount": {"at_most": 50, "at_least": 1}, "currency": {"in": ["EUR"]}}},
                {"constraints": {"amount": {"at_most": 30}, "currency": {"in": ["EUR", "USD"]}}},
                {"aud": [world.AUDIENCE]},
                {"uses": 2},
            ]
        )
        for link in links[at:]:
            link["claims"] |= less

    def change(self, links):
        """One hop says something else."""
        now, link = self.there.now, self.random.choice(links)
        link["claims"] |= self.random.choice(
            [
                {"actions": ["refund", "delete"]},
                {"actions": ["*"]},
                {"actions": ["refund*"]},
                {"actions": ["rea*d"]},
                {"actions": []},
                {"resources": ["*"]},
                {"resources": ["pay*"]},
                {"resources": "payment/*"},
                {"constraints": {}},
                {"constraints": {"amount": {"at_most": 501}, "currency": {"in": ["EUR", "USD"]}}},
                {"constraints": {"amount": {"in": [40, 1]}, "currency": {"in": ["EUR", "USD"]}}},
                {"constraints": {"amount": {"at_most": "500"}}},
                {"constraints": {"amount": {"at_most": 500}, "currency": {"in": ["EUR", "USD", True]}}},
                {"constraints": {"amount": {}}},
                {"aud": [world.AUDIENCE, "spiffe://example.org/system/refunds"]},
                {"aud": "spiffe://example.org/system/refunds"},
                {"aud": []},
                {"exp": now - 5},
                {"exp": now + 9000},
                {"exp": float(now + 60)},
                {"exp": now + 60.5},
                {"depth": 0.0},
                {"nbf": now + 900},
                {"nbf": None},
                {"nbf": now - 5000},
                {"iat": now + 900},
                {"exp": now - 30},
                {"iat": "yesterday"},
                {"depth": 8},
                {"depth": 0},
                {"depth": 9},
                {"depth": -1},
                {"uses": 0},
                {"uses": 5},
                {"approval": "sha256:" + "0" * 64},
                {"approval": "sha256:0"},
                {"approval": None},
                {"jti": "gone"},
                {"jti": "w-0"},
                {"jti": "no id"},
                {"iss": "mallory"},
                {"sub": "mallory"},
                {"sub_id": {"format": "iss_sub", "iss": STRANGER, "sub": link["claims"]["sub"]}},
                {"sub_id": {"format": "iss_sub", "iss": "https://unknown.example", "sub": link["claims"]["sub"]}},
                {"act": {"iss": STRANGER, "sub": "bot"}},
                {"act": {"iss": world.OIDC}},
                {"cnf": None},
                {"cnf": {"jwk": {"kty": "oct", "k": "AAAA"}}},
                {"cnf": {"jwk": KEYS[0].jwk | {"d": "AAAA"}}},
                {"cnf": {"jwk": KEYS[3].jwk}},
                {"scope": "all"},
            ]
        )

    def forge(self, links):
        """One hop is signed otherwise."""
        self.random.choice(links).update(
            self.random.choice(
                [
                    {"key": world.Key("mallory")},
                    {"key": world.Key("mallory", "ES256")},
                    {"header": {"kid": "w9"}},
                    {"header": {"kid": ""}},
                    {"header": {"kid": 7}},
                    {"header": {"alg": "none"}},
                    {"header": {"alg": "ES256"}},
                    {"header": {"typ": "JWT"}},
                    {"header": {"crit": []}},
                    {"header": {"jwk": KEYS[0].jwk}},
                    {"cut": True},
                ]
            )
        )

    def sign(self, number, link):
        key = link["key"]
        header = {"alg": key.alg, "typ": "warrant+jwt"} | ({"kid": key.name} if number == 0 else {})
        claims = {name: value for name, value in link["claims"].items() if value is not None}
        token = key.sign_raw(json.dumps(header | link.get("header", {})), json.dumps(claims))
        return token[:-8] if link.get("cut") else token


def asked(there, tokens, links, pick):
    """A request of whom the last warrant names, with a good proof."""
    last = links[-1]["claims"]
    holder = last.get("act") or {}
    issuer, sub = holder.get("iss", last["sub_id"]["iss"]), holder.get("sub", last["sub"])
    issuer = issuer if issuer in there.keys else world.OIDC
    request = world.request(
        identity={"token": there.identity(sub=sub, issuer=issuer)},
        warrant=tokens,
        action={"name": pick.choice(["refund", "refund", "read:a", "delete"])},
        resource={"type": "payment", "id": pick.choice(["p-1", "p-1", "q/2"])},
        context=pick.choice(
            [{"amount": 40, "currency": "EUR"}] * 3 + [{"amount": 400, "currency": "USD"}, {"amount": True}]
        ),
    )
    key = next((one for one in KEYS if {"jwk": one.jwk} == last.get("cnf")), KEYS[0])
    return request | {"proof": there.proof(key, request)}


def issuers_of(there):
    return there.issuers() | {STRANGER: there.issuers()[world.AGENTS] | {"domain": "stranger.example"}}


def trust_of(there):
    """What `verify_chain` knows of the world that OPA knows."""
    own = there.keys[world.WARRANTS]
    return WarrantTrust(
        domain=world.DOMAIN,
        issuers={world.WARRANTS: Signer(world.DOMAIN, {own.name: vet(own.name, own.jwk)})},
        links=frozenset({world.PARTNER}),
        holders={name: issuer["domain"] for name, issuer in issuers_of(there).items()},
        revoked=frozenset({"gone", "revoked"}),
    )


def spoken(tokens, trust, request, now):
    """The codes with which `verify_chain` answers, and whether they are all that there is to say."""
    try:
        verified = verify_chain(tokens, trust, world.AUDIENCE, now)
    except ChainDenied as denied:
        return {str(one.reason) for one in denied.denials}, True
    except Denied as denied:
        return {str(denied.reason)}, False
    resource = (request["resource"]["type"], request["resource"]["id"])
    return {str(one.reason) for one in verified.denials(request["action"]["name"], resource, request["context"])}, True


def test_opa_and_verify_chain_agree_on_every_chain(opa_binary, tmp_path):
    there = world.World(int(time.time()))
    warrants = {"required": True, "issuers": {world.WARRANTS: there.signer(world.WARRANTS)}, "revoked": {"gone": {}}}
    trust = trust_of(there)
    seen: dict[str, int] = {}
    with stand.running(opa_binary, stand.composed(*stand.example("payments")), tmp_path / "opa") as opa:
        opa.write(there.state(issuers=issuers_of(there), warrant=warrants))
        for seed in range(CHAINS):
            maker = Maker(seed, there)
            tokens, links = maker.chain()
            request = asked(there, tokens, links, maker.random)
            decided = {one["code"] for one in opa.decide(request)["reasons"] if one["code"].startswith("warrant.")}
            decided -= OF_DECISIONS
            said, whole = spoken(tokens, trust, request, there.now)
            told = f"seed {seed}: OPA says {sorted(decided)}, verify_chain says {sorted(said)}"
            assert bool(decided) == bool(said), told
            assert said <= decided, told
            # The holder of a warrant that names nobody real is not the caller, which only OPA sees.
            assert not whole or decided - said <= OF_REQUESTS | {"warrant.subject"}, told
            for code in said or {"none"}:
                seen[code] = seen.get(code, 0) + 1
    assert seen["none"] > CHAINS / 10
    assert set(seen) >= {
        "warrant.malformed", "warrant.key_unknown", "warrant.algorithm", "warrant.invalid", "warrant.audience",
        "warrant.expired", "warrant.not_yet_valid", "warrant.widened", "warrant.depth",
        "warrant.domain", "warrant.revoked", "warrant.issuer_unknown", *OF_REQUESTS,
    }  # fmt: skip


NAMED = sorted(
    path.parent
    for kind in ("warrant", "hop", "chain")
    for path in (Path(__file__).resolve().parents[1] / "cases").glob(f"input-{kind}-*/expected.json")
)


@pytest.mark.parametrize("folder", NAMED, ids=lambda folder: folder.name)
def test_the_named_attacks_on_warrants_are_refused_here_too(folder):
    """The cases that OPA is tested with: `verify_chain` gives the same reasons, where it looks at all."""
    expected = set(json.loads((folder / "expected.json").read_text())["reasons"])
    spec = importlib.util.spec_from_file_location(f"case_{folder.name}", folder / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    there = world.World(int(time.time()))
    request = make.request(there)
    said, _ = spoken(request["warrant"], trust_of(there), request, there.now)
    of_the_caller = OF_DECISIONS | {"warrant.subject"} if said == set() else set()
    assert said == expected - of_the_caller


def test_a_proof_made_here_is_taken_by_opa_for_this_request_alone(opa_binary, tmp_path):
    there = world.World(int(time.time()))
    with stand.running(opa_binary, stand.composed(*stand.example("payments")), tmp_path / "opa") as opa:
        opa.write(there.state())
        for alg in ("EdDSA", "ES256"):
            key = holder_keys.generate(alg)
            request = world.request(identity={"token": there.identity()}, warrant=[there.warrant(cnf={"jwk": key.jwk})])
            good = holder_keys.proof(key, "refund", "payment", "p-1", nonce="n-1")
            assert opa.decide(request | {"proof": good})["allow"] is True
            other = holder_keys.proof(key, "refund", "payment", "p-2", nonce="n-2")
            old = holder_keys.proof(key, "refund", "payment", "p-1", nonce="n-3", now=there.now - 120)
            foreign = holder_keys.proof(holder_keys.generate(alg), "refund", "payment", "p-1", nonce="n-4")
            for bad in (other, old, foreign, base64.urlsafe_b64encode(b"junk").decode()):
                codes = {one["code"] for one in opa.decide(request | {"proof": bad})["reasons"]}
                assert codes == {"warrant.proof_invalid"}
            assert {one["code"] for one in opa.decide(request)["reasons"]} == {"warrant.proof_missing"}

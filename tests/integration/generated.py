"""Decisions from a seed: requests, trust states and clock readings that reach many reason codes and both outcomes.

Everything is a function of the number of the decision, so that several readers can make the same ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

from bench.svid import Authority
from bench.world import AGENTS, DOMAIN, KUBERNETES, OIDC, PARTNER, SPIFFE, SUPPORT, WARRANTS, Key, World, hop, request

#: 2027-01-15T08:00:00Z: nothing here depends on the time of the test.
NOW = 1_800_000_000
WORLD = World(NOW)

#: A policy that makes much of what it is given: sets and objects from several rules, sums, texts, times.
POLICY = """package app.authz

import data.placet.subject

decision := {"allow": count(reasons) == 0, "reasons": reasons, "obligations": obligations} if {
	input.resource.id != "nothing"
}

reasons contains "no reason at all" if input.resource.id == "malformed"

reasons contains {"code": "over", "message": sprintf("%v is over %d", [input.context.amount, 500])} if {
	input.context.amount > 500
}

reasons contains {"code": "weekend", "message": time.weekday(time.now_ns())} if {
	time.weekday(time.now_ns()) in {"Saturday", "Sunday"}
}

reasons contains {"code": "no_amount", "message": "the amount is missing"} if not input.context.amount

reasons contains {"code": "tag", "message": tag} if {
	some tag in input.context.tags
	regex.match(`^x[0-9]+$`, tag)
}

numbers contains n if some n in input.context.numbers

numbers contains 1 if input.action.name == "refund"

numbers contains 1.0 if startswith(input.resource.id, "p")

numbers contains 100 if input.context.currency

numbers contains 1e2 if input.context.amount

by_text[sprintf("%v", [n])] := n if some n in input.context.numbers

obligations contains {"numbers": numbers, "sum": sum(numbers), "max": max(numbers)} if count(numbers) > 0

obligations contains {"clock": time.clock(time.now_ns()), "at": time.format(time.now_ns())}

# What takes long is not done for all.
obligations contains one if {
	input.context.thorough
	some one in thorough
}

thorough contains {"texts": object.keys(by_text), "sorted": sort(input.context.numbers)}

thorough contains {"text": json.marshal(input.context), "digest": crypto.sha256(sprintf("%v", [input.context]))}

thorough contains {"paths": [path | walk(input.context, [path, _])]}

thorough contains {"caller": subject.id, "actors": object.get(subject, "actors", []), "claims": subject.claims}

thorough contains {"grouped": {name: values |
	some name in {"a", "b"}
	values := {n | some n in input.context.numbers; is_number(n)}
}}
"""

NUMBERS = ["1", "1.0", "1e0", "100", "1e2", "100.0", "-0", "0", "0.10", "0.1", "1E400", "12345678901234567890", "-2.50"]

AUTHORITY = Authority(NOW)
GATEWAY, FRONTEND = "spiffe://example.org/gateway", "spiffe://example.org/frontend"
KNOWN = {
    "x509": {DOMAIN: [AUTHORITY.pem]},
    "grants": {OIDC: {GATEWAY: {"forward-certificate": True}, FRONTEND: {"assert-subject": True}}},
}

HOLDERS = [Key(f"holder-{n}", "ES256" if n % 3 == 2 else "EdDSA") for n in range(10)]
OTHER = Key("k1 of somebody else")
STRANGER = World(NOW, {**WORLD.keys, OIDC: OTHER, "https://stranger.example": Key("s1")})


def identities() -> list[Any]:
    """Tokens of every kind, the good ones first."""
    good = [
        *(WORLD.identity(f"spiffe://example.org/{name}") for name in ("support", "api", "agent/0", "agent/1")),
        WORLD.identity(SUPPORT, act={"sub": "spiffe://example.org/agent/0"}),
        WORLD.identity(SUPPORT, act={"sub": "agent-7", "iss": AGENTS, "act": {"sub": "spiffe://example.org/api"}}),
        WORLD.identity("agent-7", AGENTS),
        WORLD.identity("system:serviceaccount:shop:payments", KUBERNETES),
        WORLD.identity("spiffe://example.org/batch", SPIFFE),
        WORLD.identity("spiffe://example.org/batch", SPIFFE, iss=None),
    ]
    bad = [
        WORLD.identity(exp=NOW),
        WORLD.identity(exp=NOW + 1),
        WORLD.identity(exp=None),
        WORLD.identity(exp="soon"),
        WORLD.identity(nbf=NOW + 3600),
        WORLD.identity(iat=NOW + 600),
        WORLD.identity(iat=None),
        WORLD.identity(aud="spiffe://example.org/system/other"),
        WORLD.identity(aud=""),
        WORLD.identity(aud=["x", "spiffe://example.org/system/payments"]),
        WORLD.identity(""),
        WORLD.identity("spiffe://partner.example/x", AGENTS),
        WORLD.identity("spiffe://example.org//x"),
        WORLD.identity("mallory"),
        WORLD.identity(act={"iss": 1}),
        WORLD.identity(act={"sub": 1}),
        WORLD.identity(act=nested(9)),
        WORLD.identity(SUPPORT, act=nested(8)),
        STRANGER.identity(),
        STRANGER.identity("alice", "https://stranger.example"),
        Key("k2").sign({"iss": OIDC, "sub": "x", "exp": NOW + 60}),
        Key("k1", "ES256").sign({"iss": OIDC, "sub": "x", "exp": NOW + 60}),
        "e30.e30.", "x", "", None, 7, {"a": 1},
    ]  # fmt: skip
    return [*good * 8, *bad]


def nested(depth: int) -> dict[str, Any]:
    """An `act` claim of several actors."""
    act: dict[str, Any] = {"sub": "spiffe://example.org/agent/0"}
    for _ in range(depth - 1):
        act = {"sub": "spiffe://example.org/agent/1", "act": act}
    return act


def vouchers() -> list[dict[str, Any]]:
    """Subjects for whom somebody else vouches, the good ones first."""
    gateway, frontend = WORLD.identity(GATEWAY), WORLD.identity(FRONTEND)
    certificates = [
        [AUTHORITY.leaf(SUPPORT)],
        [AUTHORITY.leaf(SUPPORT, ends=0)],
        [AUTHORITY.leaf("spiffe://partner.example/x")],
        [AUTHORITY.leaf(SUPPORT), AUTHORITY.pem],
        [AUTHORITY.pem],
        ["-----BEGIN CERTIFICATE-----"],
        [],
    ]
    return [
        *({"token": gateway, "certificate": chain} for chain in certificates),
        *({"token": frontend, "asserted": {"id": name}} for name in (SUPPORT, "spiffe://other.example/x", "", 7)),
        {"token": frontend, "certificate": certificates[0]},
        {"token": gateway, "asserted": {"id": SUPPORT}},
        {"token": frontend, "asserted": {"id": SUPPORT}, "certificate": certificates[0]},
    ]


def chains() -> list[Any]:
    """Warrants of every kind, the good ones first."""
    good = [
        [WORLD.warrant()],
        [WORLD.warrant(constraints=None)],
        [WORLD.warrant(uses=1)],
        [WORLD.warrant(cnf={"jwk": HOLDERS[0].jwk})],
        [WORLD.warrant(sub="spiffe://example.org/api", act={"iss": OIDC, "sub": SUPPORT})],
        [WORLD.warrant(sub="agent-7", issuer=AGENTS)],
        [WORLD.warrant()],
        *(WORLD.chain(hops, HOLDERS[:hops]) for hops in (1, 2, 3)),
        WORLD.chain(3, HOLDERS[:4]),
    ]
    narrowed = WORLD.chain(1, HOLDERS[:1])
    wider = [
        {"actions": ["*"]},
        {"resources": ["*"]},
        {"constraints": None},
        {"exp": NOW + 7200},
        {"aud": "spiffe://example.org/system/other"},
        {"depth": 4},
        {"iss": "mallory"},
        {"sub": "spiffe://example.org/other"},
    ]
    bad = [
        [WORLD.warrant(exp=NOW - 1)],
        [WORLD.warrant(nbf=NOW + 60)],
        [WORLD.warrant(iat=NOW + 600)],
        [WORLD.warrant(aud="x")],
        [WORLD.warrant(jti="no spaces")],
        [WORLD.warrant(jti="revoked")],
        [WORLD.warrant(extra=1)],
        [WORLD.warrant(iss="https://nobody.example")],
        [WORLD.warrant(actions=["delete"])],
        [WORLD.warrant(resources=["invoice/*"])],
        [Key("w9").sign(WORLD.claims(), typ="warrant+jwt")],
        [Key("w1", "ES256").sign(WORLD.claims(), typ="warrant+jwt")],
        [Key("w1").sign(WORLD.claims(), typ="JWT")],
        [World(NOW, {**WORLD.keys, WARRANTS: Key("forger")}).keys[WARRANTS].sign(WORLD.claims(), kid="w1")],
        *(
            [narrowed[0], hop(WORLD.claims(jti="w-1") | {"iss": "spiffe://example.org/agent/0"} | change, HOLDERS[0])]
            for change in wider
        ),
        [narrowed[0], hop(WORLD.claims(), HOLDERS[5])],
        WORLD.chain(8, HOLDERS[:8]),
        WORLD.chain(9, HOLDERS[:9]),
        [], "x", None, [1], ["a.b.c"],
    ]  # fmt: skip
    return [*good * 4, *bad]


def executions() -> list[Any]:
    """Execution tokens of every kind, the good ones first."""
    good = [
        WORLD.execution(),
        WORLD.execution(constraints={}, actions=["*"], resources=["*"], warrants=[], warrant_issuer=None),
        WORLD.execution(principals=[[OIDC, SUPPORT], [OIDC, "spiffe://example.org/api"]]),
    ]
    bad = [
        WORLD.execution(exp=NOW - 1),
        WORLD.execution(iss="spiffe://example.org/sidecar/payments/two"),
        WORLD.execution(aud="x"),
        WORLD.execution(exe="run-2"),
        WORLD.execution(warrants=["revoked"]),
        WORLD.execution(actions=["delete"]),
        WORLD.execution(sub=None),
        WORLD.execution(workflow="pay"),
        Key("e9").sign({"exe": "run-1"}, typ="execution+jwt"),
        "x", None, 7,
    ]  # fmt: skip
    return [*good * 6, *bad]


def state(**changes: Any) -> dict[str, Any]:
    """The usual trust state, with members replaced."""
    return WORLD.state(**KNOWN | changes)


def states() -> list[Any]:
    """Trust states of every kind, the usual one first."""
    usual = state()
    quarantine = {"subjects": {}, "executions": {}, "domains": {}, "segments": {}}
    warrant = WORLD.trust()["warrant"]
    environment = WORLD.trust()["environment"]
    required = {"region": {"max_age_seconds": 60, "accept": {"region": ["eu-1"]}}}
    results: list[Any] = [
        [],
        [WORLD.attestation()],
        [WORLD.attestation(iat=NOW - 300)],
        [WORLD.attestation(submods={"region": {"ear.status": "contraindicated", "region": "eu-1"}})],
        [WORLD.attestation(submods={"region": {"ear.status": "affirming", "region": "us-1"}})],
        [Key("a1 of somebody else").sign({"iss": "x"}, typ="ear+jwt", kid="a1")],
    ]
    segments = {
        "subjects": {OIDC: {SUPPORT: "front"}},
        "subject_prefixes": {OIDC: [{"prefix": "spiffe://example.org/agent/", "segment": "agents"}]},
        "resources": {"payment/p-1": "money"},
        "resource_prefixes": [{"prefix": "payment/", "segment": "front"}],
        "flows": {"front": {"money": ["refund"]}, "agents": {"front": ["read*"]}},
    }
    shadow = {"id": "m-1", "from_ns": (NOW - 60) * 10**9, "until_ns": (NOW + 60) * 10**9}
    glass = shadow | {
        "id": "m-2",
        "subjects": [{"issuer": OIDC, "id": SUPPORT}],
        "actions": ["refund"],
        "resources": ["payment/*"],
        "reason": "outage",
        "by": ["a@example.org", "b@example.org"],
    }
    special = [
        state(quarantine=quarantine | {"subjects": {OIDC: {SUPPORT: {"reason": "theft"}}}}),
        state(quarantine=quarantine | {"subjects": {OIDC: {"spiffe://example.org/agent/0": False}}}),
        state(quarantine=quarantine | {"domains": {PARTNER: {}}}),
        state(quarantine=quarantine | {"executions": {"run-1": {}}}),
        state(quarantine=quarantine | {"segments": {"front": {}}}, segments=segments),
        state(quarantine=[]),
        state(segments=segments),
        state(workflows={"pay": {"declared": "sha256:aa", "actions": ["refund"], "resources": ["payment/p-1"]}}),
        state(workflows={"pay": None}),
        state(links={}),
        state(headers={}),
        state(max_identity_age_seconds=5),
        state(warrant=warrant | {"required": True}),
        state(warrant=warrant | {"revoked": {"revoked": {"expires_at": NOW + 60}, "w-2": {}}}),
        state(modes={"shadow": [shadow], "break_glass": []}),
        state(modes={"shadow": [], "break_glass": [glass]}, warrant=warrant | {"required": True}),
        *(state(environment=environment | {"required": required, "results": found}) for found in results),
        usual | {"lease": None},
        usual | {"lease": {"issued_at_ns": 1, "valid_until_ns": 2}},
        usual | {"lease": {"issued_at_ns": (NOW + 60) * 10**9, "valid_until_ns": (NOW + 90) * 10**9}},
        usual | {"lease": {"issued_at_ns": "1", "valid_until_ns": None}},
        usual | {"digest": 7},
        None,
    ]  # fmt: skip
    return [*[usual] * 2 * len(special), *special]


#: Decisions that share one trust state: it is written whole, as an agent writes it.
BLOCK = 100


class Generator:
    """Makes the decision of any number."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._identities, self._chains, self._executions = identities(), chains(), executions()
        self._states, self._vouchers = states(), vouchers()
        self._kinds: list[Callable[[Random, dict[str, Any]], None]] = [
            self._with_identity, self._with_identity, self._with_warrant, self._in_execution, self._vouched, self._odd,
        ]  # fmt: skip

    def state(self, block: int) -> Any:
        """The trust state for a block of decisions; None: there is none yet."""
        return Random(self._seed - block).choice(self._states)

    def decision(self, number: int) -> str:
        """`{"input", "now", "masked"}` as JSON, in which numbers have all their forms."""
        random = Random(self._seed * 1_000_003 + number)
        asked = self._asked(random, tame=random.random() < 0.6)
        random.choice(self._kinds)(random, asked)
        offsets = [0] * 10 + [1, 999_999_999, 10**9, 3 * 86_400 * 10**9, -(10**9) * 3]
        now = NOW * 10**9 + random.choice(offsets)
        text = json.dumps({"input": asked, "now": now, "masked": number % 10 == 0})
        return re.sub(r'"number:([^"]*)"', r"\1", text)

    def _asked(self, random: Random, *, tame: bool) -> dict[str, Any]:
        numbers = [f"number:{one}" for one in random.choices(NUMBERS, k=random.randrange(5))]
        context = {
            "amount": random.choice([40, "number:4e1", "number:40.0", 500]),
            "currency": random.choice(["EUR", "USD"]),
            "numbers": numbers,
            "tags": random.sample(["y", "\u00e4", "\u2028", ""], random.randrange(3)),
            "thorough": random.random() < 0.2,
            "nested": {random.choice("abc"): {random.choice("abc"): random.choice(numbers or [None])}},
        }
        if tame:
            identifier = random.choice(["p-1"] * 30 + ["nothing", "malformed"])
            return request(context=context, resource={"type": "payment", "id": identifier})
        context["amount"] = random.choice([501, "number:1e400", "40", None])
        context["tags"] = ["x1", "x22"]
        for name in random.sample(sorted(context), random.choice([0, 1, 3])):
            del context[name]
        return request(
            action={"name": random.choice(["refund", "refund", "read", "read-all", "delete", "", "Refund"])},
            resource={
                "type": random.choice(["payment", "payment", "payment", "invoice", "pay/ment"]),
                "id": random.choice(["p-1", "p-2", "", "\ufb00", "p-1/x"]),
            },
            context=context,
        )

    def _with_identity(self, random: Random, asked: dict[str, Any]) -> None:
        asked["identity"] = {"token": random.choice(self._identities)}
        if random.random() < 0.2:
            asked["execution"] = {"id": random.choice(["run-1", "run-2", ""])}

    def _vouched(self, random: Random, asked: dict[str, Any]) -> None:
        asked["identity"] = random.choice(self._vouchers)

    def _with_warrant(self, random: Random, asked: dict[str, Any]) -> None:
        good = random.random() < 0.8
        asked["identity"] = {"token": self._identities[0] if good else random.choice(self._identities)}
        asked["warrant"] = random.choice(self._chains)
        if random.random() < 0.4:
            changes = random.choice([{}, {}, {"iat": NOW - 90}, {"iat": NOW + 30}, {"req": "0" * 64}, {"jti": None}])
            asked["proof"] = WORLD.proof(random.choice([HOLDERS[0], HOLDERS[0], HOLDERS[3]]), asked, **changes)

    def _in_execution(self, random: Random, asked: dict[str, Any]) -> None:
        asked["execution"] = {"id": random.choice(["run-1"] * 5 + ["run-2"]), "token": random.choice(self._executions)}
        if random.random() < 0.05:
            asked["identity"] = {"token": self._identities[0]}

    def _odd(self, random: Random, asked: dict[str, Any]) -> None:
        self._with_identity(random, asked)
        name = random.choice([*asked, "subject", "environment", "proof", "warrant"])
        asked[name] = random.choice([None, True, 7, "text", [], {}, ["number:1.0"], [WORLD.attestation(sub=SUPPORT)]])

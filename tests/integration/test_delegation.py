"""No chain of warrants ever widens: thousands of generated chains, really signed, against an oracle, in a real OPA."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.core.shipped import shipped
from app.local.tools import installed
from bench import stand
from tests.integration import delegation_attempts as attempts
from tests.integration import delegation_kit as kit
from tests.integration import delegation_oracle as oracle

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

SEED = 20260131
CHAINS = 5_000
TIMES = ("iat", "nbf", "exp")
#: Every case in one query. The values are bound first: `with input as e.input` would be undefined.
QUERY = """[failures |
    some e in data.cases
    asked := e.input
    subject := e.subject
    redeemed := e.redeemed
    failures := data.placet.warrant.failures
        with input as asked
        with data.placet.identity.subject as subject
        with data.placet.clock.now as data.now_ns
        with data.placet.warrant.redeemed as redeemed]"""


def judge(cases: Iterable[tuple[kit.Claims, kit.Case]], directory: Path) -> list[list[str]]:
    """OPA's reason codes for each input, of the case beside it."""
    entries = [
        {"input": asked, "subject": made.subject, "redeemed": made.redeemed} for asked, made in cases
    ]  # fmt: skip
    shares = [entries[at : at + 1000] for at in range(0, len(entries), 1000)]
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        answers = pool.map(_evaluate, shares, [directory / f"{at}.json" for at in range(len(shares))])
        judged = list(itertools.chain.from_iterable(answers))
    assert len(judged) == len(entries), "a case without an answer"
    return judged


def _evaluate(entries: list[kit.Claims], path: Path) -> list[list[str]]:
    data = {"cases": entries, "now_ns": kit.NOW * 10**9, "placet_state": {"trust": kit.trust()}}
    path.write_text(json.dumps(data))
    command = [
        str(installed("opa")), "eval", "--format", "raw", "--data", str(path),
        "--data", str(shipped("rego") / "placet"), "--ignore", "*_test.rego", QUERY,
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    answer: list[list[str]] = json.loads(ran.stdout)
    return answer


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[kit.Case, list[str]]]:
    cases = [attempts.case(SEED, number) for number in range(CHAINS)]
    return list(
        zip(cases, judge([(made.input(), made) for made in cases], tmp_path_factory.mktemp("chains")), strict=True)
    )


def test_every_chain_is_judged_as_the_oracle_judges_it(judged: list[tuple[kit.Case, list[str]]]) -> None:
    for made, failures in judged:
        assert (failures == []) is oracle.accepted(made), described(made, failures)


def test_every_code_and_every_length_occurs(judged: list[tuple[kit.Case, list[str]]]) -> None:
    """The chains reach what they are meant to reach: else the test above would hold for nothing."""
    codes = {code for _, failures in judged for code in failures}
    assert codes == {
        f"warrant.{name}"
        for name in (
            "malformed", "issuer_unknown", "key_unknown", "algorithm", "invalid", "audience", "expired",
            "not_yet_valid", "subject", "widened", "depth", "domain", "revoked", "action", "resource", "constraint",
            "proof_missing", "needs_execution",
        )
    }  # fmt: skip
    passing = [made for made, failures in judged if not failures]
    assert len(passing) > CHAINS // 10
    assert {len(made.hops) for made in passing} == set(range(1, 10))
    assert set(attempts.ATTEMPTS) == {name for made, failures in judged if failures for name in made.tried}
    assert sum(len(failures) > 1 for _, failures in judged) > CHAINS // 10


def requests() -> Iterator[kit.Claims]:
    """A small world of requests, to hold the meaning of each warrant against the leaf's."""
    texts = sorted({*kit.ACTIONS, "refund.x", "re", "a:bc", "other", "*"})
    places = sorted({*kit.RESOURCES, "payment/p-2", "pay/x", "other/x", "payment/*"})
    amounts: list[Any] = [-6, 0, 1, 2, 9.5, 10, 11, 100, 100.5, 1000, "2", None, True]
    for action, place in itertools.product(texts, places):
        kind, _, name = place.partition("/")
        for amount, currency in [(2, "EUR"), *((amount, "EUR") for amount in amounts), (2, 7), (2, True), (2, "GBP")]:
            yield {
                "action": {"name": action},
                "resource": {"type": kind, "id": name},
                "context": {"amount": amount, "currency": currency, "more": 1},
            }


def test_what_the_leaf_allows_every_hop_allows(judged: list[tuple[kit.Case, list[str]]], tmp_path: Path) -> None:
    """The property itself, by the meaning of each warrant alone: for no accepted chain does any hop widen."""
    world = list(requests())
    allowed = 0
    probes: list[tuple[kit.Claims, kit.Case]] = []
    for made in (made for made, failures in judged if not failures):
        for at, request in enumerate(world[made.number % 7 :: 7]):
            if oracle.allows(made.hops[-1].claims, request):
                allowed += 1
                assert all(oracle.allows(hop.claims, request) for hop in made.hops), described(made, [str(request)])
            if at % 97 == made.number % 97 and len(probes) < 1000:
                probes.append(({**made.input(), **request}, made))
    assert allowed > 10_000
    # And OPA says of each what the leaf says.
    for (asked, made), failures in zip(probes, judge(probes, tmp_path), strict=True):
        assert (failures == []) is oracle.allows(made.hops[-1].claims, asked), described(made, failures)


def test_the_same_by_the_decision_api(judged: list[tuple[kit.Case, list[str]]], tmp_path: Path) -> None:
    """Some of them with a real identity, through OPA's API, at the real time (so none that turns on a second)."""
    home, partner = stand.Issuer(kit.HOME, "h1"), stand.Issuer(kit.PARTNER, "p1")
    state = stand.trust_state(home, partner)
    trusted = {
        issuer.name: issuer.trusted(names="", domain=kit.DOMAINS[issuer.name]) for issuer in (home, partner)
    } | {kit.STRANGER: {**home.trusted(names="", domain=kit.DOMAINS[kit.STRANGER]), "keys": {}}}  # fmt: skip
    members = {name: value for name, value in kit.trust().items() if name != "issuers"}
    flows = {"segments": {
        "subjects": {}, "resources": {}, "flows": {"all": {"all": ["*"]}},
        "subject_prefixes": {name: [{"prefix": "", "segment": "all"}] for name in trusted},
        "resource_prefixes": [{"prefix": "", "segment": "all"}],
    }}  # fmt: skip
    state["trust"] |= members | flows | {"issuers": trusted, "headers": {}}
    plain = [
        (made, failures)
        for made, failures in judged
        if not made.redeemed and not made.subject["actors"] and not {"longer", "sooner", "issued"} & {*made.tried}
    ]
    chosen = [one for one in plain if not one[1]][:60] + [one for one in plain if one[1]][:140]
    policy = {"app/authz.rego": "package app.authz\n\ndecision := true\n"}
    with stand.running(installed("opa"), stand.composed(policy, "app/authz/decision", ["app"]), tmp_path) as opa:
        opa.write(state)
        for made, failures in chosen:
            issuer = {kit.HOME: home, kit.PARTNER: partner}[made.subject["issuer"]]
            decision = opa.decide({"identity": {"token": issuer.token(sub=made.subject["id"])}, **today(made).input()})
            codes = [reason["code"] for reason in decision["reasons"]]
            assert codes == failures, described(made, codes)
            assert decision["allow"] is (failures == [])
    assert len(chosen) == 200


def today(made: kit.Case) -> kit.Case:
    """The case, with the same chain as of now."""
    later = int(time.time()) - kit.NOW
    hops = [
        replace(hop, claims=hop.claims | {name: hop.claims[name] + later for name in TIMES if name in hop.claims})
        for hop in made.hops
    ]
    return replace(made, hops=hops)


def described(made: kit.Case, said: list[str]) -> str:
    """One case, so that it can be looked at and made again."""
    hops = "\n".join(json.dumps(hop.claims) for hop in made.hops)
    return (
        f"case {made.number} of seed {SEED}, tried {made.tried}; OPA: {said}\n"
        f"subject {made.subject}\nrequest {made.request}\n{hops}"
    )

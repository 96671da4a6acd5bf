"""The agent and OPA agree on what an execution rests on: it is lost where OPA would not read the same in its token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from app.local.tools import installed
from app.sidecar import footing
from app.sidecar.trust_keys import usual_headers
from bench import stand
from tests.integration.identity_kit import ECHO, OIDC, PARTNER, PEOPLE, SVIDS, TRUSTED, USUAL, WEB, Both, token

pytestmark = pytest.mark.stack

LINKS = ("partner.example", "spare.example")
#: The token's issuer, and who acts.
TOKENS: list[tuple[stand.Issuer, dict[str, Any]]] = [
    *((issuer, {}) for issuer in (OIDC, PEOPLE, SVIDS, PARTNER)),
    (PEOPLE, {"act": {"sub": "bot"}}),
    (PEOPLE, {"act": {"sub": "bot", "act": {"sub": "other"}}}),
    (PEOPLE, {"act": {"sub": WEB, "iss": SVIDS.name}}),
    (OIDC, {"act": {"sub": "ann", "iss": PEOPLE.name}}),
    (PARTNER, {"act": {"sub": "bot"}}),
]


def states() -> Iterator[tuple[str, dict[str, Any], tuple[str, ...]]]:
    """Trust states in each of which one thing is another."""
    yield "as before", TRUSTED, LINKS
    yield "no links", TRUSTED, ()
    for issuer in (OIDC, PEOPLE, SVIDS, PARTNER):
        name = issuer.name
        yield f"without {name}", {other: one for other, one in TRUSTED.items() if other != name}, LINKS
        changes: list[dict[str, Any]] = [{"keys": {}}, {"audiences": ["x"]}, {"audiences": ["x", "payments"]}]
        changes += [{"domain": domain} for domain in ("example.org", "partner.example", "foreign.example")]
        changes += [{"names": names} for names in ("", "a", "b", "spiffe://example.org/", "spiffe://example.org/x")]
        for change in changes:
            yield f"{name} with {change}", TRUSTED | {name: TRUSTED[name] | change}, LINKS


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    files = stand.composed(ECHO, "app/authz/decision", ["app"])
    with stand.running(installed("opa"), files, tmp_path_factory.mktemp("opa")) as server:
        yield Both(server)


def trusted(issuers: dict[str, Any], links: tuple[str, ...]) -> dict[str, Any]:
    linked = dict.fromkeys(links, True)
    return stand.trust_state(issuers=issuers, headers=usual_headers(issuers), links=linked, seconds=3000)


def held(text: str, found: Any, trust: dict[str, Any]) -> footing.Footing:
    """What an execution rests on that starts with this token, as OPA read it."""
    issuer, subject, domain, actors = found
    principals = [(issuer, subject), *actors]
    claims = {
        "sub_iss": issuer,
        "sub": subject,
        "domain": domain,
        "actors": [{"issuer": by, "id": name} for by, name in actors],
        "principals": [list(one) for one in principals],
        "domains": [domain],
        "warrants": [],
    }
    return footing.of(claims, {"identity": {"token": text}}, trust)


def test_what_opa_would_not_read_any_more_is_lost(both: Both) -> None:
    before = trusted(TRUSTED, LINKS)
    both.trust(before)
    tokens = [token(issuer, sub=USUAL[issuer.name], **more) for issuer, more in TOKENS]
    found = [both.by_opa(text) for text in tokens]
    rests = [held(text, one, before["trust"]) for text, one in zip(tokens, found, strict=True)]
    wrong, lost = [], 0
    for what, issuers, links in states():
        state = trusted(issuers, links)
        both.trust(state)
        for (issuer, more), text, then, one in zip(TOKENS, tokens, found, rests, strict=True):
            theirs, ours = both.by_opa(text), footing.lost(one, state["trust"], 0)
            lost += ours is not None
            if (theirs == then) != (ours is None):  # a subject of another domain is somebody else
                wrong.append((what, issuer.name, more, theirs, ours))
    assert wrong == []
    assert lost > 40

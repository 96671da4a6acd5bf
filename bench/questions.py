"""What the benchmark asks: one request in every way in which a caller may show what it may do.

- identity: one token
- warrant: and one root warrant
- proof: and one that is bound to a key, with a proof that is new for each request
- delegation: and a root that was delegated three times
- execution: inside an execution, one flat token in the place of all that
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.world import OIDC, SUPPORT, WARRANTS, Key, World, request

HOLDERS = [Key(f"holder-{n}") for n in range(4)]

#: Proofs made for one run: more than OPA answers in a second.
PROOFS = 3000

Body = dict[str, Any]


def target(rules: int) -> Body:
    """What is asked for: something that the policy of so many rules allows, by its last one. 0: the example policy."""
    if not rules:
        return request()
    last = rules - 1
    return request(action={"name": f"action-{last % 20}"}, resource={"type": "payment", "id": f"p-{last}"})


def scope(asked: Body) -> dict[str, Any]:
    """Claims of warrants and execution tokens that cover it."""
    return {"actions": [asked["action"]["name"], "read*"]}


def identity(world: World, asked: Body) -> list[Body]:
    return [{**asked, "identity": {"token": world.identity()}}]


def warrant(world: World, asked: Body) -> list[Body]:
    return [{**asked, "identity": {"token": world.identity()}, "warrant": [world.warrant(**scope(asked))]}]


def proof(world: World, asked: Body, count: int = PROOFS) -> list[Body]:
    key = HOLDERS[0]
    bound = {
        **asked,
        "identity": {"token": world.identity()},
        "warrant": [world.warrant(**scope(asked), cnf={"jwk": key.jwk})],
    }
    return [{**bound, "proof": world.proof(key, asked, jti=f"proof-{n}")} for n in range(count)]


def delegation(world: World, asked: Body) -> list[Body]:
    chain = world.chain(3, HOLDERS[:3], **scope(asked))
    return [{**asked, "identity": {"token": world.identity()}, "warrant": chain}]


def execution(world: World, asked: Body) -> list[Body]:
    return [{**asked, "execution": {"id": "run-1", "token": world.execution(**scope(asked))}}]


ROWS: dict[str, Callable[[World, Body], list[Body]]] = {
    "identity": identity,
    "warrant": warrant,
    "proof": proof,
    "delegation": delegation,
    "execution": execution,
}

#: The user policy alone finds its caller where the library would put it.
SUBJECT_STUB = f'package placet\n\nsubject := {{"id": "{SUPPORT}", "issuer": "{OIDC}"}}\n'


#: A library that verifies the tokens of the request with keys that it knows by name, asks the policy, and checks
#: nothing: no form, no claim, no scope, no lease. What no library can do without, in as few expressions as will do.
TOKENS_ALONE = f"""package placet

import data.placet.clock
import data.placet.policy

subject := {{"id": "{SUPPORT}", "issuer": "{OIDC}"}}

trust := data.placet_state.trust

decision := {{"allow": true, "bundles": data.placet_glue.bundles, "state": data.placet_state.digest}} if {{
	policy.answer.allow == true
	verified
}}

verified if {{
	holds(input.execution.token, trust.execution.keys.e1.jwks)
}} else if {{
	holds(input.identity.token, trust.issuers["{OIDC}"].keys.k1.jwks)
	some token in input.warrant
	holds(token, trust.warrant.issuers["{WARRANTS}"].keys.w1.jwks)
}} else if {{
	not input.warrant
	holds(input.identity.token, trust.issuers["{OIDC}"].keys.k1.jwks)
}}

holds(token, key) if {{
	[true, _, _] = io.jwt.decode_verify(
		token,
		{{"cert": key, "alg": "EdDSA", "aud": trust.audience, "time": clock.now}},
	)
}}
"""


def tokens_alone(composed: dict[str, str]) -> dict[str, str]:
    """The composed bundle with that in the place of its decision."""
    rest = {name: text for name, text in composed.items() if name != "placet/library/start.rego"}
    return rest | {"placet/library/decision.rego": TOKENS_ALONE}


def many_rules(count: int) -> tuple[dict[str, str], str, list[str]]:
    """A policy of `count` rules, one grant each."""
    grants = "\n".join(
        f'granted if {{\n\tinput.action.name == "action-{n % 20}"\n\tinput.resource.id == "p-{n}"\n'
        f'\tdata.placet.subject.id == "{SUPPORT}"\n}}\n'
        for n in range(count)
    )
    module = f'package rules.authz\n\ndefault decision := false\n\ndecision := {{"allow": true}} if granted\n\n{grants}'
    return {"rules/authz.rego": module}, "rules/authz/decision", ["rules"]

# What the tests of warrants start from: a control plane that issues them, an agent who may delegate, and a second agent
# of another trust domain. The keys are the examples of RFC 8032 (7.1, test 2 and 3) and RFC 7515 (A.3).
package placet.warrant_fixtures_test

import data.placet.fixtures_test as fixtures

now := fixtures.now

second := 1800000000

control_plane := "spiffe://example.org/control-plane"

audience := "spiffe://example.org/system/payments"

home := "https://issuer.example"

partner := "https://partner.example"

root_key := {
	"kty": "OKP",
	"crv": "Ed25519",
	"x": "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw",
	"d": "TM0Imyj_ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U-4pvs",
}

agent_key := {
	"kty": "OKP",
	"crv": "Ed25519",
	"x": "_FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU",
	"d": "xaqN9D-fg3vtt0QvMdy3sWbThTUHbwlLhc46LgtEWPc",
}

partner_key := {
	"kty": "EC",
	"crv": "P-256",
	"x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
	"y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
	"d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
}

public(key) := object.remove(key, ["d"])

vetted(key, alg) := {"alg": alg, "jwks": json.marshal({"keys": [public(key)]})}

state := {
	"digest": fixtures.state.digest,
	"lease": fixtures.state.lease,
	"trust": {
		"system": "payments",
		"domain": "example.org",
		"audience": audience,
		"links": {"partner.example": true},
		"issuers": {
			home: {"kind": "oidc", "domain": "example.org"},
			partner: {"kind": "oidc", "domain": "partner.example"},
			"https://stranger.example": {"kind": "oidc", "domain": "stranger.example"},
		},
		"warrant": {
			"required": true,
			"issuers": {
				control_plane: {"domain": "example.org", "keys": {
					"w1": vetted(root_key, "EdDSA"),
					"w2": vetted(partner_key, "ES256"),
				}},
				"spiffe://stranger.example/control-plane": {
					"domain": "stranger.example",
					"keys": {"w1": vetted(root_key, "EdDSA")},
				},
			},
			"revoked": {},
		},
	},
}

# Trust state with one change, as a JSON patch operation on `trust`.
state_with(op, path, value) := json.patch(state, [{
	"op": op,
	"path": array.concat(["trust"], path),
	"value": value,
}])

sign(head, claims, key) := io.jwt.encode_sign(head, claims, key)

alg(key) := "EdDSA" if key.kty == "OKP"

alg(key) := "ES256" if key.kty == "EC"

# A hop's header.
header(key) := {"alg": alg(key), "typ": "warrant+jwt"}

root_header := {"alg": "EdDSA", "kid": "w1", "typ": "warrant+jwt"}

approval := sprintf("sha256:%s", [crypto.sha256("the approval")])

root_claims := {
	"iss": control_plane,
	"sub": "alice",
	"sub_id": {"format": "iss_sub", "iss": home, "sub": "alice"},
	"aud": audience,
	"iat": second - 60,
	"exp": second + 3600,
	"jti": "root",
	"actions": ["refund", "read*"],
	"resources": ["payment/*", "ledger/main"],
}

root := sign(root_header, root_claims, root_key)

root_with(changes) := sign(root_header, object.union(root_claims, changes), root_key)

root_without(members) := sign(root_header, object.remove(root_claims, members), root_key)

# The usual chain of three: the control plane to alice for an agent, the agent to the partner's, that to another.
first_claims := object.union(root_claims, {
	"act": {"iss": home, "sub": "agent"},
	"cnf": {"jwk": public(agent_key)},
	"depth": 2,
	"constraints": {
		"amount": {"at_least": 1, "at_most": 100},
		"currency": {"in": ["EUR", "USD", 7]},
		"weight": {"at_least": 0.5},
	},
})

second_claims := {
	"iss": "agent",
	"sub": "helper",
	"sub_id": {"format": "iss_sub", "iss": partner, "sub": "helper"},
	"aud": [audience],
	"iat": second - 30,
	"nbf": second - 30,
	"exp": second + 600,
	"jti": "hop1",
	"actions": ["refund", "read.all*"],
	"resources": ["payment/p-*"],
	"constraints": {
		"amount": {"at_least": 1, "at_most": 50},
		"currency": {"in": ["EUR"]},
		"weight": {"at_least": 0.5, "at_most": 9},
		"urgent": {"in": [false]},
	},
	"cnf": {"jwk": public(partner_key)},
	"depth": 1,
}

third_claims := {
	"iss": "helper",
	"sub": "tool",
	"sub_id": {"format": "iss_sub", "iss": partner, "sub": "tool"},
	"aud": audience,
	"iat": second - 1,
	"nbf": second - 20,
	"exp": second + 60,
	"jti": "hop2",
	"actions": ["refund"],
	"resources": ["payment/p-1", "payment/p-2*"],
	"constraints": second_claims.constraints,
}

first := sign(root_header, first_claims, root_key)

hop1 := sign(header(agent_key), second_claims, agent_key)

hop2 := sign(header(partner_key), third_claims, partner_key)

hop1_with(changes) := sign(header(agent_key), object.union(second_claims, changes), agent_key)

hop2_with(changes) := sign(header(partner_key), object.union(third_claims, changes), partner_key)

hop1_without(members) := sign(header(agent_key), object.remove(second_claims, members), agent_key)

hop2_without(members) := sign(header(partner_key), object.remove(third_claims, members), partner_key)

chain := [first, hop1, hop2]

# The longest chain: alice to herself, time and again, with two keys in turn.
nine := [sign(nine_headers[min([position, 1])], nine_claims(position), nine_keys[position % 2]) |
	some position in numbers.range(0, 8)
]

nine_keys := [root_key, agent_key]

nine_headers := [root_header, header(agent_key)]

nine_claims(position) := object.union(root_claims, object.union(
	{
		"iss": ["alice", control_plane][1 - min([position, 1])],
		"jti": format_int(position, 10),
		"depth": 8 - position,
	},
	{"cnf": {"jwk": public(nine_keys[(position + 1) % 2])} | position < 8},
))

request := {
	"identity": {"token": "verified elsewhere"},
	"action": {"name": "refund"},
	"resource": {"type": "payment", "id": "p-1"},
	"context": {"amount": 40, "currency": "EUR", "weight": 1, "urgent": false},
}

request_with(warrants) := object.union(request, {"warrant": warrants})

alice := {"id": "alice", "issuer": home, "domain": "example.org", "claims": {}, "actors": []}

tool := {"id": "tool", "issuer": partner, "domain": "partner.example", "claims": {}, "actors": []}

encoded(value) := base64url.encode_no_pad(json.marshal(value))

# What stands in the place of anything else in the tests.
junk := [null, true, false, 0, -1, 7.5, 1e30, "", "text", "*", "a**", [], [[]], [null], {}, {"": null}, {"a": {"b": []}}]

root_with_member(member, value) := sign(root_header, object.union(object.remove(root_claims, [member]), {member: value}), root_key)

proof_claims := {"iat": second, "jti": "p1", "req": crypto.sha256(concat(".", [
	base64url.encode_no_pad("refund"),
	base64url.encode_no_pad("payment"),
	base64url.encode_no_pad("p-1"),
]))}

proof(key, changes) := sign({"alg": alg(key), "typ": "proof+jwt"}, object.union(proof_claims, changes), key)

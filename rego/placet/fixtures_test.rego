# What the tests start from: one issuer, a current lease, a good request. The key is the example of RFC 8037.
package placet.fixtures_test

import data.placet.certificates_fixtures_test as certificates

now := 1800000000000000000

public_key := {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}

private_key := object.union(public_key, {"d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"})

# An octet key as a foolish issuer might publish it: with it, HMAC verifies.
octet_key := {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}

issuer := "https://issuer.example"

domain := "example.org"

state := {
	"digest": "sha256:0000000000000000000000000000000000000000000000000000000000000000",
	"lease": {"issued_at_ns": now - 1000000000, "valid_until_ns": now + 9000000000},
	"trust": {
		"system": "payments",
		"domain": domain,
		"audience": "spiffe://example.org/system/payments",
		"issuers": {
			issuer: {
				"kind": "oidc",
				"domain": domain,
				"names": "",
				"audiences": ["payments", "ledger"],
				"keys": {
					"k1": {"alg": "EdDSA", "jwks": json.marshal({"keys": [public_key]})},
					"octet": {"alg": "HS256", "jwks": json.marshal({"keys": [octet_key]})},
				},
			},
			"spiffe://example.org": {
				"kind": "spiffe",
				"domain": domain,
				"names": "spiffe://example.org/",
				"audiences": ["payments"],
				"keys": {"s1": {"alg": "EdDSA", "jwks": json.marshal({"keys": [public_key]})}},
			},
		},
		"x509": {domain: [certificates.root]},
		"links": {},
		"grants": {},
		"max_identity_age_seconds": null,
		"quarantine": {"subjects": {}, "executions": {}, "domains": {}, "segments": {}},
		"warrant": {
			"required": false,
			"issuers": {"spiffe://example.org/control-plane": {
				"domain": domain,
				"keys": {"w1": {"alg": "EdDSA", "jwks": json.marshal({"keys": [public_key]})}},
			}},
			"revoked": {},
		},
		"execution": {
			"issuer": "spiffe://example.org/sidecar/payments/eu-1",
			"keys": {"e1": {"alg": "EdDSA", "jwks": json.marshal({"keys": [public_key]})}},
		},
		"environment": {"required": {}, "attesters": {}, "results": [], "revoked": {}},
		"segments": null,
		"workflows": {},
		"modes": {"shadow": [], "break_glass": []},
	},
}

# The same state when the agent has listed how headers are usually written.
state_with_headers := json.patch(state, [
	{
		"op": "add",
		"path": "/trust/headers",
		"value": {
			split(token, ".")[0]: {"issuer": issuer, "kid": "k1", "alg": "EdDSA"},
			base64url.encode_no_pad(json.marshal(octet_header)): {"issuer": issuer, "kid": "octet", "alg": "HS256"},
		},
	},
	{"op": "replace", "path": ["trust", "issuers", issuer, "audiences"], "value": ["payments"]},
	{"op": "add", "path": "/trust/execution/headers", "value": {split(sign_execution({}), ".")[0]: "e1"}},
])

octet_header := {"alg": "HS256", "kid": "octet", "typ": "JWT"}

header := {"alg": "EdDSA", "kid": "k1", "typ": "JWT"}

claims := {"iss": issuer, "sub": "alice", "aud": "payments", "exp": 1800003600, "iat": 1800000000}

sign(head, body) := io.jwt.encode_sign(head, body, private_key)

token := sign(header, claims)

token_with(changes) := sign(header, object.union(claims, changes))

token_without(claim) := sign(header, object.remove(claims, [claim]))

request := {
	"identity": {"token": token},
	"action": {"name": "read"},
	"resource": {"type": "payment", "id": "p-1"},
}

request_with(changes) := object.union(request, changes)

sign_execution(changes) := sign(execution_header, object.union(execution_claims, changes))

execution_header := {"alg": "EdDSA", "kid": "e1", "typ": "execution+jwt"}

execution_claims := {
	"iss": "spiffe://example.org/sidecar/payments/eu-1",
	"aud": "spiffe://example.org/system/payments",
	"iat": 1800000000,
	"exp": 1800000300,
	"exe": "e-1",
	"sub": "alice",
	"sub_iss": issuer,
	"domain": domain,
	"actors": [],
	"claims": claims,
	"principals": [[issuer, "alice"]],
	"domains": [domain],
	"warrants": [],
	"warrant_issuer": null,
	"actions": ["*"],
	"resources": ["*"],
	"constraints": {},
}

inside := {
	"execution": {"id": "e-1", "token": sign_execution({})},
	"action": {"name": "read"},
	"resource": {"type": "payment", "id": "p-1"},
	"context": {},
}

glue := {"value": true, "bundles": {"policy": "sha256:aa", "library": "sha256:bb"}}

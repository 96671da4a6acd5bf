package placet.proof_test

import data.placet.proof
import data.placet.warrant_fixtures_test as fixtures

# For a chain whose last warrant names the key.
failures_for(key, request) := codes if {
	token := fixtures.root_with({"cnf": {"jwk": fixtures.public(key)}})
	codes := proof.failures with input as object.union(request, {"warrant": [token]})
		with data.placet_state as fixtures.state
		with data.placet.clock.now as fixtures.now
}

failures(given) := failures_for(fixtures.agent_key, object.union(fixtures.request, {"proof": given}))

with_claims(changes) := failures(fixtures.proof(fixtures.agent_key, changes))

with_header(header) := failures(fixtures.sign(header, fixtures.proof_claims, fixtures.agent_key))

test_accepted if {
	with_claims({}) == []
	with_claims({"iat": fixtures.second - 60}) == []
	with_claims({"iat": fixtures.second + 2}) == []
	given := fixtures.proof(fixtures.partner_key, {})
	failures_for(fixtures.partner_key, object.union(fixtures.request, {"proof": given})) == []
}

test_without_a_key_no_proof_is_looked_at if {
	every request in [fixtures.request, object.union(fixtures.request, {"proof": "junk"})] {
		codes := proof.failures with input as object.union(request, {"warrant": [fixtures.root]})
			with data.placet_state as fixtures.state
			with data.placet.clock.now as fixtures.now
		codes == []
	}
}

test_without_a_verified_warrant_none_is_looked_at if {
	every chain in [null, [], ["junk"], [fixtures.first, "junk"]] {
		codes := proof.failures with input as object.union(fixtures.request, {"warrant": chain, "proof": "junk"})
			with data.placet_state as fixtures.state
			with data.placet.clock.now as fixtures.now
		codes == []
	}
}

test_missing if failures_for(fixtures.agent_key, fixtures.request) == ["warrant.proof_missing"]

test_another_key_or_signature if {
	failures(fixtures.proof(fixtures.root_key, {})) == ["warrant.proof_invalid"]
	failures(fixtures.proof(fixtures.partner_key, {})) == ["warrant.proof_invalid"]
	[head, body, signature] := split(fixtures.proof(fixtures.agent_key, {}), ".")
	later := fixtures.encoded(object.union(fixtures.proof_claims, {"iat": fixtures.second - 1}))
	every given in [
		concat(".", [head, later, signature]),
		concat(".", [head, body, ""]),
		concat(".", [head, body]),
		concat(".", [head, body, signature, "x"]),
		concat(".", [fixtures.encoded({"alg": "none", "typ": "proof+jwt"}), body, ""]),
	] {
		failures(given) == ["warrant.proof_invalid"]
	}
}

test_headers if {
	every header in [
		{"alg": "EdDSA"},
		{"alg": "EdDSA", "typ": "JWT"},
		{"alg": "EdDSA", "typ": "warrant+jwt"},
		{"alg": "EdDSA", "typ": "PROOF+JWT"},
		{"alg": "EdDSA", "typ": "proof+jwt", "kid": "k"},
	] {
		with_header(header) == ["warrant.proof_invalid"]
	}
	body := split(fixtures.proof(fixtures.agent_key, {}), ".")[1]
	every header in [
		{"alg": "EdDSA", "typ": "proof+jwt", "cty": 1},
		{"alg": "EdDSA", "typ": "proof+jwt", "crit": []},
		{"alg": "ES256", "typ": "proof+jwt"},
		{"alg": "HS256", "typ": "proof+jwt"},
		{"alg": 7, "typ": "proof+jwt"},
		[], "text", null, 7,
	] {
		failures(concat(".", [fixtures.encoded(header), body, "c2ln"])) == ["warrant.proof_invalid"]
	}
}

test_claims if {
	every member in ["iat", "jti", "req"] {
		every value in fixtures.junk {
			failures(fixtures.sign(
				{"alg": "EdDSA", "typ": "proof+jwt"},
				object.union(object.remove(fixtures.proof_claims, [member]), {member: value}),
				fixtures.agent_key,
			)) == proof_of(member, value)
		}
		failures(fixtures.sign(
			{"alg": "EdDSA", "typ": "proof+jwt"},
			object.remove(fixtures.proof_claims, [member]),
			fixtures.agent_key,
		)) == ["warrant.proof_invalid"]
	}
	every changes in [{"exp": fixtures.second + 9}, {"aud": "payments"}, {"other": 1}] {
		with_claims(changes) == ["warrant.proof_invalid"]
	}
}

# `text` is as good an id as any.
proof_of(member, value) := [] if {
	[member, value] == ["jti", "text"]
} else := ["warrant.proof_invalid"]

test_times if {
	with_claims({"iat": fixtures.second - 61}) == ["warrant.proof_invalid"]
	with_claims({"iat": fixtures.second + 3}) == ["warrant.proof_invalid"]
}

test_over_another_request if {
	given := fixtures.proof(fixtures.agent_key, {})
	every change in [
		{"action": {"name": "refund."}},
		{"action": {"name": "read"}},
		{"resource": {"type": "pay", "id": "p-1"}},
		{"resource": {"type": "payment", "id": "p-2"}},
	] {
		failures_for(fixtures.agent_key, object.union(object.union(fixtures.request, change), {"proof": given})) == ["warrant.proof_invalid"]
	}
	every member in ["action", "resource"] {
		request := object.union(object.remove(fixtures.request, [member]), {"proof": given})
		failures_for(fixtures.agent_key, request) == ["warrant.proof_invalid"]
	}
}

test_another_type if {
	every given in [null, true, false, 7, "", "text", [], {}, [fixtures.proof(fixtures.agent_key, {})]] {
		failures(given) == ["warrant.proof_invalid"]
	}
	long := sprintf("%8193d", [1])
	with_claims({"jti": long}) == ["warrant.proof_invalid"]
}

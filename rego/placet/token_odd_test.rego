# Tokens that are signed as they should be, and yet are none: too long, or of an issuer that is not what it is named.
package placet.token_odd_test

import data.placet.fixtures_test as fixtures
import data.placet.token
import data.placet.token_test

padded(length) := fixtures.token_with({"padding": concat("", [letter | some _ in numbers.range(1, length); letter := "a"])})

failures(text, state) := codes if {
	codes := token.failures with input as {"identity": {"token": text}}
		with data.placet_state as state
		with data.placet.clock.now as fixtures.now
}

# Also where the header need not be taken apart.
test_a_long_token_is_not_read if {
	every state in [fixtures.state, fixtures.state_with_headers] {
		failures(padded(5000), state) == []
		failures(padded(6200), state) == ["identity.malformed"]
	}
	count(padded(5000)) <= 8192
	count(padded(6200)) > 8192
}

replaced(path, value) := json.patch(fixtures.state, [{"op": "replace", "path": path, "value": value}])

test_only_a_spiffe_issuer_is_found_by_its_subjects if {
	failures(token_test.svid({}), fixtures.state) == []
	every kind in ["oidc", "kubernetes", "", null] {
		other := replaced(["trust", "issuers", "spiffe://example.org", "kind"], kind)
		failures(token_test.svid({}), other) == ["identity.issuer_unknown"]
		failures(token_test.svid({"iss": "spiffe://example.org"}), other) == []
	}
}

test_nobody_is_an_audience if {
	nobody := replaced(["trust", "issuers", fixtures.issuer, "audiences"], ["", "ledger"])
	every aud in [[""], ["", "other"], ""] {
		failures(fixtures.token_with({"aud": aud}), nobody) == ["identity.audience"]
	}
	failures(fixtures.token_with({"aud": ["", "ledger"]}), nobody) == []
}

test_only_what_is_wrong_is_said if {
	failures(fixtures.token_with({"aud": "other", "nbf": 1}), fixtures.state) == ["identity.audience"]
	failures(fixtures.token_with({"aud": "other", "nbf": 1800000000}), fixtures.state) == ["identity.audience"]
}

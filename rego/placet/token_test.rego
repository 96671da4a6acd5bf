package placet.token_test

import data.placet.fixtures_test as fixtures
import data.placet.token

failures(token) := failures_of({"identity": {"token": token}})

failures_of(request) := codes if {
	codes := token.failures with input as request
		with data.placet_state as fixtures.state
		with data.placet.clock.now as fixtures.now
}

encoded(value) := base64url.encode_no_pad(json.marshal(value))

test_a_good_token_gives_its_claims if {
	verified := token.verified with input as fixtures.request
		with data.placet_state as fixtures.state
		with data.placet.clock.now as fixtures.now
	verified == {"issuer": fixtures.issuer, "claims": fixtures.claims}
}

test_accepted if {
	every token in [
		fixtures.token,
		fixtures.token_with({"aud": "ledger"}),
		fixtures.token_with({"aud": ["other", "ledger"]}),
		fixtures.token_with({"nbf": 1800000000}),
		fixtures.token_with({"exp": 1800000001}),
		fixtures.token_with({"exp": 1800000000.5}),
		fixtures.token_without("iat"),
		fixtures.sign(object.remove(fixtures.header, ["typ"]), fixtures.claims),
		fixtures.sign(object.union(fixtures.header, {"typ": "at+jwt"}), fixtures.claims),
		fixtures.sign(object.union(fixtures.header, {"typ": "application/at+JWT"}), fixtures.claims),
		fixtures.sign(object.union(fixtures.header, {"typ": "JOSE"}), fixtures.claims),
	] {
		failures(token) == []
	}
}

test_missing if {
	token.failures == ["identity.missing"]
	failures_of({}) == ["identity.missing"]
	failures_of({"identity": {}}) == ["identity.missing"]
	failures_of({"identity": "text"}) == ["identity.missing"]
}

test_not_a_jwt if {
	every token in [
		"", "text", "a.b", "a.b.c", "....", 7, null, [], {}, true,
		concat(".", [encoded(fixtures.header), encoded(fixtures.claims)]),
		concat("", [fixtures.token, ".x"]),
		concat(".", [encoded(fixtures.header), encoded([1]), "c2ln"]),
		concat(".", [encoded("text"), encoded(fixtures.claims), "c2ln"]),
		concat("", [fixtures.token, concat("", [c | some _ in numbers.range(1, 9000); c := "x"])]),
	] {
		failures(token) == ["identity.malformed"]
	}
}

test_headers_that_are_not_let_through if {
	every changes in [
		{"cty": "JWT"},
		{"cty": 1},
		{"crit": ["exp"]},
		{"crit": []},
		{"b64": false},
		{"jwk": fixtures.public_key},
		{"jku": "https://evil.example"},
		{"x5c": []}, {"x5u": "https://evil.example"}, {"enc": "A256GCM"}, {"zip": "DEF"}, {"X5T": "dGh1bWI"},
		{"x5t": 7}, {"x5t": null}, {"x5t": ["dGh1bWI"]}, {"x5t#S256": {}}, {"crit": ["x5t"], "x5t": "dGh1bWI"},
		{"kid": 7},
		{"alg": 7},
		{"alg": null},
		{"typ": 7}, {"typ": null}, {"typ": ""}, {"typ": "warrant+jwt"}, {"typ": "proof+jwt"}, {"typ": "ear+jwt"},
		{"typ": "execution+jwt"}, {"typ": "logout+jwt"}, {"typ": "dpop+jwt"}, {"typ": "application/jwt"},
	] {
		token := concat(".", [encoded(object.union(fixtures.header, changes)), encoded(fixtures.claims), "c2ln"])
		failures(token) == ["identity.malformed"]
	}
	every member in ["alg", "kid"] {
		token := concat(".", [encoded(object.remove(fixtures.header, [member])), encoded(fixtures.claims), "c2ln"])
		failures(token) == ["identity.malformed"]
	}
}

test_thumbprints_are_passed_over if {
	every thumbprints in [{"x5t": "dGh1bWI"}, {"x5t#S256": "dGh1bWI"}, {"x5t": "", "x5t#S256": "dGh1bWI"}] {
		failures(fixtures.sign(object.union(fixtures.header, thumbprints), fixtures.claims)) == []
	}
}

test_issuers_that_are_not_trusted if {
	every iss in ["https://other.example", "", 7, null, [], {}, true] {
		failures(fixtures.token_with({"iss": iss})) == ["identity.issuer_unknown"]
	}
	failures(fixtures.token_without("iss")) == ["identity.issuer_unknown"]
}

test_unknown_key if {
	failures(fixtures.sign(object.union(fixtures.header, {"kid": "k2"}), fixtures.claims)) == ["identity.key_unknown"]
}

test_none_and_key_confusion if {
	unsigned := concat(".", [encoded({"alg": "none", "kid": "k1"}), encoded(fixtures.claims), ""])
	failures(unsigned) == ["identity.algorithm"]

	hmac := io.jwt.encode_sign({"alg": "HS256", "kid": "k1", "typ": "JWT"}, fixtures.claims, fixtures.octet_key)
	failures(hmac) == ["identity.algorithm"]
}

test_a_symmetric_key_in_trust_state_verifies_nothing if {
	hmac := io.jwt.encode_sign({"alg": "HS256", "kid": "octet", "typ": "JWT"}, fixtures.claims, fixtures.octet_key)
	failures(hmac) != []
}

test_a_changed_token if {
	[head, body, signature] := split(fixtures.token, ".")
	forged := encoded(object.union(fixtures.claims, {"sub": "bob"}))
	failures(concat(".", [head, forged, signature])) == ["identity.invalid"]
	failures(concat(".", [head, body, "AAAA"])) == ["identity.invalid"]
	failures(concat(".", [head, body, ""])) == ["identity.invalid"]
}

test_audiences if {
	every aud in ["other", "", [], [""], ["other"], 7, null, {"payments": "payments"}, "payments "] {
		failures(fixtures.token_with({"aud": aud})) == ["identity.audience"]
	}
	failures(fixtures.token_without("aud")) == ["identity.audience"]
}

test_audiences_of_trust_state_that_accept_nothing if {
	every audiences in [[], [""], [7], null, "payments", {}] {
		state := json.patch(fixtures.state, [{
			"op": "replace",
			"path": ["trust", "issuers", fixtures.issuer, "audiences"],
			"value": audiences,
		}])
		every aud in ["", "payments", null, 7] {
			token.failures in {["identity.audience"], ["identity.invalid"]} with input as {"identity": {"token": fixtures.token_with({"aud": aud})}}
				with data.placet_state as state
				with data.placet.clock.now as fixtures.now
		}
	}
}

test_times if {
	failures(fixtures.token_with({"exp": 1800000000})) == ["identity.expired"]
	failures(fixtures.token_with({"exp": 1})) == ["identity.expired"]
	failures(fixtures.token_with({"exp": -1})) == ["identity.expired"]
	failures(fixtures.token_with({"nbf": 1800000001})) == ["identity.not_yet_valid"]
}

test_claims if {
	every changes in [
		{"sub": ""},
		{"sub": 7},
		{"sub": null},
		{"sub": ["alice"]},
		{"exp": 253402300800},
		{"exp": 1e300},
		{"iat": "yesterday"},
	] {
		failures(fixtures.token_with(changes)) == ["identity.claims"]
	}
	failures(fixtures.token_without("sub")) == ["identity.claims"]
	failures(fixtures.token_without("exp")) == ["identity.claims"]
}

test_claims_that_the_builtin_cannot_read if {
	failures(fixtures.token_with({"exp": "1800003600"})) == ["identity.claims"]
	failures(fixtures.token_with({"nbf": "1800000000"})) == ["identity.claims"]
	failures(fixtures.token_with({"nbf": {}, "aud": "other"})) == ["identity.audience", "identity.claims"]
}

test_all_that_is_wrong_is_said if {
	failures(fixtures.token_with({"aud": "other", "exp": 1, "nbf": 1800000001})) == [
		"identity.audience", "identity.expired", "identity.not_yet_valid",
	]
}

# JWT-SVIDs

svid(changes) := fixtures.sign(
	{"alg": "EdDSA", "kid": "s1", "typ": "JWT"},
	object.union({"sub": "spiffe://example.org/web", "aud": ["payments"], "exp": 1800003600}, changes),
)

test_a_jwt_svid_needs_no_issuer if {
	every changes in [{}, {"iss": "https://spire.example"}, {"iss": "spiffe://example.org"}, {"iss": ""}] {
		verified := token.verified with input as {"identity": {"token": svid(changes)}}
			with data.placet_state as fixtures.state
			with data.placet.clock.now as fixtures.now
		verified.issuer == "spiffe://example.org"
		failures(svid(changes)) == []
	}
}

test_keys_of_another_trust_domain_verify_no_jwt_svid if {
	every sub in ["spiffe://other.org/web", "spiffe://", "spiffe:///web", "Spiffe://example.org/web", "web", "", 7, null, []] {
		failures(svid({"sub": sub})) == ["identity.issuer_unknown"]
	}
	every iss in [7, null, [], {}, true] {
		failures(svid({"iss": iss})) == ["identity.issuer_unknown"]
	}

	# A known issuer answers for its own tokens alone.
	failures(svid({"iss": fixtures.issuer})) == ["identity.key_unknown"]
}

test_issuers_of_another_form_vouch_for_nobody if {
	every issuers in [null, [], "text", {fixtures.issuer: null}, {fixtures.issuer: []}, {fixtures.issuer: {"keys": []}}] {
		token.failures != [] with input as fixtures.request
			with data.placet_state as {"trust": {"issuers": issuers}}
			with data.placet.clock.now as fixtures.now
	}
}

# With listed headers

failures_listed(text, state) := codes if {
	codes := token.failures with input as {"identity": {"token": text}}
		with data.placet_state as state
		with data.placet.clock.now as fixtures.now
}

test_a_listed_header_changes_no_verdict if {
	every token in [
		fixtures.token,
		fixtures.token_with({"aud": ["other", "payments"]}),
		fixtures.sign(object.remove(fixtures.header, ["typ"]), fixtures.claims),
	] {
		failures_listed(token, fixtures.state_with_headers) == []
	}
	[head, body, signature] := split(fixtures.token, ".")
	forged := encoded(object.union(fixtures.claims, {"sub": "bob"}))
	expected := {
		concat(".", [head, forged, signature]): "identity.invalid",
		concat(".", [head, body, ""]): "identity.invalid",
		concat(".", [head, body]): "identity.malformed",
		concat(".", [head, body, signature, "x"]): "identity.malformed",
		fixtures.token_with({"iss": "https://other.example"}): "identity.issuer_unknown",
		fixtures.token_with({"aud": "ledger"}): "identity.audience",
		fixtures.token_without("aud"): "identity.audience",
		fixtures.token_with({"aud": ""}): "identity.audience",
		fixtures.token_with({"exp": 1800000000}): "identity.expired",
		fixtures.token_without("exp"): "identity.claims",
		fixtures.token_with({"sub": 7}): "identity.claims",
	}
	every token, code in expected {
		failures_listed(token, fixtures.state_with_headers) == [code]
	}
}

test_a_list_that_does_not_fit_the_keys_vouches_for_nobody if {
	path := ["trust", "headers", split(fixtures.token, ".")[0]]
	every entry in [
		{"issuer": fixtures.issuer, "kid": "octet", "alg": "HS256"},
		{"issuer": "https://other.example", "kid": "k1", "alg": "EdDSA"},
	] {
		state := json.patch(fixtures.state_with_headers, [{"op": "replace", "path": path, "value": entry}])
		other := fixtures.sign(fixtures.header, object.union(fixtures.claims, {"iss": "https://other.example"}))
		failures_listed(other, state) != []
	}

	# The key's algorithm has changed: the header is not this key's any more, whatever the list says.
	changed := json.patch(fixtures.state_with_headers, [{
		"op": "replace",
		"path": ["trust", "issuers", fixtures.issuer, "keys", "k1", "alg"],
		"value": "ES256",
	}])
	failures_listed(fixtures.token, changed) == ["identity.algorithm"]
}

test_a_listed_symmetric_key_verifies_nothing if {
	hmac := io.jwt.encode_sign(fixtures.octet_header, fixtures.claims, fixtures.octet_key)
	split(hmac, ".")[0] in object.keys(fixtures.state_with_headers.trust.headers)
	failures_listed(hmac, fixtures.state_with_headers) != []
}

test_lists_of_another_form_are_passed_over if {
	every headers in [null, [], "text", 7, {}, {split(fixtures.token, ".")[0]: []}, {split(fixtures.token, ".")[0]: {"issuer": 7}}] {
		state := json.patch(fixtures.state_with_headers, [{"op": "replace", "path": "/trust/headers", "value": headers}])
		failures_listed(fixtures.token, state) == []
	}
}

test_a_listed_issuer_whose_audience_is_empty_accepts_nobody if {
	state := json.patch(fixtures.state_with_headers, [{
		"op": "replace",
		"path": ["trust", "issuers", fixtures.issuer, "audiences"],
		"value": [""],
	}])
	every token in [fixtures.token, fixtures.token_with({"aud": ""}), fixtures.token_without("aud")] {
		failures_listed(token, state) == ["identity.audience"]
	}
}

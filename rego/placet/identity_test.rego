package placet.identity_test

import data.placet.fixtures_test as fixtures
import data.placet.identity

failure(token) := failure_of({"identity": {"token": token}})

failure_of(request) := code if {
	code := identity.failure with input as request
		with data.placet_state as fixtures.state
		with data.placet.clock.now as fixtures.now
}

encoded(value) := base64url.encode_no_pad(json.marshal(value))

test_a_good_token_gives_its_subject if {
	subject := identity.subject with input as fixtures.request
		with data.placet_state as fixtures.state
		with data.placet.clock.now as fixtures.now
	subject == {"id": "alice", "issuer": fixtures.issuer, "claims": fixtures.claims}
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
	] {
		failure(token) == null
	}
}

test_missing if {
	identity.failure == "identity.missing"
	failure_of({}) == "identity.missing"
	failure_of({"identity": {}}) == "identity.missing"
	failure_of({"identity": "text"}) == "identity.missing"
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
		failure(token) == "identity.malformed"
	}
}

test_another_member_beside_the_token if {
	failure_of({"identity": {"token": fixtures.token, "subject": "bob"}}) == "identity.malformed"
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
		{"x5c": []},
		{"kid": 7},
		{"alg": 7},
		{"alg": null},
		{"typ": 7},
	] {
		token := concat(".", [encoded(object.union(fixtures.header, changes)), encoded(fixtures.claims), "c2ln"])
		failure(token) == "identity.malformed"
	}
	every member in ["alg", "kid"] {
		token := concat(".", [encoded(object.remove(fixtures.header, [member])), encoded(fixtures.claims), "c2ln"])
		failure(token) == "identity.malformed"
	}
}

test_issuers_that_are_not_trusted if {
	every iss in ["https://other.example", "", 7, null, [], {}, true] {
		failure(fixtures.token_with({"iss": iss})) == "identity.issuer_unknown"
	}
	failure(fixtures.token_without("iss")) == "identity.issuer_unknown"
}

test_unknown_key if {
	failure(fixtures.sign(object.union(fixtures.header, {"kid": "k2"}), fixtures.claims)) == "identity.key_unknown"
}

test_none_and_key_confusion if {
	unsigned := concat(".", [encoded({"alg": "none", "kid": "k1"}), encoded(fixtures.claims), ""])
	failure(unsigned) == "identity.algorithm"

	hmac := io.jwt.encode_sign({"alg": "HS256", "kid": "k1", "typ": "JWT"}, fixtures.claims, fixtures.octet_key)
	failure(hmac) == "identity.algorithm"
}

test_a_symmetric_key_in_trust_state_verifies_nothing if {
	hmac := io.jwt.encode_sign({"alg": "HS256", "kid": "octet", "typ": "JWT"}, fixtures.claims, fixtures.octet_key)
	failure(hmac) != null
}

test_a_changed_token if {
	[head, body, signature] := split(fixtures.token, ".")
	forged := encoded(object.union(fixtures.claims, {"sub": "bob"}))
	failure(concat(".", [head, forged, signature])) == "identity.invalid"
	failure(concat(".", [head, body, "AAAA"])) == "identity.invalid"
	failure(concat(".", [head, body, ""])) == "identity.invalid"
}

test_audiences if {
	every aud in ["other", "", [], [""], ["other"], 7, null, {"payments": "payments"}, "payments "] {
		failure(fixtures.token_with({"aud": aud})) == "identity.audience"
	}
	failure(fixtures.token_without("aud")) == "identity.audience"
}

test_audiences_of_trust_state_that_accept_nothing if {
	every audiences in [[], [""], [7], null, "payments", {}] {
		state := json.patch(fixtures.state, [{
			"op": "replace",
			"path": ["trust", "issuers", fixtures.issuer, "audiences"],
			"value": audiences,
		}])
		every aud in ["", "payments", null, 7] {
			identity.failure in {"identity.audience", "identity.invalid"} with input as {"identity": {"token": fixtures.token_with({"aud": aud})}}
				with data.placet_state as state
				with data.placet.clock.now as fixtures.now
		}
	}
}

test_times if {
	failure(fixtures.token_with({"exp": 1800000000})) == "identity.expired"
	failure(fixtures.token_with({"exp": 1})) == "identity.expired"
	failure(fixtures.token_with({"exp": -1})) == "identity.expired"
	failure(fixtures.token_with({"nbf": 1800000001})) == "identity.not_yet_valid"
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
		failure(fixtures.token_with(changes)) == "identity.claims"
	}
	failure(fixtures.token_without("sub")) == "identity.claims"
	failure(fixtures.token_without("exp")) == "identity.claims"
}

test_claims_that_the_builtin_refuses if {
	failure(fixtures.token_with({"exp": "1800003600"})) == "identity.invalid"
	failure(fixtures.token_with({"nbf": "1800000000"})) == "identity.invalid"
}

test_issuers_of_another_form_vouch_for_nobody if {
	every issuers in [null, [], "text", {fixtures.issuer: null}, {fixtures.issuer: []}, {fixtures.issuer: {"keys": []}}] {
		identity.failure != null with input as fixtures.request
			with data.placet_state as {"trust": {"issuers": issuers}}
			with data.placet.clock.now as fixtures.now
	}
}

# With listed headers

failure_listed(token, state) := code if {
	code := identity.failure with input as {"identity": {"token": token}}
		with data.placet_state as state
		with data.placet.clock.now as fixtures.now
}

test_a_listed_header_changes_no_verdict if {
	every token in [
		fixtures.token,
		fixtures.token_with({"aud": ["other", "payments"]}),
		fixtures.sign(object.remove(fixtures.header, ["typ"]), fixtures.claims),
	] {
		failure_listed(token, fixtures.state_with_headers) == null
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
		failure_listed(token, fixtures.state_with_headers) == code
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
		failure_listed(other, state) != null
	}

	# The key's algorithm has changed: the header is not this key's any more, whatever the list says.
	changed := json.patch(fixtures.state_with_headers, [{
		"op": "replace",
		"path": ["trust", "issuers", fixtures.issuer, "keys", "k1", "alg"],
		"value": "ES256",
	}])
	failure_listed(fixtures.token, changed) == "identity.algorithm"
}

test_a_listed_symmetric_key_verifies_nothing if {
	hmac := io.jwt.encode_sign(fixtures.octet_header, fixtures.claims, fixtures.octet_key)
	split(hmac, ".")[0] in object.keys(fixtures.state_with_headers.trust.headers)
	failure_listed(hmac, fixtures.state_with_headers) != null
}

test_lists_of_another_form_are_passed_over if {
	every headers in [null, [], "text", 7, {}, {split(fixtures.token, ".")[0]: []}, {split(fixtures.token, ".")[0]: {"issuer": 7}}] {
		state := json.patch(fixtures.state_with_headers, [{"op": "replace", "path": "/trust/headers", "value": headers}])
		failure_listed(fixtures.token, state) == null
	}
}

test_a_listed_issuer_whose_audience_is_empty_accepts_nobody if {
	state := json.patch(fixtures.state_with_headers, [{
		"op": "replace",
		"path": ["trust", "issuers", fixtures.issuer, "audiences"],
		"value": [""],
	}])
	every token in [fixtures.token, fixtures.token_with({"aud": ""}), fixtures.token_without("aud")] {
		failure_listed(token, state) == "identity.audience"
	}
}

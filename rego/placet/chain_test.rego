package placet.chain_test

import data.placet.chain
import data.placet.warrant_fixtures_test as fixtures

judged_in(state, warrants) := found if {
	found := {
		"verified": [holds | some one in chain.claims; holds := one != null],
		"faults": chain.faults,
	} with input as fixtures.request_with(warrants)
		with data.placet_state as state
		with data.placet.clock.now as fixtures.now
}

judged(warrants) := judged_in(fixtures.state, warrants)

of_root(token) := judged([token])

good := {"verified": [true], "faults": set()}

bad(fault) := {"verified": [false], "faults": {fault}}

test_verified if {
	of_root(fixtures.root) == good
	of_root(fixtures.root_with({"approval": fixtures.approval})) == good
	judged(fixtures.chain) == {"verified": [true, true, true], "faults": set()}
	judged(fixtures.nine) == {"verified": [true | some _ in numbers.range(1, 9)], "faults": set()}
}

test_out_of_time_and_for_others_is_verified_all_the_same if {
	every changes in [
		{"exp": fixtures.second - 1},
		{"iat": 0, "exp": 1},
		{"nbf": fixtures.second + 1},
		{"aud": "other"},
		{"aud": ["other", "another"]},
		{"aud": "other", "exp": fixtures.second - 1},
		{"nbf": fixtures.second + 3599},
		{"iat": 253402300798, "exp": 253402300799},
	] {
		of_root(fixtures.root_with(changes)) == good
	}
}

test_lists_of_another_form if {
	every warrants in [null, true, false, 7, "text", "e", [], {}, {"0": fixtures.root}, array.concat(fixtures.nine, [fixtures.root])] {
		judged(warrants) == {"verified": [], "faults": {"warrant.malformed"}}
	}
	chain.claims == []
	chain.faults == {"warrant.malformed"}
}

test_not_a_warrant if {
	every token in array.concat(fixtures.junk, [
		"a.b", "a.b.c", "....", [fixtures.root], {"jwt": fixtures.root},
		concat("", [fixtures.root, ".x"]),
		concat("", [fixtures.root, sprintf("%8192d", [1])]),
		concat(".", array.slice(split(fixtures.root, "."), 0, 2)),
		concat(".", [fixtures.encoded(fixtures.root_header), fixtures.encoded([1]), "c2ln"]),
		concat(".", [fixtures.encoded("text"), fixtures.encoded(fixtures.root_claims), "c2ln"]),
	]) {
		of_root(token) == bad("warrant.malformed")
	}
}

test_headers if {
	body := split(fixtures.root, ".")[1]
	signature := split(fixtures.root, ".")[2]
	every header in [
		{"alg": "EdDSA", "kid": "w1"},
		{"alg": "EdDSA", "kid": "w1", "typ": "JWT"},
		{"alg": "EdDSA", "kid": "w1", "typ": "WARRANT+JWT"},
		{"alg": "EdDSA", "kid": "w1", "typ": "application/warrant+jwt"},
		{"alg": "EdDSA", "kid": "w1", "typ": "proof+jwt"},
		{"alg": "EdDSA", "kid": "w1", "typ": 7},
		{"alg": "EdDSA", "kid": 7, "typ": "warrant+jwt"},
		{"alg": "EdDSA", "kid": null, "typ": "warrant+jwt"},
		{"alg": "none", "kid": "w1", "typ": "warrant+jwt"},
		{"alg": "HS256", "kid": "w1", "typ": "warrant+jwt"},
		{"alg": "RS256", "kid": "w1", "typ": "warrant+jwt"},
		{"alg": "ES384", "kid": "w1", "typ": "warrant+jwt"},
		{"alg": "eddsa", "kid": "w1", "typ": "warrant+jwt"},
		{"alg": 7, "kid": "w1", "typ": "warrant+jwt"},
		{"kid": "w1", "typ": "warrant+jwt"},
		object.union(fixtures.root_header, {"cty": "JWT"}),
		object.union(fixtures.root_header, {"cty": 1}),
		object.union(fixtures.root_header, {"crit": ["exp"]}),
		object.union(fixtures.root_header, {"crit": []}),
		object.union(fixtures.root_header, {"b64": false}),
		object.union(fixtures.root_header, {"jwk": fixtures.public(fixtures.root_key)}),
		object.union(fixtures.root_header, {"jku": "https://evil.example"}),
		object.union(fixtures.root_header, {"x5c": []}),
		[], "text", 7, null,
	] {
		of_root(concat(".", [fixtures.encoded(header), body, signature])) == bad("warrant.malformed")
	}
}

test_issuers_that_are_not_trusted if {
	every iss in ["https://nobody.example", "spiffe://stranger.example/control-plane", "alice"] {
		of_root(fixtures.root_with({"iss": iss})) == bad("warrant.issuer_unknown")
	}
	every value in [null, [], {}, true, 7, {fixtures.control_plane: null}, {fixtures.control_plane: []}] {
		judged_in(fixtures.state_with("replace", ["warrant", "issuers"], value), [fixtures.root]) == bad("warrant.issuer_unknown")
	}
	judged_in({}, [fixtures.root]) == bad("warrant.issuer_unknown")
}

test_keys_that_are_not_known if {
	every header in [
		{"alg": "EdDSA", "kid": "w9", "typ": "warrant+jwt"},
		{"alg": "EdDSA", "kid": "", "typ": "warrant+jwt"},
		{"alg": "EdDSA", "typ": "warrant+jwt"},
	] {
		of_root(fixtures.sign(header, fixtures.root_claims, fixtures.root_key)) == bad("warrant.key_unknown")
	}
	every value in [null, [], {}, true, 7, "w1"] {
		state := fixtures.state_with("replace", ["warrant", "issuers", fixtures.control_plane, "keys"], value)
		judged_in(state, [fixtures.root]) == bad("warrant.key_unknown")
	}
}

test_another_algorithm_than_the_keys if {
	es256 := fixtures.sign({"alg": "ES256", "kid": "w1", "typ": "warrant+jwt"}, fixtures.root_claims, fixtures.partner_key)
	of_root(es256) == bad("warrant.algorithm")
	hop := fixtures.sign(fixtures.header(fixtures.partner_key), fixtures.second_claims, fixtures.partner_key)
	judged([fixtures.first, hop]) == {"verified": [true, false], "faults": {"warrant.algorithm"}}
}

test_a_symmetric_key_in_trust_state_verifies_nothing if {
	key := {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}
	token := fixtures.sign({"alg": "HS256", "kid": "w3", "typ": "warrant+jwt"}, fixtures.root_claims, key)
	path := ["warrant", "issuers", fixtures.control_plane, "keys", "w3"]
	state := fixtures.state_with("add", path, {"alg": "HS256", "jwks": json.marshal({"keys": [key]})})
	judged_in(state, [token]) == bad("warrant.malformed")
}

test_changed_and_unsigned_tokens if {
	[head, body, signature] := split(fixtures.root, ".")
	every token in [
		concat(".", [head, fixtures.encoded(object.union(fixtures.root_claims, {"actions": ["*"]})), signature]),
		concat(".", [head, body, "AAAA"]),
		concat(".", [head, body, ""]),
		fixtures.sign(fixtures.root_header, fixtures.root_claims, fixtures.agent_key),
	] {
		of_root(token) == bad("warrant.invalid")
	}
}

test_a_hop_must_bear_the_key_that_the_one_before_names if {
	# By the root's key, by another key, and without a key to bear.
	every key in [fixtures.root_key, object.union(fixtures.root_key, {})] {
		hop := fixtures.sign(fixtures.header(key), fixtures.second_claims, key)
		judged([fixtures.first, hop]) == {"verified": [true, false], "faults": {"warrant.invalid"}}
	}
	judged([fixtures.root, fixtures.hop1]) == {"verified": [true, false], "faults": {"warrant.invalid"}}

	# What follows one that does not verify verifies neither, in whatever order.
	judged([fixtures.first, fixtures.hop2]) == {"verified": [true, false], "faults": {"warrant.algorithm"}}
	judged([fixtures.hop1, fixtures.hop2]) == {"verified": [false, false], "faults": {"warrant.issuer_unknown"}}
	judged([fixtures.first, fixtures.first, fixtures.hop1]) == {"verified": [true, false, false], "faults": {"warrant.invalid"}}
	judged([fixtures.first, "junk", fixtures.hop2]) == {"verified": [true, false, false], "faults": {"warrant.malformed"}}
	forged := fixtures.sign(fixtures.header(fixtures.root_key), fixtures.second_claims, fixtures.root_key)
	judged([fixtures.first, forged, "junk"]) == {"verified": [true, false, false], "faults": {"warrant.malformed", "warrant.invalid"}}
}

test_a_key_that_is_none if {
	every jwk in [
		{"kty": "OKP", "crv": "Ed25519", "x": ""},
		{"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
		{"kty": "OKP", "crv": "Ed25519", "x": "not base64"},
		{"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"},
	] {
		first := fixtures.sign(
			fixtures.root_header, json.patch(fixtures.first_claims, [{
				"op": "replace",
				"path": "/cnf/jwk",
				"value": jwk,
			}]),
			fixtures.root_key,
		)
		judged([first, fixtures.hop1]).verified == [true, false]
	}
}

test_nothing_else_stands_beside_a_key if {
	every more in [
		{"alg": "EdDSA"}, {"kid": "other"}, {"use": "enc"}, {"k": "c2VjcmV0"}, {"key_ops": []},
		{"d": fixtures.agent_key.d}, {"n": "AQAB"}, {"y": "AAAA"}, {"x5c": [1]},
	] {
		of_root(fixtures.root_with({"cnf": {"jwk": object.union(fixtures.public(fixtures.agent_key), more)}})) == bad("warrant.malformed")
	}
}

# Claims

test_claims_that_must_be_there if {
	every member, _ in fixtures.root_claims {
		of_root(fixtures.root_without([member])) == bad("warrant.malformed")
	}
}

test_a_subject_of_another_type if refused("sub_id", fixtures.junk)

test_actions_of_another_type if refused("actions", fixtures.junk)

test_resources_of_another_type if refused("resources", fixtures.junk)

test_an_actor_of_another_type if refused("act", fixtures.junk)

test_a_key_of_another_type if refused("cnf", fixtures.junk)

test_an_end_of_another_type if refused("exp", fixtures.junk)

test_times_of_another_type if {
	refused("nbf", [null, true, -1, 7.5, 1e30, "", "text", [], [7], fixtures.second + 3600])
	refused("iat", [null, true, -1, 7.5, "1", 1e30, [], fixtures.second + 3600])
}

test_numbers_of_another_type if {
	refused("uses", [null, true, 0, -1, 7.5, 1e30, "1", [], [1]])
	refused("depth", [null, true, -1, 9, 7.5, "1", [], [1]])
}

test_names_of_another_type if {
	long := concat("", [c | some _ in numbers.range(1, 65); c := "x"])
	refused("approval", [null, true, 7, "", "sha256:", upper(fixtures.approval), concat("", [fixtures.approval, "0"]), {}, [fixtures.approval]])
	refused("jti", [null, true, 0, "", "a b", "a/b", "ä", "a\n", long, ["a"]])
	refused("iss", [null, true, 0, "", ["a"]])
	refused("sub", [null, true, 0, "", "bob", ["alice"]])
}

test_audiences_of_another_type if refused("aud", [null, true, 0, "", [], [null], [""], [7], ["a", ""], {"a": "b"}])

test_other_members if {
	refused("constraints", [null, true, 0, "text", [], [null], {"": null}, {"amount": {}}])
	refused("other", [null, 1, "text"])
	refused("scope", ["refund"])
}

refused(member, values) if {
	every value in values {
		of_root(fixtures.root_with_member(member, value)) == bad("warrant.malformed")
	}
}

test_subject_actor_and_key_of_another_form if {
	every value in [
		{"format": "iss_sub", "iss": fixtures.home},
		{"format": "iss_sub", "sub": "alice"},
		{"format": "iss_sub", "iss": fixtures.home, "sub": "bob"},
		{"format": "iss_sub", "iss": "", "sub": "alice"},
		{"format": "iss_sub", "iss": 7, "sub": "alice"},
		{"format": "opaque", "iss": fixtures.home, "sub": "alice"},
		{"iss": fixtures.home, "sub": "alice"},
		{"format": "iss_sub", "iss": fixtures.home, "sub": "alice", "more": 1},
	] {
		of_root(fixtures.root_with_member("sub_id", value)) == bad("warrant.malformed")
	}
	every value in [
		{"iss": fixtures.home},
		{"sub": "agent"},
		{"iss": fixtures.home, "sub": ""},
		{"iss": "", "sub": "agent"},
		{"iss": 7, "sub": "agent"},
		{"iss": fixtures.home, "sub": ["agent"]},
		{"iss": fixtures.home, "sub": "agent", "act": {"iss": fixtures.home, "sub": "other"}},
	] {
		of_root(fixtures.root_with_member("act", value)) == bad("warrant.malformed")
	}
	every jwk in [
		null, "text", [], {},
		{"kty": "OKP", "crv": "Ed25519"},
		{"kty": "OKP", "crv": "Ed25519", "x": 7},
		{"kty": "OKP", "crv": "P-256", "x": "AAAA", "y": "AAAA"},
		{"kty": "OKP", "crv": "X25519", "x": "AAAA"},
		{"kty": "EC", "crv": "Ed25519", "x": "AAAA"},
		{"kty": "EC", "crv": "P-256", "x": "AAAA"},
		{"kty": "EC", "crv": "P-256", "x": "AAAA", "y": 7},
		{"kty": "EC", "crv": "P-384", "x": "AAAA", "y": "AAAA"},
		{"kty": "oct", "k": "AAAA"},
		{"kty": "RSA", "n": "AAAA", "e": "AQAB"},
	] {
		of_root(fixtures.root_with_member("cnf", {"jwk": jwk})) == bad("warrant.malformed")
	}
	key := fixtures.public(fixtures.agent_key)
	of_root(fixtures.root_with_member("cnf", {"jwk": key, "kid": "k"})) == bad("warrant.malformed")
	of_root(fixtures.root_with_member("cnf", {"jkt": "AAAA"})) == bad("warrant.malformed")
}

test_a_thing_beside_another_is_no_subject if {
	every sub in [7, true, null, ["alice"], {"a": "alice"}] {
		claims := object.union(object.remove(fixtures.root_claims, ["sub", "sub_id"]), {
			"sub": sub,
			"sub_id": {"format": "iss_sub", "iss": fixtures.home, "sub": sub},
		})
		of_root(fixtures.sign(fixtures.root_header, claims, fixtures.root_key)) == bad("warrant.malformed")
	}
}

package placet.environment_test

import data.placet.environment
import data.placet.warrant_fixtures_test as fixtures

sidecar := "spiffe://example.org/sidecar/payments/eu-1"

attester := "spiffe://example.org/control-plane"

header := {"alg": "EdDSA", "kid": "a1", "typ": "ear+jwt"}

claims := {
	"iss": attester,
	"sub": sidecar,
	"sub_id": {"format": "iss_sub", "iss": "spiffe://example.org", "sub": sidecar},
	"aud": fixtures.audience,
	"iat": fixtures.second - 100,
	"exp": fixtures.second + 900,
	"jti": "r1",
	"eat_profile": "https://placet.dev/environment/v1",
	"submods": {
		"image": {"ear.status": "affirming", "digest": "sha256:aa"},
		"region": {"ear.status": "affirming", "region": "eu-1"},
	},
}

result(changes) := fixtures.sign(header, object.union(claims, changes), fixtures.root_key)

about_alice := {"sub": "alice", "sub_id": {"format": "iss_sub", "iss": fixtures.home, "sub": "alice"}}

required := {
	"image": {"max_age_seconds": 300, "accept": {"digest": ["sha256:aa", "sha256:bb"]}},
	"region": {"max_age_seconds": 3600, "accept": {}},
}

# Trust state with these members of `environment`.
state(changes) := json.patch(fixtures.state, [
	{"op": "add", "path": "/trust/execution", "value": {"issuer": sidecar}},
	{"op": "add", "path": "/trust/environment", "value": object.union(
		{
			"required": required,
			"attesters": {
				attester: {"domain": "example.org", "keys": {
					"a1": fixtures.vetted(fixtures.root_key, "EdDSA"),
					"a2": fixtures.vetted(fixtures.partner_key, "ES256"),
				}},
				"spiffe://stranger.example/control-plane": {
					"domain": "stranger.example",
					"keys": {"a1": fixtures.vetted(fixtures.root_key, "EdDSA")},
				},
			},
			"results": [result({})],
			"revoked": {},
		},
		changes,
	)},
])

# A member of `environment` of any type.
replaced(member, value) := json.patch(state({}), [{"op": "replace", "path": ["trust", "environment", member], "value": value}])

judged(state, presented) := found if {
	found := {"failures": environment.failures, "expires_at": environment.expires_at} with input as presented
		with data.placet_state as state
		with data.placet.identity.subject as fixtures.alice
		with data.placet.clock.now as fixtures.now
}

failures(state, presented) := judged(state, presented).failures

with_result(changes) := failures(state({"results": [result(changes)]}), {})

test_affirmed if {
	judged(state({}), {}) == {"failures": [], "expires_at": fixtures.second + 200}
	with_result({"aud": ["other", fixtures.audience]}) == []
	with_result({"nbf": fixtures.second}) == []
	with_result({"iat": fixtures.second + 2}) == []
}

test_nothing_required if {
	every changes in [{}, {"results": []}, {"results": null}] {
		quiet := json.patch(state(changes), [{"op": "replace", "path": "/trust/environment/required", "value": {}}])
		judged(quiet, {"environment": 7}) == {"failures": [], "expires_at": null}
	}
}

test_it_holds_as_long_as_the_best_result_of_each_kind if {
	older := result({"iat": fixtures.second - 290, "jti": "r0"})
	shorter := result({"exp": fixtures.second + 50, "jti": "r2"})
	judged(state({"results": [older, shorter, result({})]}), {}).expires_at == fixtures.second + 200
	judged(state({"results": [older, shorter]}), {}).expires_at == fixtures.second + 50
	judged(state({"results": [older]}), {}).expires_at == fixtures.second + 10
}

test_results_may_come_from_sidecar_and_caller if {
	half := result({"submods": {"region": claims.submods.region}})
	other := result(object.union(about_alice, {"jti": "r3"}))
	with_result({"submods": {"region": claims.submods.region}}) == []
	every presented in [[other], [half, other], ["junk", other], ["junk", "junk", "junk", other]] {
		failures(state({"results": []}), {"environment": presented}) == []
	}
}

test_missing if {
	judged(state({"results": []}), {}) == {"failures": ["environment.missing"], "expires_at": null}
	half := result({"submods": {"image": {"ear.status": "none"}}})
	judged(state({"results": [half]}), {}) == {"failures": ["environment.rejected"], "expires_at": null}
	failures(state({"results": [fixtures.sign(header, object.union(object.remove(claims, ["submods"]), {"submods": {}}), fixtures.root_key)]}), {}) == ["environment.missing"]
}

test_invalid if {
	every changes in [
		{"iss": "https://nobody.example"},
		{"iss": "spiffe://stranger.example/control-plane"},
		{"iss": 7},
		{"sub": "spiffe://example.org/sidecar/payments/other"},
		{"sub": null},
		{"aud": "spiffe://example.org/system/other"},
		{"aud": []},
		{"aud": null},
		{"eat_profile": "other"},
		{"submods": null},
		{"submods": [{"image": {}}]},
		{"jti": "gone"},
		{"jti": 7},
		{"jti": null},
		{"iat": fixtures.second + 3},
		{"iat": "1800000000"},
		{"padding": sprintf("%6000d", [1])},
		{"iat": null},
		{"iat": -1},
		{"exp": "1800000900"},
		{"exp": null},
		{"nbf": fixtures.second + 1},
		{"nbf": null},
		{"nbf": "1"},
	] {
		failures(state({"results": [result(changes)], "revoked": {"gone": {"expires_at": 1}}}), {}) == ["environment.invalid"]
	}
	every member in ["iss", "sub", "aud", "iat", "exp", "jti", "eat_profile", "submods"] {
		failures(state({"results": [fixtures.sign(header, object.remove(claims, [member]), fixtures.root_key)]}), {}) == ["environment.invalid"]
	}
}

test_headers_and_signatures if {
	body := split(result({}), ".")[1]
	signature := split(result({}), ".")[2]
	every token in [
		null, 7, "", "a.b", "a.b.c", [], {}, true,
		concat("", [result({}), ".x"]),
		concat("", [result({}), sprintf("%9000d", [1])]),
		concat(".", [fixtures.encoded(header), body, ""]),
		concat(".", [fixtures.encoded(header), fixtures.encoded(object.union(claims, {"sub": "x"})), signature]),
		concat(".", [fixtures.encoded({"alg": "none", "kid": "a1", "typ": "ear+jwt"}), body, ""]),
		fixtures.sign(object.union(header, {"typ": "JWT"}), claims, fixtures.root_key),
		fixtures.sign(object.union(header, {"kid": "a2"}), claims, fixtures.root_key),
		fixtures.sign(object.union(header, {"kid": "a9"}), claims, fixtures.root_key),
		fixtures.sign(object.remove(header, ["kid"]), claims, fixtures.root_key),
		fixtures.sign(header, claims, fixtures.agent_key),
		concat(".", [fixtures.encoded(object.union(header, {"cty": 1})), body, signature]),
		concat(".", [fixtures.encoded(object.union(header, {"crit": []})), body, signature]),
	] {
		failures(state({"results": [token]}), {}) == ["environment.invalid"]
	}
	es256 := fixtures.sign({"alg": "ES256", "kid": "a2", "typ": "ear+jwt"}, claims, fixtures.partner_key)
	failures(state({"results": [es256]}), {}) == []
}

test_a_symmetric_key_in_trust_state_attests_nothing if {
	key := {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}
	token := fixtures.sign({"alg": "HS256", "kid": "a3", "typ": "ear+jwt"}, claims, key)
	foolish := json.patch(state({"results": [token]}), [{
		"op": "add",
		"path": ["trust", "environment", "attesters", attester, "keys", "a3"],
		"value": {"alg": "HS256", "jwks": json.marshal({"keys": [key]})},
	}])
	failures(foolish, {}) == ["environment.invalid"]
}

test_about_somebody_else if {
	every changes in [
		about_alice,
		{"sub": "alice"},
	] {
		with_result(changes) == ["environment.invalid"]
	}
	every changes in [
		{},
		{"sub": "alice"},
		{"sub_id": {"format": "iss_sub", "iss": fixtures.home, "sub": "bob"}},
		{"sub_id": {"format": "iss_sub", "iss": fixtures.partner, "sub": "alice"}},
		{"sub_id": {"format": "opaque", "iss": fixtures.home, "sub": "alice"}},
		{"sub_id": null},
	] {
		failures(state({"results": []}), {"environment": [result(changes)]}) == ["environment.invalid"]
	}
	unknown := environment.failures with input as {"environment": [result(about_alice)]}
		with data.placet_state as state({"results": []})
		with data.placet.clock.now as fixtures.now
	unknown == ["environment.invalid"]
}

test_an_attester_of_another_domain_speaks_for_that_domain_alone if {
	foreign := "spiffe://partner.example/control-plane"
	linked := {"attesters": {foreign: {
		"domain": "partner.example",
		"keys": {"a1": fixtures.vetted(fixtures.root_key, "EdDSA")},
	}}}
	failures(state(object.union(linked, {"results": [result({"iss": foreign})]})), {}) == ["environment.invalid"]
	about_helper := {"sub": "helper", "sub_id": {"format": "iss_sub", "iss": fixtures.partner, "sub": "helper"}}
	presented := {"environment": [result(object.union(about_helper, {"iss": foreign}))]}
	helper := object.union(fixtures.tool, {"id": "helper"})
	alone := state(object.union(linked, {"results": []}))
	[] == environment.failures with input as presented
		with data.placet_state as alone
		with data.placet.identity.subject as helper
		with data.placet.clock.now as fixtures.now
	unlinked := json.patch(alone, [{"op": "replace", "path": "/trust/links", "value": {}}])
	["environment.invalid"] == environment.failures with input as presented
		with data.placet_state as unlinked
		with data.placet.identity.subject as helper
		with data.placet.clock.now as fixtures.now
	about_home := {"environment": [result(object.union(about_alice, {"iss": foreign}))]}
	failures(alone, about_home) == ["environment.invalid"]
}

test_stale if {
	with_result({"iat": fixtures.second - 300}) == ["environment.stale"]
	with_result({"exp": fixtures.second}) == ["environment.stale"]
	with_result({"exp": fixtures.second - 1}) == ["environment.stale"]
}

test_rejected if {
	every status in ["warning", "contraindicated", "none", "", null, 7, true, [], "Affirming", "affirming "] {
		with_result({"submods": {"image": {"ear.status": status, "digest": "sha256:aa"}}}) == ["environment.rejected"]
	}
	every value in ["sha256:cc", "", null, ["sha256:aa"], 7] {
		with_result({"submods": {"image": {"digest": value}}}) == ["environment.rejected"]
	}
	with_result({"submods": {"image": "affirming"}}) == ["environment.rejected"]

	# What holds still says more than what has expired.
	no := {"submods": {"image": {"ear.status": "none"}}}
	old := {"iat": fixtures.second - 300}
	failures(state({"results": [result(no), result(old)]}), {}) == ["environment.rejected"]
	failures(state({"results": [result(object.union(no, old)), result(old)]}), {}) == ["environment.stale"]
	with_result({"iat": fixtures.second - 400, "submods": {"image": {"digest": "sha256:cc"}}}) == ["environment.rejected"]
}

test_every_lack_is_reported_in_the_order_of_the_table if {
	more := object.union(required, {
		"node": {"max_age_seconds": 10, "accept": {}},
		"posture": {"max_age_seconds": 300, "accept": {}},
	})
	token := result({"submods": {"image": {"ear.status": "warning"}, "node": {"ear.status": "affirming"}}})
	failures(state({"required": more, "results": [token]}), {}) == [
		"environment.missing",
		"environment.stale",
		"environment.rejected",
	]
	failures(state({"required": more, "results": [token, "junk"]}), {}) == [
		"environment.invalid",
		"environment.stale",
		"environment.rejected",
	]
}

test_presented_results_of_another_form_count_for_nothing if {
	token := result(about_alice)
	every presented in [null, 7, true, "text", token, {"a": token}, [[token]], [{"token": token}], [null], [token, token, token, token, token]] {
		failures(state({"results": []}), {"environment": presented}) != []
	}
}

test_trust_state_of_another_form_affirms_nothing if {
	every value in [null, true, false, 7, "text", [], ["image"]] {
		failures(replaced("required", value), {}) != []
		failures(replaced("attesters", value), {}) != []
		failures(replaced("results", value), {}) != []
		failures(replaced("revoked", value), {}) != []
	}
	every demand in [null, true, 7, "text", [], {}, {"max_age_seconds": 300}, {"max_age_seconds": "300", "accept": {}}, {"max_age_seconds": 300, "accept": []}, {"max_age_seconds": 300, "accept": null}, {"max_age_seconds": 300, "accept": {"digest": null}}, {"max_age_seconds": null, "accept": {}}] {
		failures(replaced("required", {"image": demand}), {}) != []
	}
	every entry in [null, false, 0, "", [], {}] {
		failures(replaced("revoked", {"r1": entry}), {}) == ["environment.invalid"]
	}
	environment.failures == ["environment.missing"]
}

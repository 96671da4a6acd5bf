package placet.identity_test

import data.placet.certificates_fixtures_test as pems
import data.placet.fixtures_test as fixtures
import data.placet.identity

# What comes of an identity in a trust state.
judged(presented, state) := {"failures": failures, "subject": subject} if {
	failures := identity.failures with input as {"identity": presented}
		with data.placet_state as state
		with data.placet.clock.now as fixtures.now
		with data.placet.execution.inside as false
	subject := [one |
		one := identity.subject with input as {"identity": presented}
			with data.placet_state as state
			with data.placet.clock.now as fixtures.now
	]

	# There is a subject exactly when nothing failed.
	count(subject) == count([1 | failures == []])
}

failures(presented) := judged(presented, fixtures.state).failures

subject(presented) := judged(presented, fixtures.state).subject[0]

state_with(changes) := object.union(fixtures.state, {"trust": changes})

failing(claims) := failures({"token": fixtures.token_with(claims)})

test_the_subject_of_a_token if {
	subject({"token": fixtures.token}) == {
		"id": "alice",
		"issuer": fixtures.issuer,
		"domain": "example.org",
		"claims": fixtures.claims,
		"actors": [],
	}
}

test_a_token_that_does_not_verify if {
	failures({}) == ["identity.missing"]
	failures({"token": "text"}) == ["identity.malformed"]
	failures({"token": fixtures.token_with({"exp": 1})}) == ["identity.expired"]
	identity.failures == ["identity.missing"]
}

test_other_members if {
	every presented in [
		{"token": fixtures.token, "subject": "bob"},
		{"token": fixtures.token, "asserted": {"id": "bob"}, "certificate": [pems.leaf]},
		{"token": fixtures.token, "certificate": []},
		{"token": fixtures.token, "certificate": pems.leaf},
		{"token": fixtures.token, "asserted": "bob"},
		{"token": fixtures.token, "asserted": {}},
		{"token": fixtures.token, "asserted": {"id": ""}},
		{"token": fixtures.token, "asserted": {"id": 7}},
		{"token": fixtures.token, "asserted": {"id": "bob", "issuer": "x"}},
	] {
		failures(presented) == ["identity.malformed"]
	}
}

# Domains

test_names_of_workloads_are_for_their_own_issuers if {
	every sub in ["spiffe://example.org/web", "SPIFFE://x", "system:serviceaccount:shop:web", "System:serviceaccount:x"] {
		failing({"sub": sub}) == ["identity.domain"]
	}
}

svid(sub) := {"token": fixtures.sign(
	{"alg": "EdDSA", "kid": "s1", "typ": "JWT"},
	{"sub": sub, "aud": "payments", "exp": 1800003600},
)}

test_a_jwt_svid if {
	object.remove(subject(svid("spiffe://example.org/web")), ["claims"]) == {
		"id": "spiffe://example.org/web",
		"issuer": "spiffe://example.org",
		"domain": "example.org",
		"actors": [],
	}
	every sub in ["spiffe://example.org/", "spiffe://example.org/a/../b", "spiffe://example.org/a b"] {
		failures(svid(sub)) == ["identity.domain"]
	}
}

foreign := state_with({"issuers": {fixtures.issuer: {"domain": "other.org"}}})

test_a_foreign_domain_must_be_linked if {
	judged({"token": fixtures.token}, foreign).failures == ["identity.domain"]
	linked := object.union(foreign, {"trust": {"links": {"other.org": true}}})
	judged({"token": fixtures.token}, linked).subject[0].domain == "other.org"
	every link in [false, null, {}, "true", 1] {
		unlinked := object.union(foreign, {"trust": {"links": {"other.org": link}}})
		judged({"token": fixtures.token}, unlinked).failures == ["identity.domain"]
	}
}

test_an_issuer_of_no_domain_vouches_for_nobody if {
	every member in ["domain", "names"] {
		state := json.patch(fixtures.state, [{"op": "remove", "path": ["trust", "issuers", fixtures.issuer, member]}])
		judged({"token": fixtures.token}, state).failures == ["identity.domain"]
	}
	state := json.patch(fixtures.state, [{"op": "remove", "path": "/trust/domain"}])
	judged({"token": fixtures.token}, state).failures == ["identity.domain"]
}

test_the_domain_of_an_issuer if {
	identity.domain_of(fixtures.issuer) == "example.org" with data.placet_state as fixtures.state
	not identity.domain_of("https://other.example") with data.placet_state as fixtures.state
}

# Actors

test_actors if {
	token := fixtures.token_with({"act": {"sub": "agent", "act": {
		"sub": "spiffe://example.org/tool",
		"iss": "spiffe://example.org",
	}}})
	subject({"token": token}).actors == [
		{"issuer": fixtures.issuer, "id": "agent"},
		{"issuer": "spiffe://example.org", "id": "spiffe://example.org/tool"},
	]
}

test_actors_that_are_not_well_formed if {
	failing({"act": {"sub": 7}}) == ["identity.actors"]
	failing({"act": null}) == ["identity.actors"]
}

test_an_issuer_names_actors_of_its_own_domain_alone if {
	every actor in [
		{"sub": "spiffe://example.org/tool"},
		{"sub": "agent", "iss": "https://unknown.example"},
		{"sub": "agent", "iss": "spiffe://example.org"},
		{"sub": "agent", "act": {"sub": "system:serviceaccount:a:b"}},
	] {
		failing({"act": actor}) == ["identity.domain"]
	}
	state := state_with({
		"links": {"other.org": true},
		"issuers": {"https://other.example": {"domain": "other.org", "names": ""}},
	})
	token := fixtures.token_with({"act": {"sub": "agent", "iss": "https://other.example"}})
	judged({"token": token}, state).failures == ["identity.domain"]
}

# Times

test_issued_in_the_future if {
	failing({"iat": 1800000002}) == []
	failing({"iat": 1800000003}) == ["identity.future"]
	failing({"iat": 1e300}) == ["identity.future"]
}

test_how_old_a_token_may_be if {
	state := state_with({"max_identity_age_seconds": 60})
	every iat in [1800000000, 1799999940, 1800000001.5] {
		judged({"token": fixtures.token_with({"iat": iat})}, state).failures == []
	}
	every iat in [1799999939, 0, -1, -1e300] {
		judged({"token": fixtures.token_with({"iat": iat})}, state).failures == ["identity.stale"]
	}
	judged({"token": fixtures.token_without("iat")}, state).failures == ["identity.stale"]
	judged({"token": fixtures.token_with({"iat": 1e300})}, state).failures == ["identity.future", "identity.stale"]
	judged({"token": fixtures.token_without("iat")}, fixtures.state).failures == []
}

test_an_age_of_another_form_is_none if {
	every age in ["60", {}, [], false, -1] {
		judged({"token": fixtures.token}, state_with({"max_identity_age_seconds": age})).failures == ["identity.stale"]
	}
	state := json.patch(fixtures.state, [{"op": "remove", "path": "/trust/max_identity_age_seconds"}])
	judged({"token": fixtures.token}, state).failures == ["identity.stale"]
}

ends(presented, state) := end if {
	end := identity.expires_at_ns with input as {"identity": presented}
		with data.placet_state as state
		with data.placet.clock.now as fixtures.now
}

test_when_it_ends if {
	ends({"token": fixtures.token}, fixtures.state) == 1800003600000000000
	ends({"token": fixtures.token}, state_with({"max_identity_age_seconds": 60})) == 1800000060000000000
	ends(forwarded, granting("forward-certificate")) == 1800003600000000000
	short := {"token": fixtures.token_with({"exp": 1900000000}), "certificate": [pems.leaf, pems.intermediate]}
	ends(short, granting("forward-certificate")) == 1800057600000000000
}

# For others

granting(grant) := state_with({"grants": {fixtures.issuer: {"alice": {grant: true}}}})

forwarded := {"token": fixtures.token, "certificate": [pems.leaf_of_root]}

asserted := {"token": fixtures.token, "asserted": {"id": "bob"}}

test_a_forwarded_certificate if {
	judged(forwarded, granting("forward-certificate")).subject[0] == {
		"id": "spiffe://example.org/web",
		"issuer": "spiffe://example.org",
		"domain": "example.org",
		"claims": {},
		"actors": [],
		"via": {"issuer": fixtures.issuer, "id": "alice"},
	}
}

test_a_certificate_that_does_not_hold if {
	broken := {"token": fixtures.token, "certificate": [pems.expired, pems.intermediate]}
	judged(broken, granting("forward-certificate")).failures == ["identity.certificate"]
	foreign_svid := {"token": fixtures.token, "certificate": [pems.of_other_domain, pems.intermediate]}
	state := object.union(granting("forward-certificate"), {"trust": {"x509": {"other.org": [pems.root]}}})
	judged(foreign_svid, state).failures == ["identity.domain"]
	linked := object.union(state, {"trust": {"links": {"other.org": true}}})
	judged(foreign_svid, linked).subject[0].domain == "other.org"
}

test_an_asserted_subject if {
	judged(asserted, granting("assert-subject")).subject[0] == {
		"id": "bob",
		"issuer": fixtures.issuer,
		"domain": "example.org",
		"claims": {},
		"actors": [],
		"asserted": true,
		"via": {"issuer": fixtures.issuer, "id": "alice"},
	}
	workload := {"token": fixtures.token, "asserted": {"id": "spiffe://example.org/web"}}
	judged(workload, granting("assert-subject")).failures == ["identity.domain"]
}

test_without_the_grant if {
	every grants in [
		{}, null, [], {fixtures.issuer: {}}, {fixtures.issuer: {"alice": {}}}, {fixtures.issuer: {"alice": "assert-subject"}},
		{fixtures.issuer: {"bob": {"forward-certificate": true, "assert-subject": true}}},
		{"other": {"alice": {"forward-certificate": true, "assert-subject": true}}},
		{fixtures.issuer: {"alice": {"forward-certificate": false, "assert-subject": 1}}},
		{fixtures.issuer: {"alice": {"forward-certificate": "true", "assert-subject": null}}},
	] {
		state := json.patch(fixtures.state, [{"op": "replace", "path": "/trust/grants", "value": grants}])
		judged(forwarded, state).failures == ["identity.grant"]
		judged(asserted, state).failures == ["identity.grant"]
	}
	judged(forwarded, granting("assert-subject")).failures == ["identity.grant"]
	judged(asserted, granting("forward-certificate")).failures == ["identity.grant"]
}

test_who_acts_for_somebody_has_not_its_grants if {
	acting := fixtures.token_with({"act": {"sub": "agent"}})
	judged(object.union(forwarded, {"token": acting}), granting("forward-certificate")).failures == ["identity.grant"]
	judged(object.union(asserted, {"token": acting}), granting("assert-subject")).failures == ["identity.grant"]
}

test_a_forwarder_must_hold_itself if {
	every presented in [forwarded, asserted] {
		stale := object.union(presented, {"token": fixtures.token_with({"iat": 1800000100})})
		failures(stale) == ["identity.future"]
		failures(object.union(presented, {"token": fixtures.token_with({"exp": 1})})) == ["identity.expired"]
	}
}

test_doubt_is_a_failure if {
	identity.failures == ["identity.invalid"] with input as {"identity": {"token": fixtures.token}}
		with data.placet_state as fixtures.state
		with data.placet.clock.now as fixtures.now
		with data.placet.identity.subject as false
}

# Inside an execution

test_inside_an_execution_its_token_tells if {
	identity.failures == [] with input as fixtures.inside
	subject := identity.subject with input as fixtures.inside
		with data.placet_state as fixtures.state
		with data.placet.clock.now as fixtures.now
	subject == {
		"id": "alice",
		"issuer": fixtures.issuer,
		"domain": "example.org",
		"claims": fixtures.claims,
		"actors": [],
	}
	ends(null, fixtures.state) == 1800000300000000000 with data.placet.execution.inside as true
		with data.placet.execution.token as fixtures.execution_claims
}

package placet.usual_test

import data.placet
import data.placet.fixtures_test as fixtures
import data.placet.identity
import data.placet.usual
import data.placet.warrant_fixtures_test as warrants

grounds(request, state) := [found |
	found := usual.grounds with input as request
		with data.placet_state as state
		with time.now_ns as fixtures.now
]

checked(request, state) := [found |
	found := placet.checked with input as request
		with data.placet_state as state
		with time.now_ns as fixtures.now
]

# The trust state of the fixtures, as the agent writes it: with usual headers, and with all that warrants need.
state := object.union(fixtures.state_with_headers, {"trust": {
	"issuers": {
		warrants.home: object.union(fixtures.state.trust.issuers[fixtures.issuer], {"audiences": ["payments"]}),
		warrants.partner: {"domain": "partner.example"},
	},
	"links": {"partner.example": true},
	"warrant": {"issuers": warrants.state.trust.warrant.issuers},
}})

changed(path, value) := json.patch(state, [{"op": "replace", "path": path, "value": value}])

alone := fixtures.request_with({"context": {}})

warranted := object.union(alone, {
	"action": {"name": "refund"},
	"warrant": [warrants.root],
})

carrying(claims) := json.patch(fixtures.inside, [{
	"op": "replace",
	"path": "/execution/token",
	"value": fixtures.sign_execution(claims),
}])

scoped := carrying({"warrants": ["w-1"], "warrant_issuer": "spiffe://example.org/control-plane"})

usuals := [alone, warranted, fixtures.inside, scoped]

test_usual_requests_stand_on_what_the_checks_find if {
	every request in usuals {
		[found] := grounds(request, state)
		checked(request, state) == [found]
	}
	[of_warrant] := grounds(warranted, state)
	of_warrant.warrant.ids == ["root"]
	[of_execution] := grounds(scoped, state)
	of_execution.warrant.ids == ["w-1"]
	of_execution.until_ns == state.lease.valid_until_ns
}

test_the_first_end_counts if {
	[inside] := grounds(carrying({"exp": 1800000003}), state)
	inside.until_ns == 1800000003000000000
	short := object.union(alone, {"identity": {"token": fixtures.token_with({"exp": 1800000004.5})}})
	[found] := grounds(short, state)
	found.until_ns == 1800000004000000000
	ending := object.union(warranted, {"warrant": [warrants.root_with({"exp": 1800000005})]})
	[with_warrant] := grounds(ending, state)
	with_warrant.until_ns == 1800000005000000000
}

# None of these is usual, and what passes the checks all the same is not this short way's to say.
test_everything_else_is_left_to_the_checks if {
	every change in [
		{"op": "add", "path": "/more", "value": 1},
		{"op": "replace", "path": "/action/name", "value": ""},
		{"op": "replace", "path": "/resource/id", "value": 7},
		{"op": "replace", "path": "/context", "value": []},
		{"op": "remove", "path": "/context"},
	] {
		every request in usuals {
			grounds(json.patch(request, [change]), state) == []
		}
	}
	every claims in [
		{"act": {"sub": "agent"}}, {"act": null}, {"iat": 1800000003}, {"sub": "spiffe://example.org/web"}, {"sub": ""},
		{"sub": 7}, {"exp": 1800000000}, {"exp": 1e12}, {"iat": "x"}, {"aud": "other"}, {"iss": "https://other.example"},
	] {
		grounds(object.union(alone, {"identity": {"token": fixtures.token_with(claims)}}), state) == []
	}
	every claims in [
		{"exe": "e-2"}, {"exe": ""}, {"actors": [{"issuer": "i", "id": "a"}]}, {"via": {"issuer": "i", "id": "a"}},
		{"sub_iss": "https://unknown.example"}, {"warrants": ["w"], "actions": ["refund"]},
	] {
		grounds(carrying(claims), state) == []
	}
	grounds(object.union(warranted, {"warrant": [warrants.root_with({"uses": 1})]}), state) == []
	grounds(object.union(alone, {"proof": "x"}), state) == []
	grounds(json.patch(alone, [{"op": "add", "path": "/identity/asserted", "value": {"id": "bob"}}]), state) == []
	grounds(json.patch(fixtures.inside, [{"op": "add", "path": "/execution/step", "value": 1}]), state) == []
}

test_so_is_every_other_trust_state if {
	every change in [
		[["digest"], 7],
		[["lease"], null],
		[["lease", "valid_until_ns"], fixtures.now - 1],
		[["lease", "valid_until_ns"], fixtures.now + 3600000000000],
		[["lease", "valid_until_ns"], "9999999999999999999"],
		[["lease", "issued_at_ns"], fixtures.now + 1],
		[["lease", "issued_at_ns"], null],
		[["trust", "quarantine", "subjects"], []],
		[["trust", "quarantine", "subjects"], {fixtures.issuer: []}],
		[["trust", "quarantine", "subjects"], {fixtures.issuer: {"alice": null}}],
		[["trust", "quarantine", "domains"], {"example.org": false}],
		[["trust", "quarantine", "domains"], null],
		[["trust", "quarantine", "segments"], []],
		[["trust", "quarantine", "segments"], {"cards": {}}],
		[["trust", "quarantine", "executions"], []],
		[["trust", "quarantine"], {}],
		[["trust", "environment", "required"], {"node": {}}],
		[["trust", "segments"], {}],
		[["trust", "domain"], "other.org"],
		[["trust", "issuers"], {}],
	] {
		every request in usuals {
			grounds(request, changed(change[0], change[1])) == []
		}
	}
	grounds(alone, changed("/trust/warrant/required", true)) == []
	grounds(fixtures.inside, changed("/trust/warrant/required", true)) == []
	grounds(fixtures.inside, changed("/trust/quarantine/executions", {"e-1": {}})) == []
	grounds(scoped, changed("/trust/warrant/revoked", {"w-1": {}})) == []
	grounds(scoped, changed("/trust/warrant/revoked", [])) == []
	grounds(fixtures.inside, changed("/trust/warrant/revoked", "")) == []
	grounds(alone, changed("/trust/max_identity_age_seconds", 60)) == []
}

# What concerns others leaves a request usual.
test_quarantine_and_revocations_of_others if {
	every change in [
		[["trust", "quarantine", "subjects"], {fixtures.issuer: {"bob": {}}, "https://other.example": {"alice": {}}}],
		[["trust", "quarantine", "executions"], {"e-2": {}}],
		[["trust", "quarantine", "domains"], {"other.org": {}}],
		[["trust", "warrant", "revoked"], {"w-2": {}}],
	] {
		every request in usuals {
			elsewhere := changed(change[0], change[1])
			[found] := grounds(request, elsewhere)
			checked(request, elsewhere) == [found]
		}
	}

	# Who depends on more than its subject is looked at one by one.
	others := carrying({"principals": [[fixtures.issuer, "alice"], ["h", "holder"]]})
	count(grounds(others, state)) == 1
	grounds(others, changed("/trust/quarantine/executions", {"e-2": {}})) == []
}

test_segments_and_environment if {
	segmented := changed("/trust/segments", {
		"subjects": {fixtures.issuer: {"alice": "staff"}, warrants.home: {"alice": "staff"}},
		"subject_prefixes": {},
		"resources": {},
		"resource_prefixes": [{"prefix": "payment/", "segment": "staff"}],
		"flows": {},
	})
	every request in usuals {
		[found] := grounds(request, segmented)
		checked(request, segmented) == [found]
	}
	[found] := [found |
		found := usual.grounds with input as alone
			with data.placet_state as segmented
			with time.now_ns as fixtures.now
			with data.placet.environment.expires_at as 1800000002
	]
	found.until_ns == 1800000002000000000
}

# An execution starts from an identity and has an id: by the token of one, one could start another without the bounds of
# its warrants.
test_a_start_is_not_usual if {
	every request in usuals {
		found := [found | found := usual.grounds with input as request
			with data.placet_state as state
			with data.placet.execution.starting as true
			with time.now_ns as fixtures.now]
		found == []
		started := placet.start with input as request
			with data.placet_state as state
			with data.placet_glue as fixtures.glue
			with time.now_ns as fixtures.now
		[reason.code | some reason in started.decision.reasons] == ["execution.malformed"]
		started.claims == null
	}
}

# The short way to the subject gives what the long way gives.
test_the_usual_subject if {
	every token in [fixtures.token, fixtures.token_without("iat"), fixtures.token_with({"exp": 1800000000.5})] {
		short := identity.usual with input as {"identity": {"token": token}}
			with data.placet_state as state
			with data.placet.clock.now as fixtures.now
		long := identity.presented with input as {"identity": {"token": token}}
			with data.placet_state as state
			with data.placet.clock.now as fixtures.now
		short == long
	}
}

# With somebody else in quarantine, so that the times are not calm.
test_what_is_demanded_is_asked_in_other_times_too if {
	demanding := json.patch(state, [
		{"op": "replace", "path": "/trust/quarantine/subjects", "value": {fixtures.issuer: {"bob": {}}}},
		{"op": "replace", "path": "/trust/warrant/required", "value": true},
	])
	every request in [alone, fixtures.inside] {
		grounds(request, demanding) == []
		checked(request, demanding) == []
	}
	every request in [warranted, scoped] {
		[found] := grounds(request, demanding)
		checked(request, demanding) == [found]
	}
}

# An execution that rests on no warrant has no bounds; one that says so and has some is not what a sidecar signs.
test_no_bounds_without_a_warrant if {
	elsewhere := changed("/trust/quarantine/subjects", {fixtures.issuer: {"bob": {}}})
	every claims in [{"actions": ["read"]}, {"resources": ["payment/*"]}, {"constraints": {"amount": {"at_most": 1}}}] {
		every standing in [state, elsewhere] {
			grounds(carrying(claims), standing) == []
		}
	}
}

subjects(claims, standing) := [found |
	found := identity.usual with input as {"identity": {"token": fixtures.token_with(claims)}}
		with data.placet_state as standing
		with data.placet.clock.now as fixtures.now
]

test_what_is_no_usual_subject if {
	count(subjects({}, state)) == 1
	every claims in [
		{"pad": sprintf("%09000d", [0])}, {"exp": 253402300800}, {"exp": 253402300790, "iat": -10}, {"exp": 1e300},
		{"exp": "1900000000"}, {"sub": ["alice"]}, {"iss": "https://other.example"}, {"act": {}},
	] {
		subjects(claims, state) == []
	}
	subjects({}, changed(["trust", "max_identity_age_seconds"], 3600)) == []
	subjects({}, changed(["trust", "issuers", fixtures.issuer, "domain"], "partner.example")) == []
	subjects({"aud": ""}, changed(["trust", "issuers", fixtures.issuer, "audiences"], [""])) == []
	subjects({}, changed(["trust", "issuers", fixtures.issuer, "audiences"], ["payments", "other"])) == []
}

# Whatever passes here stands by the checks, too, and on the same grounds.
package placet.calm_test

import data.placet
import data.placet.calm
import data.placet.fixtures_test as fixtures
import data.placet.usual_test as usuals
import data.placet.warrant_fixtures_test as warrants

found(request, state) := {one |
	one := calm.grounds with input as request
		with data.placet_state as state
		with time.now_ns as fixtures.now
}

checked(request, state) := {one |
	one := placet.checked with input as request
		with data.placet_state as state
		with time.now_ns as fixtures.now
}

# It is among the requests that pass here, and on the grounds that the checks find.
passes(request) if {
	count(found(request, usuals.state)) == 1
	found(request, usuals.state) == checked(request, usuals.state)
}

left(request) if found(request, usuals.state) == set()

test_usual_requests if {
	every request in usuals.usuals {
		passes(request)
	}
	passes(usuals.carrying({"until": 1800000900, "rests": "f1", "workflow": "release"}))
	passes(usuals.carrying({"warrants": ["w-1"], "warrant_issuer": "i", "actions": ["re*"], "resources": ["payment/p-1"]}))
	bounded := {"warrants": ["w"], "constraints": {"amount": {"at_most": 5}}}
	passes(object.union(usuals.carrying(bounded), {"context": {"amount": 4}}))
	left(object.union(usuals.carrying(bounded), {"context": {"amount": 6}}))
	limited := [warrants.root_with({"constraints": {"amount": {"at_most": 5}, "currency": {"in": ["EUR"]}}})]
	passes(object.union(usuals.warranted, {"warrant": limited, "context": {"amount": 4, "currency": "EUR"}}))
	left(object.union(usuals.warranted, {"warrant": limited, "context": {"amount": 4, "currency": "USD"}}))
	left(object.union(usuals.warranted, {"warrant": limited}))
}

test_tokens_of_executions_that_none_would_sign_are_left if {
	every claims in [
		{"iat": 1800000002, "exp": 1800000001},
		{"iat": 1800000001, "exp": 1800000001},
		{"iat": 1800000003},
		{"exp": 253402300800},
		{"sub": "", "principals": [[fixtures.issuer, ""]]},
	] {
		left(usuals.carrying(claims))
	}
	passes(usuals.carrying({"iat": 1800000000, "exp": 1800000001}))
	passes(usuals.carrying({"iat": 1800000002}))
}

test_the_first_end_counts if {
	[inside] := [one | some one in found(usuals.carrying({"exp": 1800000003}), usuals.state)]
	inside.until_ns == 1800000003000000000
	short := object.union(usuals.alone, {"identity": {"token": fixtures.token_with({"exp": 1800000004.5})}})
	[alone] := [one | some one in found(short, usuals.state)]
	alone.until_ns == 1800000004000000000
	ending := object.union(usuals.warranted, {"warrant": [warrants.root_with({"exp": 1800000005})]})
	[warranted] := [one | some one in found(ending, usuals.state)]
	warranted.until_ns == 1800000005000000000
}

test_other_requests_are_left if {
	every change in [
		{"op": "add", "path": "/more", "value": 1},
		{"op": "replace", "path": "/action/name", "value": ""},
		{"op": "replace", "path": "/action/name", "value": 7},
		{"op": "replace", "path": "/resource/type", "value": "a/b"},
		{"op": "replace", "path": "/resource/id", "value": 7},
		{"op": "replace", "path": "/context", "value": []},
		{"op": "remove", "path": "/context"},
	] {
		every request in usuals.usuals {
			agrees(json.patch(request, [change]), usuals.state)
		}
	}
	left(object.union(usuals.alone, {"proof": "x"}))
	left(json.patch(usuals.alone, [{"op": "add", "path": "/identity/asserted", "value": {"id": "bob"}}]))
	left(json.patch(fixtures.inside, [{"op": "add", "path": "/execution/step", "value": 1}]))
	left(json.patch(fixtures.inside, [{"op": "replace", "path": "/execution", "value": {"id": "e-1"}}]))
	left(json.patch(usuals.warranted, [{"op": "replace", "path": "/warrant", "value": warrants.root}]))
}

# Nothing passes of which the checks would say anything else.
agrees(request, state) if found(request, state) - checked(request, state) == set()

test_other_tokens_are_left if {
	every claims in [
		{"act": {"sub": "agent"}}, {"act": null}, {"iat": 1800000003}, {"iat": "x"}, {"iat": null}, {"sub": ""}, {"sub": 7},
		{"sub": "spiffe://example.org/web"}, {"exp": 1800000000}, {"exp": 1e12}, {"exp": "x"}, {"aud": "other"},
		{"iss": "https://other.example"},
	] {
		left(object.union(usuals.alone, {"identity": {"token": fixtures.token_with(claims)}}))
	}
	left(object.union(usuals.alone, {"identity": {"token": fixtures.token_without("exp")}}))
	passes(object.union(usuals.alone, {"identity": {"token": fixtures.token_without("iat")}}))
	every claims in [
		{"exe": "e-2"}, {"exe": ""}, {"exe": 7}, {"iat": 1800000003}, {"iat": "x"}, {"exp": 1800000000}, {"exp": 1e12}, {"iat": 1800000400},
		{"actors": [{"issuer": "i", "id": "a"}]}, {"via": {"issuer": "i", "id": "a"}}, {"asserted": true}, {"claims": []},
		{"sub": 7}, {"sub": ""}, {"sub_iss": "https://unknown.example"}, {"domain": "other.org"}, {"iss": "spiffe://example.org/x"},
		{"principals": []}, {"principals": [["h", "holder"]]}, {"domains": []}, {"domains": ["h.org"]},
		{"warrants": "w-1"}, {"warrants": [7]}, {"warrants": null}, {"warrants": ["w"], "warrant_issuer": 7},
		{"actions": ["read"]}, {"resources": ["payment/*"]}, {"constraints": {"amount": {"at_most": 1}}},
		{"warrants": ["w"], "actions": ["refund"]}, {"warrants": ["w"], "resources": ["order/*"]},
		{"warrants": ["w"], "constraints": {"amount": {"at_most": 1}}}, {"other": 1},
		{"warrants": ["w"], "constraints": []}, {"warrants": ["w"], "constraints": ""}, {"iat": 1800000002.0000000000001},
	] {
		left(usuals.carrying(claims))
	}
	every changes in [
		{"uses": 1}, {"iss": warrants.partner}, {"sub": "bob"}, {"aud": "other"}, {"iat": 1800000003}, {"iat": -1}, {"iat": 1800000000.5},
		{"exp": 1800000000}, {"exp": 1e12}, {"jti": "a b"}, {"jti": 7}, {"actions": []}, {"actions": ["read"]}, {"resources": ["order/*"]},
		{"constraints": []}, {"constraints": {"amount": {"at_most": 1}}}, {"constraints": {"amount": {}}}, {"other": 1},
	] {
		left(object.union(usuals.warranted, {"warrant": [warrants.root_with(changes)]}))
	}
}

test_other_times_are_not_calm if {
	every change in [
		[["digest"], 7],
		[["digest"], ""],
		[["lease"], null],
		[["lease"], {"issued_at_ns": fixtures.now, "valid_until_ns": fixtures.now + 1, "more": 1}],
		[["lease", "valid_until_ns"], fixtures.now - 1],
		[["lease", "valid_until_ns"], fixtures.now + 3600000000000],
		[["lease", "valid_until_ns"], "9999999999999999999"],
		[["lease", "issued_at_ns"], fixtures.now + 1],
		[["lease", "issued_at_ns"], null],
		[["trust", "quarantine", "subjects"], {"https://other.example": {"alice": {}}}],
		[["trust", "quarantine", "domains"], null],
		[["trust", "quarantine"], {}],
		[["trust", "environment", "required"], {"node": {}}],
		[["trust", "segments"], {}],
		[["trust", "workflows"], {"release": {"actions": [], "resources": []}}],
		[["trust", "workflows"], []],
		[["trust", "domain"], "other.org"],
		[["trust", "issuers"], {}],
	] {
		every request in usuals.usuals {
			found(request, usuals.changed(change[0], change[1])) == set()
		}
	}
	found(usuals.alone, usuals.changed("/trust/warrant/required", true)) == set()
	found(usuals.alone, usuals.changed("/trust/max_identity_age_seconds", 60)) == set()
	found(usuals.alone, usuals.changed("/trust/headers", {})) == set()
	found(fixtures.inside, usuals.changed("/trust/warrant/required", true)) == set()
	found(fixtures.inside, usuals.changed("/trust/warrant/revoked", [])) == set()
	found(fixtures.inside, usuals.changed("/trust/execution/headers", {})) == set()
	found(fixtures.inside, usuals.changed("/trust/execution/keys/e1/alg", "ES256")) == set()
	found(fixtures.inside, usuals.changed("/trust/execution/issuer", "spiffe://example.org/other")) == set()
	found(usuals.scoped, usuals.changed("/trust/warrant/revoked", {"w-1": null})) == set()
	found(usuals.warranted, usuals.changed("/trust/warrant/revoked", {"root": null})) == set()
	found(usuals.warranted, usuals.changed("/trust/warrant/revoked", [])) == set()
	found(usuals.warranted, usuals.changed("/trust/warrant/issuers", {})) == set()
}

test_forged_signatures if {
	[head, body, _] := split(fixtures.inside.execution.token, ".")
	forged := concat(".", [head, body, split(fixtures.token, ".")[2]])
	left(json.patch(fixtures.inside, [{"op": "replace", "path": "/execution/token", "value": forged}]))
	[mine, claims, _] := split(fixtures.token, ".")
	other := concat(".", [mine, claims, split(fixtures.inside.execution.token, ".")[2]])
	left(object.union(usuals.alone, {"identity": {"token": other}}))
}

test_a_start_is_left if {
	every request in usuals.usuals {
		started := {one |
			one := calm.grounds with input as request
				with data.placet_state as usuals.state
				with data.placet.execution.starting as true
				with time.now_ns as fixtures.now
		}
		started == set()
	}
}

test_what_is_too_long_is_left if {
	left(usuals.carrying({"claims": {"pad": sprintf("%013000d", [0])}}))
	left(object.union(usuals.alone, {"identity": {"token": fixtures.token_with({"pad": sprintf("%09000d", [0])})}}))
}

test_who_says_more_of_itself_is_left if {
	every request in [usuals.alone, usuals.warranted] {
		left(json.patch(request, [{"op": "add", "path": "/identity/asserted", "value": {"id": "bob"}}]))
		left(json.patch(request, [{"op": "add", "path": "/identity/other", "value": 1}]))
	}
}

# The warrant of the one whom a caller asserts is not the caller's own.
test_a_warrant_of_somebody_else_is_left if {
	granting := usuals.changed(["trust", "grants"], {fixtures.issuer: {"alice": {"assert-subject": true}}})
	of_bob := warrants.root_with({"sub": "bob", "sub_id": {"format": "iss_sub", "iss": fixtures.issuer, "sub": "bob"}})
	request := json.patch(usuals.warranted, [
		{"op": "add", "path": "/identity/asserted", "value": {"id": "bob"}},
		{"op": "replace", "path": "/warrant", "value": [of_bob]},
	])
	[stands] := [one | some one in checked(request, granting)]
	stands.subject.id == "bob"
	found(request, granting) == set()
}

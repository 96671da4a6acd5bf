package placet.decision_test

import data.placet
import data.placet.fixtures_test as fixtures
import data.placet.reasons as table

decide(request, state, glue) := decision if {
	decision := placet.decision with input as request
		with data.placet_state as state
		with data.placet_glue as glue
		with time.now_ns as fixtures.now
}

codes(decision) := [reason.code | some reason in decision.reasons]

answering(value) := object.union(fixtures.glue, {"value": value})

test_allowed if {
	decide(fixtures.request, fixtures.state, fixtures.glue) == {
		"allow": true,
		"reasons": [],
		"obligations": [],
		"bundles": fixtures.glue.bundles,
		"subject": {"issuer": fixtures.issuer, "id": "alice"},
		"state": fixtures.state.digest,
		"expires_at": "2027-01-15T08:00:09Z",
	}
}

test_the_token_may_end_before_the_lease if {
	request := {
		"identity": {"token": fixtures.token_with({"exp": 1800000003.9})},
		"action": {"name": "read"},
		"resource": {"type": "payment", "id": "p-1"},
	}
	decide(request, fixtures.state, fixtures.glue).expires_at == "2027-01-15T08:00:03Z"
}

test_denied_by_the_policy if {
	decide(fixtures.request, fixtures.state, answering({
		"allow": false,
		"reasons": [{"code": "why", "message": "because"}],
		"obligations": [{"type": "notify"}],
	})) == {
		"allow": false,
		"reasons": [table.reasons["policy.denied"], {"code": "policy:why", "message": "because"}],
		"obligations": [{"type": "notify"}],
		"bundles": fixtures.glue.bundles,
		"subject": {"issuer": fixtures.issuer, "id": "alice"},
		"state": fixtures.state.digest,
		"expires_at": null,
	}
}

test_reasons_and_obligations_of_an_allow if {
	decision := decide(fixtures.request, fixtures.state, answering({
		"allow": true,
		"reasons": [{"code": "why", "message": "because"}],
		"obligations": [{"type": "mask"}],
	}))
	decision.allow
	codes(decision) == ["policy:why"]
	decision.obligations == [{"type": "mask"}]
}

test_nothing_at_all_denies if {
	placet.decision == {
		"allow": false,
		"reasons": [table.reasons["state.missing"]],
		"obligations": [],
		"bundles": {},
		"subject": null,
		"state": null,
		"expires_at": null,
	}
}

test_every_failure_is_reported_in_the_order_of_the_table if {
	state := json.patch(fixtures.state, [
		{"op": "replace", "path": "/lease/valid_until_ns", "value": fixtures.now - 1},
		{"op": "replace", "path": "/trust/quarantine/subjects", "value": []},
	])
	decision := decide({"identity": {"token": fixtures.token_with({"aud": "x"})}}, state, fixtures.glue)
	not decision.allow
	codes(decision) == ["lease.expired", "request.malformed", "identity.audience", "quarantine.malformed"]
}

test_a_quarantined_subject_is_named if {
	state := json.patch(fixtures.state, [{
		"op": "replace",
		"path": "/trust/quarantine/subjects",
		"value": {fixtures.issuer: {"alice": {"reason": "theft"}}},
	}])
	decision := decide(fixtures.request, state, fixtures.glue)
	codes(decision) == ["quarantine.subject"]
	decision.subject.id == "alice"
	decision.expires_at == null
}

test_the_policy_is_not_asked_about_a_request_that_does_not_stand if {
	decision := decide(object.remove(fixtures.request, ["identity"]), fixtures.state, answering({
		"allow": false,
		"reasons": [{"code": "why", "message": "because"}],
		"obligations": [{"type": "notify"}],
	}))
	codes(decision) == ["identity.missing"]
	decision.obligations == []
}

test_one_failure_is_enough if {
	every failure in [
		"state.malformed",
		"lease.expired",
		"request.malformed",
		"identity.invalid",
		"quarantine.subject",
		"policy.denied",
	] {
		not decision_when(failure).allow
		codes(decision_when(failure)) == [failure]
	}
}

# The usual request, proven without the checks themselves.
test_what_the_usual_way_lets_pass_is_flawless if {
	usual := fixtures.request_with({"context": {}})
	sound_without_checks(usual, fixtures.state)
	every request in [
		fixtures.request,
		object.union(usual, {"warrant": []}),
		json.patch(usual, [{"op": "replace", "path": "/action/name", "value": ""}]),
		json.patch(usual, [{"op": "replace", "path": "/resource/id", "value": 7}]),
		json.patch(usual, [{"op": "replace", "path": "/context", "value": []}]),
		json.patch(usual, [{"op": "remove", "path": "/identity"}, {"op": "add", "path": "/other", "value": {}}]),
	] {
		not sound_without_checks(request, fixtures.state)
	}
	every change in [
		{"op": "replace", "path": "/digest", "value": 7},
		{"op": "replace", "path": "/lease/valid_until_ns", "value": fixtures.now - 1},
		{"op": "replace", "path": "/lease/valid_until_ns", "value": "9999999999999999999"},
		{"op": "replace", "path": "/lease/valid_until_ns", "value": fixtures.now + 3600000000000},
		{"op": "replace", "path": "/lease/issued_at_ns", "value": null},
		{"op": "replace", "path": "/lease/issued_at_ns", "value": fixtures.now + 1},
		{"op": "replace", "path": "/lease", "value": null},
		{"op": "replace", "path": "/trust/quarantine/subjects", "value": []},
		{"op": "replace", "path": "/trust/quarantine/subjects", "value": {fixtures.issuer: {"bob": {}}}},
		{"op": "replace", "path": "/trust/quarantine/subjects", "value": {fixtures.issuer: null}},
		{"op": "remove", "path": "/trust/quarantine"},
		{"op": "remove", "path": "/trust/issuers"},
	] {
		not sound_without_checks(usual, json.patch(fixtures.state, [change]))
	}
}

sound_without_checks(request, state) if {
	placet.sound with input as request
		with data.placet_state as state
		with time.now_ns as fixtures.now
		with data.placet.request.failure as "request.malformed"
}

# The decision when just one check fails.
decision_when(failure) := decision if {
	part := split(failure, ".")[0]
	failures := object.union(
		{"state": null, "lease": null, "request": null, "identity": null, "quarantine": null, "policy": null},
		{part: failure},
	)
	decision := placet.decision with data.placet.state.failure as failures.state
		with data.placet.lease.failure as failures.lease
		with data.placet.request.failure as failures.request
		with data.placet.identity.failure as failures.identity
		with data.placet.quarantine.failure as failures.quarantine
		with data.placet.policy.failure as failures.policy
}

test_the_subject_is_for_user_policies if {
	subject := placet.subject with input as fixtures.request
		with data.placet_state as fixtures.state
		with time.now_ns as fixtures.now
	subject.id == "alice"
	subject.claims.aud == "payments"
}

test_every_reason_names_itself if {
	every code, reason in table.reasons {
		reason.code == code
		reason.message != ""
		not contains(code, ":")
	}
}

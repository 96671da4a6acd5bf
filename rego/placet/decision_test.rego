package placet.decision_test

import data.placet
import data.placet.fixtures_test as fixtures
import data.placet.reasons as table
import data.placet.warrant_fixtures_test as warrants

decide(request, state, glue) := decision if {
	decision := placet.decision with input as request
		with data.placet_state as state
		with data.placet_glue as glue
		with time.now_ns as fixtures.now
}

codes(decision) := [reason.code | some reason in decision.reasons]

answering(value) := object.union(fixtures.glue, {"value": value})

changed(path, value) := json.patch(fixtures.state, [{"op": "replace", "path": path, "value": value}])

as_allowed := {
	"allow": true,
	"reasons": [],
	"obligations": [],
	"bundles": fixtures.glue.bundles,
	"subject": {"issuer": fixtures.issuer, "id": "alice", "domain": "example.org", "actors": []},
	"warrant": null,
	"execution": null,
	"mode": null,
	"state": fixtures.state.digest,
	"expires_at": "2027-01-15T08:00:09Z",
}

as_denied := object.union(as_allowed, {"allow": false, "expires_at": null})

test_allowed if decide(fixtures.request, fixtures.state, fixtures.glue) == as_allowed

test_inside_an_execution if {
	decide(fixtures.inside, fixtures.state, fixtures.glue) == object.union(as_allowed, {"execution": "e-1"})
}

test_an_execution_that_is_only_named if {
	decide(fixtures.request_with({"execution": {"id": "e-1", "step": 3}}), fixtures.state, fixtures.glue) == as_allowed
}

# Everything that a trust state needs for the warrants of the fixtures.
warranting := object.union(fixtures.state, {"trust": {
	"issuers": {
		warrants.home: fixtures.state.trust.issuers[fixtures.issuer],
		warrants.partner: {"domain": "partner.example"},
	},
	"links": {"partner.example": true},
	"warrant": warrants.state.trust.warrant,
}})

warranted := object.union(warrants.request, {
	"warrant": [warrants.root],
	"identity": {"token": fixtures.token_with({"iss": warrants.home})},
})

test_with_a_warrant if {
	decision := decide(warranted, warranting, fixtures.glue)
	decision.allow
	decision.warrant == {"ids": ["root"], "issuer": warrants.control_plane}
}

test_the_warrants_of_an_execution_are_named if {
	token := fixtures.sign_execution({"warrants": ["w-1"], "warrant_issuer": "spiffe://example.org/control-plane"})
	asked := json.patch(fixtures.inside, [{"op": "replace", "path": "/execution/token", "value": token}])
	decide(asked, fixtures.state, fixtures.glue).warrant == {
		"ids": ["w-1"],
		"issuer": "spiffe://example.org/control-plane",
	}
}

test_who_speaks_for_others_is_named if {
	state := object.union(fixtures.state, {"trust": {"grants": {fixtures.issuer: {"alice": {"assert-subject": true}}}}})
	asked := fixtures.request_with({"identity": {"token": fixtures.token, "asserted": {"id": "bob"}}})
	decide(asked, state, fixtures.glue).subject == {
		"issuer": fixtures.issuer,
		"id": "bob",
		"domain": "example.org",
		"actors": [],
		"asserted": true,
		"via": {"issuer": fixtures.issuer, "id": "alice"},
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

test_an_allow_ends_with_the_first_of_all if {
	decision := placet.decision with input as fixtures.request
		with data.placet_state as fixtures.state
		with data.placet_glue as fixtures.glue
		with time.now_ns as fixtures.now
		with data.placet.warrant.expires_at as 1800000007
		with data.placet.environment.expires_at as 1800000006
	decision.expires_at == "2027-01-15T08:00:06Z"
}

refusing := answering({
	"allow": false,
	"reasons": [{"code": "why", "message": "because"}],
	"obligations": [{"type": "notify"}],
})

test_denied_by_the_policy if {
	decide(fixtures.request, fixtures.state, refusing) == object.union(as_denied, {
		"reasons": [table.reasons["policy.denied"], {"code": "policy:why", "message": "because"}],
		"obligations": [{"type": "notify"}],
	})
}

test_reasons_and_obligations_of_an_allow if {
	decision := decide(fixtures.request, fixtures.state, answering({
		"allow": true,
		"reasons": [{"code": "why", "message": "because"}],
		"obligations": [{"type": "notify"}],
	}))
	decision.allow
	codes(decision) == ["policy:why"]
	decision.obligations == [{"type": "notify"}]
}

test_nothing_at_all_denies if {
	placet.decision == object.union(object.remove(as_denied, ["bundles"]), {
		"reasons": [table.reasons["state.missing"]],
		"bundles": {},
		"subject": null,
		"state": null,
	})
}

test_every_failure_is_reported_in_the_order_of_the_table if {
	state := json.patch(fixtures.state, [
		{"op": "replace", "path": "/lease/valid_until_ns", "value": fixtures.now - 1},
		{"op": "replace", "path": "/trust/quarantine/subjects", "value": []},
		{"op": "replace", "path": "/trust/warrant/required", "value": true},
	])
	decision := decide({"identity": {"token": fixtures.token_with({"aud": "x"})}}, state, fixtures.glue)
	not decision.allow
	codes(decision) == [
		"lease.expired", "request.malformed", "identity.audience", "quarantine.malformed", "warrant.missing",
	]
}

test_a_quarantined_subject_is_named if {
	state := changed("/trust/quarantine/subjects", {fixtures.issuer: {"alice": {"reason": "theft"}}})
	decision := decide(fixtures.request, state, fixtures.glue)
	codes(decision) == ["quarantine.subject"]
	decision.subject.id == "alice"
	decision.expires_at == null
}

test_the_policy_is_not_asked_about_a_request_that_does_not_stand if {
	decision := decide(object.remove(fixtures.request, ["identity"]), fixtures.state, refusing)
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
		"execution.scope",
		"warrant.action",
		"environment.stale",
		"segment.flow",
		"workflow.required",
	] {
		not decision_when(failure).allow
		codes(decision_when(failure)) == [failure]
	}
}

# The decision when just one check fails.
decision_when(failure) := decision if {
	part := split(failure, ".")[0]
	none := {
		"state": [], "lease": [], "request": [], "identity": [], "quarantine": [], "execution": [], "warrant": [],
		"environment": [], "segment": [], "workflow": [],
	}
	failures := object.union(none, {part: [failure]})
	decision := placet.decision with input as object.remove(fixtures.request, ["identity"])
		with data.placet_state as fixtures.state
		with data.placet_glue as fixtures.glue
		with time.now_ns as fixtures.now
		with data.placet.identity.expires_at_ns as fixtures.now
		with data.placet.state.failures as failures.state
		with data.placet.lease.failures as failures.lease
		with data.placet.request.failures as failures.request
		with data.placet.identity.failures as failures.identity
		with data.placet.quarantine.failures as failures.quarantine
		with data.placet.execution.failures as failures.execution
		with data.placet.warrant.failures as failures.warrant
		with data.placet.environment.failures as failures.environment
		with data.placet.segment.failures as failures.segment
		with data.placet.workflow.failures as failures.workflow
		with data.placet.identity.subject as {"issuer": "i", "id": "alice", "domain": "example.org", "actors": []}
}

test_nobody_is_in_no_segment if {
	decision := decide(object.remove(fixtures.request, ["identity"]), fixtures.state, fixtures.glue)
	codes(decision) == ["identity.missing"]
}

# Nothing failed, and nobody asks: that must not happen, and denies.
test_doubt_denies if {
	decision := placet.decision with data.placet.state.failures as []
		with data.placet.lease.failures as []
		with data.placet.request.failures as []
		with data.placet.identity.failures as []
		with data.placet.quarantine.failures as []
		with data.placet.execution.failures as []
		with data.placet.warrant.failures as []
		with data.placet.environment.failures as []
		with data.placet.segment.failures as []
		with data.placet.workflow.failures as []
	codes(decision) == ["state.malformed"]
	not decision.allow
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

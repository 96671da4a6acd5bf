package placet.start_test

import data.placet
import data.placet.fixtures_test as fixtures
import data.placet.warrant_fixtures_test as warrants

request := fixtures.request_with({"execution": {"id": "e-1"}})

start(asked, state) := started if {
	started := placet.start with input as asked
		with data.placet_state as state
		with data.placet_glue as fixtures.glue
		with time.now_ns as fixtures.now
}

test_an_execution_without_warrants if {
	started := start(request, fixtures.state)
	started.decision.allow
	started.decision.execution == "e-1"
	started.redeem == []
	started.expires_at_ns == 1800003600000000000
	started.claims == {
		"sub": "alice",
		"sub_iss": fixtures.issuer,
		"domain": "example.org",
		"actors": [],
		"claims": fixtures.claims,
		"principals": [[fixtures.issuer, "alice"]],
		"domains": ["example.org"],
		"warrants": [],
		"warrant_issuer": null,
		"actions": ["*"],
		"resources": ["*"],
		"constraints": {},
	}
}

# What start gives is what the agent signs; what comes of that is the same subject.
test_inside_it_everything_is_as_it_was if {
	started := start(request, fixtures.state)
	token := fixtures.sign(fixtures.execution_header, object.union(started.claims, {
		"iss": "spiffe://example.org/sidecar/payments/eu-1",
		"aud": "spiffe://example.org/system/payments",
		"iat": 1800000000,
		"exp": 1800000300,
		"exe": "e-1",
	}))
	decision := placet.decision with input as {
		"execution": {"id": "e-1", "token": token},
		"action": request.action,
		"resource": request.resource,
	}
		with data.placet_state as fixtures.state
		with data.placet_glue as fixtures.glue
		with time.now_ns as fixtures.now
	decision == started.decision
}

test_a_denial_gives_no_claims if {
	started := start(fixtures.request, fixtures.state)
	started.claims == null
	started.redeem == []
	started.expires_at_ns == null
	[reason.code | some reason in started.decision.reasons] == ["execution.malformed"]
}

# The agent says that it did not start what was allowed: the same decision, but a denial.
test_what_is_refused_after_all_is_a_denial if {
	refusal := {"code": "warrant.spent", "message": "No uses."}
	started := start(request, fixtures.state)
	denied := start(object.union(request, {"execution": {"refused": refusal}}), fixtures.state)
	object.remove(denied, ["decision"]) == {"claims": null, "redeem": [], "expires_at_ns": null}
	denied.decision == object.union(started.decision, {"allow": false, "reasons": [refusal], "expires_at": null})

	# Whatever is said there, nothing starts.
	every said in [null, false, "", {}, {"code": 1}] {
		odd := start(object.union(request, {"execution": {"refused": said}}), fixtures.state)
		odd.decision.allow == false
		odd.claims == null
	}
	unknown := start(object.union(object.remove(request, ["identity"]), {"execution": {"refused": refusal}}), fixtures.state)
	[reason.code | some reason in unknown.decision.reasons] == ["warrant.spent", "identity.missing"]
}

test_large_claims_are_left_behind if {
	claims := {"note": concat("", ["x" | some _ in numbers.range(1, 4096)])}
	started := start(object.union(request, {"identity": {"token": fixtures.token_with(claims)}}), fixtures.state)
	started.decision.allow
	started.claims.claims == {}
	started.claims.sub == "alice"
}

test_a_subject_for_whom_others_speak if {
	state := object.union(fixtures.state, {"trust": {"grants": {fixtures.issuer: {"alice": {"assert-subject": true}}}}})
	started := start(object.union(request, {"identity": {"token": fixtures.token, "asserted": {"id": "bob"}}}), state)
	started.claims.sub == "bob"
	started.claims.asserted
	started.claims.via == {"issuer": fixtures.issuer, "id": "alice"}
	started.claims.principals == [[fixtures.issuer, "bob"], [fixtures.issuer, "alice"]]
	started.claims.domains == ["example.org"]
}

# With warrants

state := object.union(fixtures.state, {"trust": {
	"issuers": {
		warrants.home: fixtures.state.trust.issuers[fixtures.issuer],
		warrants.partner: {"domain": "partner.example"},
	},
	"links": {"partner.example": true},
	"warrant": warrants.state.trust.warrant,
}})

with_warrant(changes) := object.union(warrants.request, {
	"warrant": [warrants.root_with(changes)],
	"identity": {"token": fixtures.token_with({"iss": warrants.home})},
	"execution": {"id": "e-1"},
})

test_warrants_bound_the_execution if {
	started := start(with_warrant({"exp": 1800000900}), state)
	object.filter(started.claims, ["warrants", "warrant_issuer", "actions", "resources", "constraints"]) == {
		"warrants": ["root"],
		"warrant_issuer": warrants.control_plane,
		"actions": ["refund", "read*"],
		"resources": ["payment/*", "ledger/main"],
		"constraints": {},
	}
	started.expires_at_ns == 1800000900000000000
	started.redeem == []
}

test_uses_are_to_be_redeemed if {
	asked := with_warrant({"uses": 2, "exp": 1800000900})
	started := start(asked, state)
	started.decision.allow
	started.redeem == [{"jti": "root", "issuer": warrants.control_plane, "uses": 2, "expires_at": 1800000900}]

	# A decision alone does not count them, so it denies.
	decision := placet.decision with input as asked
		with data.placet_state as state
		with data.placet_glue as fixtures.glue
		with time.now_ns as fixtures.now
	[reason.code | some reason in decision.reasons] == ["warrant.needs_execution"]
}

test_a_mode_bounds_the_execution_too if {
	modes := {"break_glass": [{
		"id": "b-1",
		"from_ns": fixtures.now - 1,
		"until_ns": fixtures.now + 60000000000,
		"subjects": [{"issuer": warrants.home, "id": "alice"}],
		"actions": ["refund"],
		"resources": ["payment/*"],
	}]}
	started := start(
		with_warrant({"exp": 1800000000, "uses": 1}),
		object.union(state, {"trust": {"modes": modes}}),
	)
	started.decision.mode.kind == "break-glass"
	started.claims.warrants == []
	started.claims.actions == ["*"]
	started.redeem == []
	started.expires_at_ns == fixtures.now + 60000000000
}

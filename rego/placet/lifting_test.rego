# Shadow and break-glass: what each lifts, and what it does not.
package placet.lifting_test

import data.placet
import data.placet.decision_test as plain
import data.placet.fixtures_test as fixtures
import data.placet.reasons as table

decide_in(modes, request, state, glue) := decision if {
	decision := placet.decision with input as request
		with data.placet_state as object.union(state, {"trust": {"modes": modes}})
		with data.placet_glue as glue
		with time.now_ns as fixtures.now
}

shadowed := {"shadow": [{"id": "s-1", "from_ns": fixtures.now - 1, "until_ns": fixtures.now + 5000000000}]}

broken := {"break_glass": [{
	"id": "b-1",
	"from_ns": fixtures.now - 1,
	"until_ns": fixtures.now + 5000000000,
	"subjects": [{"issuer": fixtures.issuer, "id": "alice"}],
	"actions": ["read"],
	"resources": ["payment/*"],
	"reason": "fire",
	"by": ["a", "b"],
}]}

lifted(kind, id, reasons) := object.union(plain.as_allowed, {
	"mode": {"kind": kind, "id": id, "reasons": reasons},
	"expires_at": "2027-01-15T08:00:05Z",
})

test_shadow_lifts_what_the_policy_says if {
	decide_in(shadowed, fixtures.request, fixtures.state, plain.refusing) == lifted("shadow", "s-1", [
		table.reasons["policy.denied"],
		{"code": "policy:why", "message": "because"},
	])
	decide_in(shadowed, fixtures.request, fixtures.state, plain.answering(7)) == lifted(
		"shadow", "s-1",
		[table.reasons["policy.malformed"]],
	)
	silent := decide_in(shadowed, fixtures.request, fixtures.state, {"bundles": fixtures.glue.bundles})
	silent.mode.reasons == [table.reasons["policy.undefined"]]
}

test_shadow_lifts_nothing_else if {
	demanding := plain.changed("/trust/warrant/required", true)
	plain.codes(decide_in(shadowed, fixtures.request, demanding, fixtures.glue)) == ["warrant.missing"]
	quarantined := plain.changed("/trust/quarantine/subjects", {fixtures.issuer: {"alice": {}}})
	plain.codes(decide_in(shadowed, fixtures.request, quarantined, plain.refusing)) == ["quarantine.subject"]
	expired := plain.changed("/lease/valid_until_ns", fixtures.now - 1)
	plain.codes(decide_in(shadowed, fixtures.request, expired, plain.refusing)) == ["lease.expired"]
}

test_what_is_allowed_needs_no_mode if {
	decide_in(object.union(shadowed, broken), fixtures.request, fixtures.state, fixtures.glue) == plain.as_allowed
}

test_break_glass_lifts_what_is_lacking if {
	demanding := plain.changed("/trust/warrant/required", true)
	decide_in(broken, fixtures.request, demanding, fixtures.glue) == lifted(
		"break-glass", "b-1",
		[table.reasons["warrant.missing"]],
	)
	refused := decide_in(broken, fixtures.request, demanding, plain.refusing)
	plain.codes(refused.mode) == ["warrant.missing", "policy.denied", "policy:why"]
	token := fixtures.sign_execution({"warrants": ["w-1"], "actions": ["refund"]})
	scoped := json.patch(fixtures.inside, [{"op": "replace", "path": "/execution/token", "value": token}])
	plain.codes(decide_in(broken, scoped, fixtures.state, fixtures.glue).mode) == ["execution.scope"]
}

test_break_glass_keeps_what_the_policy_demands if {
	demanding := plain.changed("/trust/warrant/required", true)
	glue := plain.answering({"allow": true, "obligations": [{"type": "notify"}]})
	decide_in(broken, fixtures.request, demanding, glue).obligations == [{"type": "notify"}]
	decide_in(broken, fixtures.request, fixtures.state, plain.refusing).obligations == []
}

test_shadow_comes_before_break_glass if {
	decide_in(object.union(shadowed, broken), fixtures.request, fixtures.state, plain.refusing).mode.kind == "shadow"
}

test_break_glass_lifts_no_doubt_about_who_asks_and_whom_to_trust if {
	every state, code in {
		plain.changed("/lease/valid_until_ns", fixtures.now - 1): "lease.expired",
		plain.changed("/trust/quarantine/subjects", {fixtures.issuer: {"alice": {}}}): "quarantine.subject",
		plain.changed("/trust/quarantine/domains", {"example.org": {}}): "quarantine.domain",
		plain.changed("/digest", 7): "state.malformed",
	} {
		decision := decide_in(broken, fixtures.request, state, plain.refusing)
		plain.codes(decision) == [code]
		decision.mode == null
	}
	every request, code in {
		object.union(fixtures.request, {"more": 1}): "request.malformed",
		object.union(fixtures.request, {"identity": {"token": fixtures.token_with({"exp": 1})}}): "identity.expired",
		object.union(fixtures.inside, {"execution": {"id": "e-2"}}): "execution.mismatch",
	} {
		plain.codes(decide_in(broken, request, fixtures.state, plain.refusing)) == [code]
	}
}

test_break_glass_is_for_those_whom_it_names if {
	every member, value in {
		"subjects": [{"issuer": fixtures.issuer, "id": "bob"}],
		"actions": ["refund"],
		"resources": ["ledger/*"],
		"until_ns": fixtures.now,
	} {
		modes := {"break_glass": [object.union(broken.break_glass[0], {member: value})]}
		decide_in(modes, fixtures.request, fixtures.state, plain.refusing).mode == null
	}
}

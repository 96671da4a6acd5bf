package placet.policy_test

import data.placet.policy

failures(value) := codes if {
	codes := policy.failures with data.placet_glue as {"value": value}
}

repeated(item, count) := [item | some _ in numbers.range(1, count)]

reason := {"code": "c", "message": "m"}

text(length) := concat("", repeated("x", length))

test_booleans if {
	failures(true) == []
	failures(false) == ["policy.denied"]
}

test_objects if {
	failures({"allow": true}) == []
	failures({"allow": false}) == ["policy.denied"]
	failures({"allow": true, "reasons": [], "obligations": []}) == []
	failures({"allow": true, "reasons": set(), "obligations": {{"type": "review"}}}) == []
}

test_undefined if policy.failures == ["policy.undefined"]

test_undefined_has_nothing_to_say if {
	policy.reasons == []
	policy.obligations == []
}

test_reasons_are_prefixed_and_ordered if {
	reasons := policy.reasons with data.placet_glue as {"value": {"allow": false, "reasons": {
		{"code": "z", "message": "last"},
		{"code": "lease.expired", "message": "first"},
	}}}
	reasons == [{"code": "policy:lease.expired", "message": "first"}, {"code": "policy:z", "message": "last"}]
}

test_obligations if {
	obligations := policy.obligations with data.placet_glue as {"value": {
		"allow": true,
		"obligations": {{"b": 1}, {"a": [1, {"deep": true}]}},
	}}
	obligations == [{"a": [1, {"deep": true}]}, {"b": 1}]
}

test_limits_that_still_pass if {
	failures({"allow": true, "obligations": repeated({}, 32)}) == []
	failures({"allow": true, "reasons": repeated(reason, 32)}) == []
	failures({"allow": true, "reasons": [{"code": text(128), "message": text(1024)}]}) == []
	failures({"allow": true, "reasons": [{"code": "c", "message": ""}]}) == []
}

test_malformed if {
	every value in [
		null, 0, 1, "", "true", [], [true], {true}, {},
		{"allow": null}, {"allow": "true"}, {"allow": 1}, {"allow": [true]},
		{"allowed": true},
		{"allow": true, "deny": true},
		{"allow": true, "obligation": []},
		{"allow": true, "reasons": {}},
		{"allow": true, "reasons": "why"},
		{"allow": true, "reasons": ["why"]},
		{"allow": true, "reasons": [{"code": "c"}]},
		{"allow": true, "reasons": [{"code": "", "message": "m"}]},
		{"allow": true, "reasons": [{"code": 7, "message": "m"}]},
		{"allow": true, "reasons": [{"code": "c", "message": 7}]},
		{"allow": true, "reasons": [{"code": "c", "message": "m", "more": 1}]},
		{"allow": true, "reasons": [{"code": text(129), "message": "m"}]},
		{"allow": true, "reasons": [{"code": "c", "message": text(1025)}]},
		{"allow": true, "reasons": repeated(reason, 33)},
		{"allow": true, "obligations": null},
		{"allow": true, "obligations": [7]},
		{"allow": true, "obligations": repeated({}, 33)},
	] {
		failures(value) == ["policy.malformed"]
	}
}

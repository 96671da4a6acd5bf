package placet.mode_test

import data.placet.mode

subject := {"id": "alice", "issuer": "i", "domain": "example.org", "claims": {}, "actors": []}

request := {"action": {"name": "refund"}, "resource": {"type": "payment", "id": "p-1"}}

window := {"id": "one", "from_ns": 100, "until_ns": 200}

glass := object.union(window, {
	"subjects": [{"issuer": "i", "id": "alice"}, {"issuer": "i", "id": "agent"}],
	"actions": ["refund"],
	"resources": ["payment/*"],
	"reason": "outage",
	"by": ["ann", "bob"],
})

shadow(modes, now) := found if {
	found := mode.shadow with data.placet_state as {"trust": {"modes": {"shadow": modes}}}
		with data.placet.clock.now as now
}

broken(modes, subject, request, now) := found if {
	found := mode.break_glass with data.placet_state as {"trust": {"modes": {"break_glass": modes}}}
		with data.placet.clock.now as now
		with data.placet.identity.subject as subject
		with input as request
}

test_shadow_between_its_times if {
	every now in [100, 150, 199] {
		shadow([window], now) == {"id": "one", "until_ns": 200}
	}
	every now in [0, 99, 200, 1000] {
		shadow([window], now) == null
	}
}

test_the_first_that_holds_counts if {
	past := {"id": "past", "from_ns": 0, "until_ns": 50}
	also := {"id": "also", "from_ns": 100, "until_ns": 300}
	shadow([past, window, also], 150).id == "one"
	shadow([past, window, also], 250).id == "also"
}

test_break_glass_for_the_named if {
	broken([glass], subject, request, 150) == {"id": "one", "until_ns": 200}
	broken([glass], object.union(subject, {"actors": [{"issuer": "i", "id": "agent"}]}), request, 150).id == "one"
	broken([glass], object.remove(subject, ["actors"]), request, 150).id == "one"
	every now in [99, 200] {
		broken([glass], subject, request, now) == null
	}
}

test_break_glass_for_nobody_and_nothing_else if {
	every other in [
		object.union(subject, {"id": "bob"}),
		object.union(subject, {"issuer": "j"}),
		object.union(subject, {"asserted": true}),
		object.union(subject, {"actors": [{"issuer": "i", "id": "stranger"}]}),
		object.union(subject, {"actors": [{"issuer": "i", "id": "agent"}, {"issuer": "i", "id": "stranger"}]}),
	] {
		broken([glass], other, request, 150) == null
	}
	every other in [
		{},
		object.union(request, {"action": {"name": "read"}}),
		object.union(request, {"resource": {"type": "ledger"}}),
		object.union(request, {"resource": {"type": "payment/p"}}),
		object.remove(request, ["action"]),
	] {
		broken([glass], subject, other, 150) == null
	}
}

test_without_a_subject_no_glass_is_broken if {
	found := mode.break_glass with data.placet_state as {"trust": {"modes": {"break_glass": [glass]}}}
		with data.placet.clock.now as 150
		with input as request
	found == null
}

test_modes_of_another_form_hold_never if {
	every modes in [null, 7, true, "text", {}, [], [null], [7], [{}], [[]], {"id": "one"}] {
		shadow(modes, 150) == null
		broken(modes, subject, request, 150) == null
	}
	every member in ["id", "from_ns", "until_ns"] {
		shadow([object.remove(window, [member])], 150) == null
		broken([object.remove(glass, [member])], subject, request, 150) == null
	}
	every value in [null, true, "100", "", [], {}] {
		shadow([object.union(window, {"from_ns": value})], 150) == null
		shadow([object.union(window, {"until_ns": value})], 150) == null
	}
	shadow([object.union(window, {"until_ns": 1e30})], 150) == null
	shadow([object.union(window, {"from_ns": -1})], 150) == null
	every member in ["subjects", "actions", "resources"] {
		every value in [null, true, "alice", [], {}, 7, [null]] {
			broken([json.patch(glass, [{"op": "replace", "path": [member], "value": value}])], subject, request, 150) == null
		}
	}
	mode.shadow == null
	mode.break_glass == null
}

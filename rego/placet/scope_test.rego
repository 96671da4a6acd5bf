package placet.scope_test

import data.placet.scope

test_exact_texts_and_prefixes if {
	every text in ["read", "write", "list.all", "list."] {
		scope.matches(["read", "write", "list.*"], text)
	}
	every text in ["", "rea", "reads", "Read", "list", "LIST.all", "read\n", "ｒead", null, 7, [], {}, true] {
		not scope.matches(["read", "write", "list.*"], text)
	}
	every text in ["", "read", "a*", "a:**", "日本"] {
		scope.matches(["*"], text)
	}
}

test_patterns_of_another_form_match_nothing if {
	every patterns in [[], {}, null, 7, "*", true] {
		not scope.matches(patterns, "read")
	}
}

test_resources if {
	every patterns in [["payment/p-1"], ["payment/*"], ["pay*"], ["*"], ["other", "payment/p-*"]] {
		scope.resource_covered(patterns, {"type": "payment", "id": "p-1"})
	}
	every patterns in [["payment"], ["payment/p"], ["p-1"], ["payment/p-1/*"], ["Payment/*"], []] {
		not scope.resource_covered(patterns, {"type": "payment", "id": "p-1"})
	}
	scope.resource_covered(["payment/a/b"], {"type": "payment", "id": "a/b"})
}

test_a_type_with_a_slash_is_never_covered if {
	every patterns in [["*"], ["payment/*"], ["payment/a/b"]] {
		not scope.resource_covered(patterns, {"type": "payment/a", "id": "b"})
	}
}

test_resources_of_another_form_are_never_covered if {
	every resource in [
		null, [], {}, "payment/p-1", {"type": "payment"}, {"id": "p-1"},
		{"type": 7, "id": "p-1"}, {"type": null, "id": "p-1"}, {"type": "payment", "id": 7}, {"type": ["payment"], "id": "p-1"},
	] {
		not scope.resource_covered(["*"], resource)
	}
}

test_constraints_met if {
	every constraints in [
		{},
		{"amount": {"at_most": 40}},
		{"amount": {"at_most": 40.5, "at_least": 40}},
		{"amount": {"at_least": 39}},
		{"amount": {"in": [1, 40.0]}, "currency": {"in": ["EUR"]}, "urgent": {"in": [false]}},
	] {
		scope.constraints_met(constraints, {"amount": 40, "currency": "EUR", "urgent": false})
	}
}

test_constraints_not_met if {
	every constraints in [
		{"amount": {"at_most": 39}},
		{"amount": {"at_most": 50, "at_least": 41}},
		{"amount": {"at_least": 41}},
		{"amount": {"in": [1, 41, "40"]}},
		{"missing": {"at_most": 40}},
		{"missing": {"in": [null]}},
		{"currency": {"at_most": 9}},
		{"currency": {"at_least": 9}},
		{"urgent": {"in": [0, "false", true]}},
		{"amount": {"at_most": 50}, "missing": {"at_most": 40}},
	] {
		not scope.constraints_met(constraints, {"amount": 40, "currency": "EUR", "urgent": false})
	}
}

test_values_of_another_type_meet_no_bound if {
	every value in [null, true, "40", "", [], [40], {}, {"at_most": 1}] {
		not scope.constraints_met({"amount": {"at_most": 50}}, {"amount": value})
		not scope.constraints_met({"amount": {"at_least": 1}}, {"amount": value})
		not scope.constraints_met({"amount": {"at_least": 1, "at_most": 50}}, {"amount": value})
		not scope.constraints_met({"amount": {"in": [40]}}, {"amount": value})
	}
	every context in [null, [], [40], "amount", 40] {
		not scope.constraints_met({"amount": {"at_most": 50}}, context)
	}
}

test_constraints_of_another_form_are_not_met if {
	every constraints in [null, [], "text", 7, true, {"amount": {}}, {"amount": null}, {"amount": {"most": 50}}] {
		not scope.constraints_met(constraints, {"amount": 40})
	}
}

test_numbers_beyond_doubles_are_compared_exactly if {
	not scope.constraints_met({"amount": {"at_most": 9007199254740992}}, {"amount": 9007199254740993})
	not scope.constraints_met({"amount": {"at_most": 36893488147419103232}}, {"amount": 36893488147419103233})
	not scope.constraints_met({"amount": {"at_most": 0.1}}, {"amount": 0.1000000000000000000000000000000001})
	scope.constraints_met({"amount": {"at_most": 0.10}}, {"amount": 1e-1})
}

test_a_scope_covers_a_request if {
	whole := {"actions": ["refund"], "resources": ["payment/*"], "constraints": {"amount": {"at_most": 9}}}
	request := {"action": {"name": "refund"}, "resource": {"type": "payment", "id": "p"}, "context": {"amount": 9}}
	scope.covers(whole, request)
	not scope.covers(whole, object.union(request, {"action": {"name": "read"}}))
	not scope.covers(whole, object.union(request, {"resource": {"type": "ledger"}}))
	not scope.covers(whole, object.union(request, {"context": {"amount": 10}}))
	not scope.covers(whole, object.remove(request, ["context"]))
	every member in ["actions", "resources", "constraints"] {
		not scope.covers(object.remove(whole, [member]), request)
	}
	every member in ["action", "resource"] {
		not scope.covers(whole, object.remove(request, [member]))
	}
	scope.covers(object.union(object.remove(whole, ["constraints"]), {"constraints": {}}), object.remove(request, ["context"]))
}

test_patterns_within if {
	every child in [["a"], ["a:*"], ["a:b"], ["a:b*"], ["a", "a:*", "a:b"], ["c", "a:x"]] {
		scope.patterns_within(child, ["a", "a:*", "c"])
	}
	every child in [["*"], ["a*"], ["b"], ["c*"], ["c:d"], ["a:", "b"], ["a;*"], ["A"], [""]] {
		not scope.patterns_within(child, ["a", "a:b*", "c"])
	}
	every child in [["*"], ["a*"], ["anything"], ["a", "*"]] {
		scope.patterns_within(child, ["*"])
	}
	not scope.patterns_within(["*"], ["a*", "b*"])
}

test_constraints_within if {
	parent := {"amount": {"at_least": 1, "at_most": 10}, "currency": {"in": ["EUR", "USD", 1]}, "weight": {"at_least": 0}}
	every child in [
		parent,
		object.union(parent, {"amount": {"at_least": 2, "at_most": 9}}),
		object.union(parent, {"more": {"in": [true]}}),
		object.union(parent, {"weight": {"at_most": 7}}),
		{"amount": parent.amount, "currency": {"in": ["USD", 1.0]}, "weight": {"at_least": 0.5}},
	] {
		scope.constraints_within(child, parent)
	}
	every child in [
		{},
		object.remove(parent, ["amount"]),
		object.union(object.remove(parent, ["amount"]), {"amount": {"at_most": 10}}),
		object.union(object.remove(parent, ["amount"]), {"amount": {"at_least": 1}}),
		object.union(object.remove(parent, ["amount"]), {"amount": {"in": [5]}}),
		object.union(parent, {"amount": {"at_most": 11}}),
		object.union(parent, {"amount": {"at_least": 0}}),
		object.union(parent, {"currency": {"in": ["EUR", "GBP"]}}),
		object.union(object.remove(parent, ["currency"]), {"currency": {"at_most": 1}}),
		object.union(parent, {"weight": {"at_least": -1}}),
	] {
		not scope.constraints_within(child, parent)
	}
}

test_narrower_scopes if {
	parent := {"actions": ["a*"], "resources": ["r/*"], "constraints": {"n": {"at_most": 5}}}
	scope.narrower(parent, parent)
	scope.narrower({"actions": ["a"], "resources": ["r/1"], "constraints": {"n": {"at_most": 4}}}, parent)
	every change in [{"actions": ["b"]}, {"resources": ["s/*"]}, {"constraints": {"n": {"at_most": 6}}}] {
		not scope.narrower(object.union(parent, change), parent)
	}
	not scope.narrower(object.union(object.remove(parent, ["constraints"]), {"constraints": {}}), parent)
}

test_well_formed_patterns if {
	every patterns in [
		["a"], ["*"], ["a*"], ["a", "*", "b/*"], ["日本*"], ["a\"b\\c*"], ["a\nb*", "c"], [" "],
		[concat("", ["p", format_int(n, 10), "*"]) | some n in numbers.range(1, 32)],
	] {
		scope.patterns_well_formed(patterns)
	}
	every patterns in [
		null, 7, true, "*", {}, {"a": "a"}, [], [""], ["a", ""], ["**"], ["a**"], ["a*b"], ["*a"], ["a:**"], ["a", "b*c"],
		["日*本"], ["a\\*b"], ["a\n*b"], ["a*\nb"], ["a*\"", "b"], ["a*\",\"b"], [7], ["a", 7], ["a", null], [["a"]], ["a", ["b"]], [{}], [true],
		[concat("", ["p", format_int(n, 10)]) | some n in numbers.range(1, 33)],
	] {
		not scope.patterns_well_formed(patterns)
	}
}

long := to_number(concat("", ["7" | some _ in numbers.range(1, 50)]))

# Each comparison with such a number can cost milliseconds.
test_monstrous_numbers_meet_no_bound if {
	every value in [long, 1e1000, -1e1000, 1e-1000] {
		every bound in [{"at_most": 5}, {"at_least": -5}, {"at_least": -5, "at_most": 5}, {"in": [1, value]}] {
			not scope.constraints_met({"n": bound}, {"n": value})
		}
	}
	scope.constraints_met({"n": {"at_most": 5}}, {"n": -1e999})
}

test_well_formed_constraints if {
	every constraints in [
		{},
		{"n": {"at_most": 1}},
		{"n": {"at_least": -1.5}},
		{"n": {"at_least": 1, "at_most": 0}},
		{"n": {"in": ["a", 1, true]}},
		{"n": {"in": [number | some number in numbers.range(1, 64)]}},
		{"n": {"in": ["", "\"", "\\", "a\",\"b", "]", "<\n\u2028日", -0, -1.5e-300, 1e999, 123456789012345678901234567890, false]}},
		{sprintf("n%d", [n]): {"at_most": n} | some n in numbers.range(1, 32)},
	] {
		scope.constraints_well_formed(constraints)
	}
	every constraints in [
		null, 7, true, "text", [], [{"at_most": 1}],
		{"n": null}, {"n": 7}, {"n": []}, {"n": {}}, {"n": "at_most"},
		{"n": {"at_most": "1"}}, {"n": {"at_most": null}}, {"n": {"at_most": 1, "at_least": []}},
		{"n": {"at_most": 1, "in": [1]}}, {"n": {"most": 1}}, {"n": {"at_most": 1, "other": 1}},
		{"n": {"in": []}}, {"n": {"in": {}}}, {"n": {"in": "a"}}, {"n": {"in": [null]}}, {"n": {"in": [["a"]]}}, {"n": {"in": [1, {}]}},
		{"n": {"in": [number | some number in numbers.range(1, 65)]}},
		{sprintf("n%d", [n]): {"at_most": n} | some n in numbers.range(1, 33)},
		{"n": {"at_most": 1e1000}}, {"n": {"at_least": 1, "at_most": 1e-1000}}, {"n": {"in": ["a", 1e1000]}}, {"n": {"in": [long]}},
		{"n": {"at_least": long}},
		{"n": {"at_most": 1}, "m": {}},
	] {
		not scope.constraints_well_formed(constraints)
	}
}

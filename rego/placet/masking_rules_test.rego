package placet_log_test

import data.placet.fixtures_test as fixtures
import data.placet_log

key := "0123456789abcdef0123456789abcdef"

# What is recorded of an input, or of a result, under the rules of the system.
under(masking, event) := after if {
	mask := placet_log.mask with input as event with data.placet_state as ruled(masking)
	after := json.patch(event, [object.union(operation, {"op": "add"}) | some operation in mask])
}

ruled(masking) := {"trust": {"masking": masking}, "masking_key": key}

input_under(rules, value) := under({"input": rules, "result": []}, with_input(value)).input

removed(path) := {"path": path, "how": "remove"}

hashed(path) := {"path": path, "how": "hash"}

hash_of(value) := sprintf("(masked %s)", [crypto.hmac.sha256(json.marshal(value), key)])

context_under(rules, context) := input_under(rules, fixtures.request_with({"context": context})).context

test_values_are_replaced_at_their_places if {
	context := {"card": {"number": 4111, "holder": "Ann"}, "amount": 40, "items": [{"a": 1, "b": 2}, {"a": null}, 7]}
	context_under([removed(["context", "card", "number"])], context).card == {"number": "(masked)", "holder": "Ann"}
	context_under([hashed(["context", "card"])], context).card == hash_of(context.card)
	context_under([removed(["context", "items", null, "a"])], context).items == [{"a": "(masked)", "b": 2}, {"a": "(masked)"}, 7]
	context_under([removed(["context", "card", null])], context).card == {"number": "(masked)", "holder": "(masked)"}
	context_under([removed(["context"])], context) == "(masked)"
	context_under([removed(["context", "amount", "x"]), removed(["context", "items", "0"])], context) == context
	context_under([removed(["context", "amount", null])], context) == context
	context_under([removed(["absent"]), removed(["context", "absent"])], context) == context
	deep := {"b": {"c": {"d": {"e": {"f": {"g": {"h": 1}}}}}}}
	masked_deep := context_under([removed(["context", "b", "c", "d", "e", "f", "g", "h"])], deep)
	masked_deep == {"b": {"c": {"d": {"e": {"f": {"g": {"h": "(masked)"}}}}}}}
}

test_rules_may_name_what_others_name_too if {
	context := {"a": {"b": 1, "c": 2}}
	both := [removed(["context", "a", "b"]), hashed(["context", "a"]), removed(["context", null, "c"])]
	context_under(both, context) == {"a": hash_of(context.a)}
}

test_names_of_members_may_be_any_text if {
	context := {"": {"": 1}, "a/b": {"~1": 2}, "ü\u0000": 3}
	rules := [removed(["context", "", ""]), removed(["context", "a/b", "~1"]), removed(["context", "ü\u0000"])]
	context_under(rules, context) == {"": {"": "(masked)"}, "a/b": {"~1": "(masked)"}, "ü\u0000": "(masked)"}
	input_under([removed(["a/b c"])], {"a/b c": 1, "d": 2}) == {"a/b c": "(masked)", "d": 2}
}

# A request could make its record much larger than itself, and slow.
test_what_is_too_many_is_kept_back_whole if {
	many := [n | some n in numbers.range(1, 65)]
	context_under([removed(["context", null])], many) == "(masked)"
	context_under([hashed(["context", null, null])], [many]) == hash_of([many])
	few := [n | some n in numbers.range(1, 64)]
	context_under([removed(["context", null])], few) == ["(masked)" | some _ in few]
}

test_what_is_no_object_is_kept_back if {
	every value in [null, true, 7, "text", [1, {"a": 2}], "eyJ.a.b"] {
		input_under([removed(["context"])], value) == "(masked)"
	}
	input_under([], [1]) == [1]
}

test_tokens_stay_out_too if {
	leaking := fixtures.request_with({"context": {"a": fixtures.token, "b": fixtures.token}})
	every request in [leaking, object.union(leaking, {"warrant": [fixtures.token]})] {
		after := input_under([removed(["context", "a"])], request)
		after.context == {"a": "(masked)", "b": "(token cut)"}
		after.identity == {"token": unsigned(fixtures.token)}
	}
	after := input_under([removed(["identity", "token"])], fixtures.request)
	after.identity == {"token": "(masked)"}
	after.resource == fixtures.request.resource
}

test_results if {
	event_with := json.patch(event, [{"op": "replace", "path": "/result", "value": {"subject": {"id": "ann"}, "allow": true}}])
	rules := {"input": [], "result": [removed(["subject", "id"])]}
	under(rules, event_with).result == {"subject": {"id": "(masked)"}, "allow": true}
	under(rules, event_with).input == object.union(fixtures.request, {"identity": {"token": unsigned(fixtures.token)}})
	leaking := json.patch(event_with, [{"op": "add", "path": "/result/note", "value": fixtures.token}])
	under(rules, leaking).result == {"subject": {"id": "(masked)"}, "allow": true, "note": "(token cut)"}
	none := placet_log.mask with input as object.remove(event, ["result"]) with data.placet_state as ruled(rules)
	every operation in none {
		operation.path != "/result"
	}
}

test_without_a_key_nothing_is_hashed if {
	rules := {"input": [hashed(["resource"])], "result": []}
	every state in [
		{"trust": {"masking": rules}},
		{"trust": {"masking": rules}, "masking_key": "short"},
		{"trust": {"masking": rules}, "masking_key": [n | some n in numbers.range(1, 32)]},
	] {
		mask := placet_log.mask with input as event with data.placet_state as state
		[one.value.resource | some one in mask; one.path == "/input"] == ["(masked)"]
	}
}

test_as_long_as_the_rules_are_not_known_nothing_of_a_request_is_kept if {
	mask := placet_log.mask with input as event
	after := json.patch(event, [object.union(operation, {"op": "add"}) | some operation in mask])
	after.input == {"(others)": "(masked)", "execution": {}}
	after.result == event.result
	after.nd_builtin_cache == hidden(fixtures.token)
	every execution, kept in {
		{"id": "e-1"}: {"id": "e-1"},
		{"id": "e-1", "token": fixtures.token, "x": 1}: {"id": "e-1", "token": "(masked)"},
		{"id": fixtures.token, "token": null}: {"id": "(token cut)", "token": "(masked)"},
		{"id": {"a": 1}}: {},
		"e-1": {},
	} {
		asked := with_input(fixtures.request_with({"execution": execution}))
		operations := placet_log.mask with input as asked
		array.reverse([one.value.execution | some one in operations; one.path == "/input"])[0] == kept
	}
}

test_rules_that_are_not_well_formed_keep_everything_back if {
	every masking in [
		false,
		null,
		[],
		{},
		{"input": []},
		{"input": [], "result": {}},
		{"input": [7], "result": []},
		{"input": [{"path": ["context"]}], "result": []},
		{"input": [{"path": ["context"], "how": "blur"}], "result": []},
		{"input": [], "result": [removed([])]},
		{"input": [removed({"context": "context"})], "result": []},
		{"input": [removed([null, "a"])], "result": []},
		{"input": [removed(["context", 7])], "result": []},
		{"input": [removed("context")], "result": []},
		{"input": [removed([step | some _ in numbers.range(1, 9); step := "a"])], "result": []},
	] {
		after := under(masking, event)
		after.input == "(masked)"
		after.result == "(masked)"
	}
	odd := placet_log.mask with input as event with data.placet_state as {"trust": 7}
	count([one | some one in odd; one.path in {"/input", "/result"}; one.value == "(masked)"]) == 2
}

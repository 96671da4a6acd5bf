package placet_log_test

import data.placet.fixtures_test as fixtures
import data.placet_log

# The event after the mask, whose operations all set a member.
masked(event) := json.patch(event, operations) if {
	mask := placet_log.mask with input as event
	operations := [object.union(operation, {"op": "add"}) | some operation in mask]
}

digest_of(text) := concat(":", ["sha256", crypto.sha256(text)])

event := {
	"input": fixtures.request,
	"result": {"allow": true},
	"nd_builtin_cache": {"time.now_ns": {"[]": 1}, "io.jwt.decode_verify": {"operands": [true, {}, {}]}},
}

with_input(value) := json.patch(event, [{"op": "replace", "path": "/input", "value": value}])

test_nothing_is_dropped if placet_log.drop == false

test_the_usual_request_changes_in_two_places if {
	masked(event) == {
		"input": object.union(fixtures.request, {"identity": {"token": digest_of(fixtures.token)}}),
		"result": {"allow": true},
		"nd_builtin_cache": {
			"time.now_ns": {"[]": 1},
			"io.jwt.decode_verify": {crypto.sha256("operands"): [true, {}, {}]},
		},
	}
}

test_identities_of_any_form_become_a_digest if {
	every identity in [null, false, 7, "text", fixtures.token, [], [fixtures.token], {}, {"token": 7}, {"x": fixtures.token}] {
		after := masked(with_input(object.union(object.remove(fixtures.request, ["identity"]), {"identity": identity})))
		object.keys(after.input.identity) == {"token"}
		startswith(after.input.identity.token, "sha256:")
	}
}

test_warrants_become_digests if {
	after := masked(with_input(fixtures.request_with({"warrant": [fixtures.token, 7]})))
	after.input.warrant == [digest_of(fixtures.token), digest_of("7")]
}

test_inputs_that_are_no_objects if {
	every value in [null, true, 7, "text", [1, {"a": 2}]] {
		masked(with_input(value)).input == value
	}
	masked(with_input(fixtures.token)).input == "(token cut)"
	masked(with_input([{"a": fixtures.token}])).input == [{"a": "(token cut)"}]
}

test_tokens_elsewhere_are_cut if {
	after := masked(json.patch(event, [
		{"op": "add", "path": "/input/context", "value": {"header": concat(" ", ["Bearer", fixtures.token])}},
		{"op": "add", "path": "/result/obligations", "value": [{fixtures.token: 1}]},
		{"op": "add", "path": "/nd_builtin_cache/other", "value": {fixtures.token: 1}},
	]))
	after.input.context == {"header": "Bearer (token cut)"}
	after.result.obligations == [{"(token cut)": 1}]
	after.nd_builtin_cache.other == {"(token cut)": 1}
}

test_events_without_an_input_or_a_result if {
	mask := placet_log.mask with input as {"nd_builtin_cache": {}, "error": "conflict"}
	count(mask) == 3
}

test_a_failed_evaluation_is_checked_too if {
	failed := object.remove(with_input(fixtures.request_with({"context": {"t": fixtures.token}})), ["result"])
	mask := placet_log.mask with input as failed
	not contains(json.marshal(mask), fixtures.token)
}

test_what_cannot_be_masked_is_left_out if {
	mask := placet_log.mask with input as "not an event"
	{operation.path | some operation in mask} == {"/input", "/nd_builtin_cache", "/result"}
	not contains(json.marshal(mask), "not an event")
}

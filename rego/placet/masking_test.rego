package placet_log_test

import data.placet.certificates_fixtures_test as pems
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

hidden := {"time.now_ns": {"[]": 1}, "io.jwt.decode_verify": {crypto.sha256("operands"): [true, {}, {}]}}

test_the_usual_request_changes_in_two_places if {
	masked(event) == {
		"input": object.union(fixtures.request, {"identity": {"token": digest_of(fixtures.token)}}),
		"result": {"allow": true},
		"nd_builtin_cache": hidden,
	}
	count(placet_log.mask) == 2 with input as event
}

test_the_token_of_an_execution if {
	asked := with_input(fixtures.inside)
	masked(asked) == {
		"input": object.union(fixtures.inside, {"execution": {"token": digest_of(fixtures.inside.execution.token)}}),
		"result": {"allow": true},
		"nd_builtin_cache": hidden,
	}
	count(placet_log.mask) == 2 with input as asked
	stepped := object.union(fixtures.inside, {"execution": {"step": 3}})
	masked(with_input(stepped)).input.execution == {
		"id": "e-1",
		"token": digest_of(fixtures.inside.execution.token),
		"step": 3,
	}
}

test_an_execution_that_is_only_named_stays if {
	every execution in [{"id": "e-1"}, {"id": "e-1", "step": 3}, null, "e-1", ["e-1"]] {
		masked(with_input(fixtures.request_with({"execution": execution}))).input.execution == execution
	}
}

test_tokens_of_executions_of_any_form_become_a_digest if {
	every token in [null, false, 7, [fixtures.token], {"x": fixtures.token}, ""] {
		after := masked(with_input(json.patch(fixtures.inside, [{"op": "replace", "path": "/execution/token", "value": token}])))
		object.keys(after.input.execution) == {"id", "token"}
		startswith(after.input.execution.token, "sha256:")
	}
	masked(with_input({"execution": {"id": fixtures.token, "token": "x"}})).input.execution.id == "(token cut)"
}

test_identities_of_any_form_become_a_digest if {
	every identity in [null, false, 7, "text", fixtures.token, [], [fixtures.token], {}, {"token": 7}, {"x": fixtures.token}] {
		after := masked(with_input(object.union(object.remove(fixtures.request, ["identity"]), {"identity": identity})))
		object.keys(after.input.identity) == {"token"}
		startswith(after.input.identity.token, "sha256:")
	}
}

test_a_forwarded_certificate_stays if {
	key := "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"
	chain := [pems.leaf, key, concat("\n", [pems.leaf, key]), 7]
	after := masked(with_input(fixtures.request_with({"identity": {"token": fixtures.token, "certificate": chain}})))
	after.input.identity == {
		"token": digest_of(fixtures.token),
		"certificate": [pems.leaf, digest_of(key), digest_of(concat("\n", [pems.leaf, key])), digest_of("7")],
	}
	every other in [null, {}, 7] {
		asked := fixtures.request_with({"identity": {"token": fixtures.token, "certificate": other}})
		masked(with_input(asked)).input.identity.certificate == [digest_of(json.marshal(other))]
	}
}

test_an_asserted_subject_stays if {
	asked := fixtures.request_with({"identity": {"token": fixtures.token, "asserted": {"id": "bob"}}})
	masked(with_input(asked)).input.identity == {"token": digest_of(fixtures.token), "asserted": {"id": "bob"}}
	leaking := fixtures.request_with({"identity": {"token": fixtures.token, "asserted": {"id": fixtures.token}}})
	masked(with_input(leaking)).input.identity.asserted == {"id": "(token cut)"}
}

test_lists_of_tokens_become_digests if {
	after := masked(with_input(fixtures.request_with({
		"warrant": [fixtures.token, 7],
		"environment": [fixtures.token],
		"proof": fixtures.token,
	})))
	after.input.warrant == [digest_of(fixtures.token), digest_of("7")]
	after.input.environment == [digest_of(fixtures.token)]
	after.input.proof == digest_of(fixtures.token)
	opaque := masked(with_input(fixtures.request_with({"warrant": ["opaque"], "environment": ["opaque"], "proof": "opaque"})))
	object.filter(opaque.input, ["warrant", "environment", "proof"]) == {
		"warrant": [digest_of("opaque")],
		"environment": [digest_of("opaque")],
		"proof": digest_of("opaque"),
	}
}

test_inputs_that_are_no_objects if {
	every value in [null, true, 7, "text", [1, {"a": 2}]] {
		masked(with_input(value)).input == value
	}
	masked(with_input(fixtures.token)).input == "(token cut)"
	masked(with_input([{"a": fixtures.token}])).input == [{"a": "(token cut)"}]
}

test_tokens_elsewhere_are_cut if {
	every request in [fixtures.request, fixtures.inside, fixtures.request_with({"warrant": []})] {
		after := masked(json.patch(with_input(request), [
			{"op": "add", "path": "/input/context", "value": {"header": concat(" ", ["Bearer", fixtures.token])}},
			{"op": "add", "path": "/result/obligations", "value": [{fixtures.token: 1}]},
			{"op": "add", "path": "/nd_builtin_cache/other", "value": {fixtures.token: 1}},
		]))
		after.input.context == {"header": "Bearer (token cut)"}
		after.result.obligations == [{"(token cut)": 1}]
		after.nd_builtin_cache.other == {"(token cut)": 1}
	}
}

# As JSON these are written with an escape that ends with `e`: to cut a token off there would leave no JSON.
test_what_looks_like_a_token_after_an_escape if {
	every before in ["\u000e", "\u001e", ">", `\`, `\u003`, `\\u000`, "\\>", "\n", `"`] {
		context := {"a": concat("", [before, "yJa.b.c"]), "b": concat("", [before, "eyJa.b.c", before])}
		after := masked(json.patch(
			with_input(fixtures.request),
			[{"op": "add", "path": "/input/context", "value": context}],
		))
		after.input.context.b == concat("", [before, "(token cut)", before])
		after.input.context.a in {context.a, concat("", [trim_suffix(before, "e"), "(token cut)"])}
		after.result == with_input(fixtures.request).result
	}
}

# What a caller can repeat must not grow in the record.
test_long_lists_share_a_digest if {
	tokens := [n | some n in numbers.range(1, 5000)]
	of_rest := concat(":", ["sha256", crypto.sha256(json.marshal(array.slice(tokens, 9, 5000)))])
	request := fixtures.request_with({"warrant": tokens, "environment": fixtures.token})
	after := masked(json.patch(
		with_input(request),
		[{"op": "add", "path": "/input/identity/certificate", "value": tokens}],
	))
	[count(after.input.warrant), after.input.warrant[9]] == [10, of_rest]
	[count(after.input.identity.certificate), after.input.identity.certificate[9]] == [10, of_rest]
	after.input.environment == [concat(":", ["sha256", crypto.sha256(fixtures.token)])]
}

# A token may carry another one in its claims.
test_tokens_in_verified_claims_are_cut if {
	every request in [fixtures.request, fixtures.inside, fixtures.request_with({"warrant": []})] {
		after := masked(json.patch(with_input(request), [{
			"op": "replace",
			"path": "/nd_builtin_cache/io.jwt.decode_verify/operands",
			"value": [true, {}, {"inner": fixtures.token}],
		}]))
		after.nd_builtin_cache["io.jwt.decode_verify"] == {crypto.sha256("operands"): [true, {}, {"inner": "(token cut)"}]}
	}
}

test_calls_are_hidden_however_many_they_are if {
	every calls in [{}, {"a": [false, {}, {}], fixtures.token: [true, {}, {}]}] {
		every request in [fixtures.request, fixtures.inside] {
			asked := json.patch(with_input(request), [{
				"op": "replace",
				"path": "/nd_builtin_cache/io.jwt.decode_verify",
				"value": calls,
			}])
			masked(asked).nd_builtin_cache["io.jwt.decode_verify"] == {crypto.sha256(operands): result | some operands, result in calls}
		}
	}
}

test_events_without_an_input_or_a_result if {
	mask := placet_log.mask with input as {"nd_builtin_cache": {}, "error": "conflict"}
	count(mask) == 3
}

test_a_failed_evaluation_is_checked_too if {
	every request in [fixtures.request, fixtures.inside] {
		failed := object.remove(with_input(object.union(request, {"context": {"t": fixtures.token}})), ["result"])
		mask := placet_log.mask with input as failed
		not contains(json.marshal(mask), fixtures.token)
	}
}

# The record of a start: its result holds claims.
test_the_start_of_an_execution if {
	asked := json.patch(with_input(fixtures.request_with({"execution": {"id": "e-1"}})), [{
		"op": "replace",
		"path": "/result",
		"value": {"decision": {"allow": true}, "claims": {"claims": {"inner": fixtures.token}}, "redeem": []},
	}])
	masked(asked).result.claims == {"claims": {"inner": "(token cut)"}}
	masked(asked).input.execution == {"id": "e-1"}
}

test_what_cannot_be_masked_is_left_out if {
	mask := placet_log.mask with input as "not an event"
	{operation.path | some operation in mask} == {"/input", "/nd_builtin_cache", "/result"}
	not contains(json.marshal(mask), "not an event")
}

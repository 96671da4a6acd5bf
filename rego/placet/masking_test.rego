package placet_log_test

import data.placet.certificates_fixtures_test as pems
import data.placet.fixtures_test as fixtures
import data.placet_log

# The event after the mask, whose operations all set a member.
masked(event) := json.patch(event, operations) if {
	mask := placet_log.mask with input as event with data.placet_state.trust as {}
	operations := [object.union(operation, {"op": "add"}) | some operation in mask]
}

digest_of(text) := concat(":", ["sha256", crypto.sha256(text)])

# A JWT without its signature.
unsigned(token) := concat(".", array.concat(array.slice(split(token, "."), 0, 2), [crypto.sha256(token)]))

constraints := {"alg": "EdDSA", "time": 1}

# How OPA files a call.
operands_of(token) := json.marshal([token, constraints])

event := event_of(fixtures.token)

event_of(token) := {
	"input": fixtures.request,
	"result": {"allow": true},
	"nd_builtin_cache": {"time.now_ns": {"[]": 1}, "io.jwt.decode_verify": {operands_of(token): [true, {}, {}]}},
}

with_input(value) := json.patch(event, [{"op": "replace", "path": "/input", "value": value}])

inside(value) := json.patch(
	event_of(fixtures.inside.execution.token),
	[{"op": "replace", "path": "/input", "value": value}],
)

test_nothing_is_dropped if placet_log.drop == false

hidden(token) := {
	"time.now_ns": {"[]": 1},
	"io.jwt.decode_verify": {crypto.sha256(token): true},
	"placet.lease": {"[]": null},
}

digest_object(value) := {"sha256": crypto.sha256(json.marshal(value))}

test_the_usual_request_changes_in_three_places if {
	every request in [fixtures.request, fixtures.request_with({"context": {}})] {
		asked := with_input(request)
		masked(asked) == {
			"input": object.union(request, {"identity": {"token": unsigned(fixtures.token)}}),
			"result": {"allow": true},
			"nd_builtin_cache": hidden(fixtures.token),
		}
		count(placet_log.cut) == 3 with input as asked
	}
}

# A policy may read it, and it may be what an answer's `expires_at` is.
test_the_lease_is_kept if {
	lease := {"issued_at_ns": 1, "valid_until_ns": 2}
	every one in [event, inside(fixtures.inside), with_input({"warrant": []}), with_input(7)] {
		after := masked(one) with data.placet_state.lease as lease
		after.nd_builtin_cache["placet.lease"] == {"[]": lease}
	}
}

test_the_token_of_an_execution if {
	asked := inside(fixtures.inside)
	masked(asked) == {
		"input": object.union(fixtures.inside, {"execution": {"token": unsigned(fixtures.inside.execution.token)}}),
		"result": {"allow": true},
		"nd_builtin_cache": hidden(fixtures.inside.execution.token),
	}
	count(placet_log.cut) == 3 with input as asked
	noted := inside(object.union(fixtures.inside, {"context": {"note": fixtures.token}}))
	masked(noted).input.context == {"note": "(token cut)"}
	stepped := object.union(fixtures.inside, {"execution": {"step": 3}})
	masked(with_input(stepped)).input.execution == {
		"id": "e-1",
		"token": unsigned(fixtures.inside.execution.token),
		"step": 3,
	}
}

test_an_execution_that_is_only_named_stays if {
	every execution in [{"id": "e-1"}, {"id": "e-1", "step": 3}, null, "e-1", ["e-1"]] {
		masked(with_input(fixtures.request_with({"execution": execution}))).input.execution == execution
	}
}

# Checks tell them apart, so replay must be able to.
test_a_forwarded_certificate_stays if {
	key := "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"
	chain := [pems.leaf, key, concat("\n", [pems.leaf, key]), 7]
	after := masked(with_input(fixtures.request_with({"identity": {"token": fixtures.token, "certificate": chain}})))
	after.input.identity == {
		"token": unsigned(fixtures.token),
		"certificate": [pems.leaf, digest_of(key), digest_of(concat("\n", [pems.leaf, key])), 7],
	}
	every other in [null, {}, 7] {
		asked := fixtures.request_with({"identity": {"token": fixtures.token, "certificate": other}})
		masked(with_input(asked)).input.identity.certificate in {other, digest_object(other)}
	}
}

test_an_asserted_subject_stays if {
	asked := fixtures.request_with({"identity": {"token": fixtures.token, "asserted": {"id": "bob"}}})
	masked(with_input(asked)).input.identity == {"token": unsigned(fixtures.token), "asserted": {"id": "bob"}}
	leaking := fixtures.request_with({"identity": {"token": fixtures.token, "asserted": {"id": fixtures.token}}})
	masked(with_input(leaking)).input.identity.asserted == {"id": "(token cut)"}
}

test_lists_of_tokens_become_digests if {
	after := masked(with_input(fixtures.request_with({
		"warrant": [fixtures.token, 7],
		"environment": [fixtures.token],
		"proof": fixtures.token,
	})))
	after.input.warrant == [unsigned(fixtures.token), 7]
	after.input.environment == [unsigned(fixtures.token)]
	after.input.proof == unsigned(fixtures.token)
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
	of_rest := digest_object(array.slice(tokens, 9, 5000))
	request := fixtures.request_with({"warrant": tokens, "environment": fixtures.token})
	after := masked(json.patch(
		with_input(request),
		[{"op": "add", "path": "/input/identity/certificate", "value": tokens}],
	))
	[count(after.input.warrant), after.input.warrant[9]] == [10, of_rest]
	[count(after.input.identity.certificate), after.input.identity.certificate[9]] == [10, of_rest]
	after.input.environment == unsigned(fixtures.token)
}

# A token may carry another one, be it with escapes; and only what is a JWT is taken apart.
test_what_is_not_shown_without_its_signature if {
	head := base64url.encode_no_pad(json.marshal({"alg": "EdDSA"}))
	carrying := base64url.encode_no_pad(json.marshal({"inner": fixtures.token}))
	escaped := base64url.encode_no_pad(replace(json.marshal({"inner": fixtures.token}), "eyJ", `\u0065yJ`))
	every token in [
		concat(".", [head, carrying, "x"]),
		concat(".", [head, escaped, "x"]),
		concat(".", [head, "eyJ!", "x"]),
		concat(".", [head, "password", "x"]),
		concat(".", ["password", head, "x"]),
		concat(".", [head, head]),
		concat(".", [head, head, "x", "y", "z"]),
		concat(".", [head, head, concat("", [x | some _ in numbers.range(1, 1100); x := "xxxxxxxx"])]),
	] {
		asked := with_input(fixtures.request_with({"identity": {"token": token}}))
		masked(asked).input.identity == {"token": digest_of(token)}
		masked(with_input(fixtures.request_with({"proof": token}))).input.proof == digest_of(token)
	}
	accented := concat(".", [head, base64url.encode_no_pad(`{"name": "Ren\u00e9"}`), "x"])
	masked(with_input(fixtures.request_with({"proof": accented}))).input.proof == unsigned(accented)
}

with_calls(request, calls) := json.patch(with_input(request), [{
	"op": "replace",
	"path": "/nd_builtin_cache/io.jwt.decode_verify",
	"value": calls,
}])

test_of_calls_only_the_outcome_stays if {
	other := json.marshal(["other", constraints])
	again := json.marshal(["other", {"alg": "ES256"}])
	filed := concat(":", [crypto.sha256("other"), crypto.sha256(json.marshal(constraints))])
	every request in [fixtures.request, fixtures.inside, fixtures.request_with({"warrant": []})] {
		one := masked(with_calls(request, {other: [true, {}, {"inner": fixtures.token}]}))
		one.nd_builtin_cache["io.jwt.decode_verify"] == {crypto.sha256("other"): true}
		two := masked(with_calls(request, {other: [true, {}, {}], operands_of(fixtures.token): [false, {}, {}]}))
		two.nd_builtin_cache["io.jwt.decode_verify"] == {crypto.sha256("other"): true, crypto.sha256(fixtures.token): false}
		three := masked(with_calls(request, {other: [true, {}, {}], again: [false, {}, {}], "operands": [false, {}, {}]}))
		three.nd_builtin_cache["io.jwt.decode_verify"][filed] == true
		three.nd_builtin_cache["io.jwt.decode_verify"][crypto.sha256("operands")] == false
		count(three.nd_builtin_cache["io.jwt.decode_verify"]) == 3
		none := masked(with_calls(request, {}))
		none.nd_builtin_cache["io.jwt.decode_verify"] == {}
	}
}

test_a_request_whose_token_was_not_verified if {
	asked := json.patch(
		with_input(fixtures.request_with({"identity": {"token": "no token"}})),
		[{"op": "remove", "path": "/nd_builtin_cache/io.jwt.decode_verify"}],
	)
	masked(asked).input.identity == {"token": digest_of("no token")}
	masked(asked).nd_builtin_cache == {"time.now_ns": {"[]": 1}, "placet.lease": {"[]": null}}
	count(placet_log.cut) == 2 with input as asked
}

# An outcome is filed under the token that it is about, whatever stands in the input.
test_the_one_call_may_be_of_another_token if {
	every request in [fixtures.request, fixtures.inside] {
		after := masked(with_calls(request, {json.marshal(["other", constraints]): [true, {}, {}]}))
		after.nd_builtin_cache["io.jwt.decode_verify"] == {crypto.sha256("other"): true}
	}
}

test_events_without_an_input_or_a_result if {
	mask := placet_log.cut with input as {"nd_builtin_cache": {}, "error": "conflict"}
	count(mask) == 3
}

test_a_failed_evaluation_is_checked_too if {
	every request in [fixtures.request, fixtures.inside] {
		failed := object.remove(with_input(object.union(request, {"context": {"t": fixtures.token}})), ["result"])
		mask := placet_log.cut with input as failed
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
	mask := placet_log.cut with input as "not an event"
	{operation.path | some operation in mask} == {"/input", "/nd_builtin_cache", "/result"}
	not contains(json.marshal(mask), "not an event")
}

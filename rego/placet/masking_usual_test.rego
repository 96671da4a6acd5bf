# Records of requests with one warrant, and of what only looks like them.
package placet_log_test

import data.placet.fixtures_test as fixtures
import data.placet_log

warrant := fixtures.token_with({"jti": "w-1"})

warranted := fixtures.request_with({"warrant": [warrant], "context": {}})

test_a_request_with_a_warrant_changes_in_four_places if {
	asked := with_calls(warranted, {operands_of(fixtures.token): [true, {}, {}], operands_of(warrant): [false, {}, {}]})
	masked(asked).input == object.union(
		warranted,
		{"identity": {"token": unsigned(fixtures.token)}, "warrant": [unsigned(warrant)]},
	)
	outcomes_of(asked) == {crypto.sha256(fixtures.token): true, crypto.sha256(warrant): false}
	count(placet_log.cut) == 4 with input as asked
}

outcomes_of(event) := masked(event).nd_builtin_cache["io.jwt.decode_verify"]

# Two calls that are not one for each token.
test_other_calls_beside_a_warrant if {
	again := json.marshal([fixtures.token, {"alg": "EdDSA", "time": 2}])
	twice := with_calls(warranted, {operands_of(fixtures.token): [true, {}, {}], again: [false, {}, {}]})
	count(outcomes_of(twice)) == 2
	not crypto.sha256(warrant) in object.keys(outcomes_of(twice))
	same := with_calls(
		fixtures.request_with({"warrant": [fixtures.token], "context": {}}),
		{operands_of(fixtures.token): [true, {}, {}], again: [false, {}, {}]},
	)
	count(outcomes_of(same)) == 2
	elsewhere := with_calls(
		object.union(warranted, {"context": {"note": warrant}}),
		{operands_of(fixtures.token): [true, {}, {}], operands_of(warrant): [true, {}, {}]},
	)
	masked(elsewhere).input.context == {"note": "(token cut)"}
}

# A text that begins as the operands of a call do, beside a warrant that was verified twice: with two values of the mask
# there would be an answer, and no record of it.
test_a_token_that_looks_like_operands if {
	looking := concat("", [warrant, `","alg`])
	twice := {operands_of(warrant): [false, {}, {}], json.marshal([warrant, {"alg": "EdDSA", "time": 2}]): [true, {}, {}]}
	every token in [looking, concat("", [warrant, `",{"alg":"EdDSA`])] {
		asked := with_calls(object.union(warranted, {"identity": {"token": token}}), twice)
		count(outcomes_of(asked)) == 2
	}
}

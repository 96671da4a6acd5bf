# What stands in the place of a token, but is none, is recorded so that replay can refuse it for the same reason.
package placet_log_test

import data.placet.fixtures_test as fixtures

with_token(token) := masked(with_input(json.patch(
	fixtures.inside,
	[{"op": "replace", "path": "/execution/token", "value": token}],
))).input.execution

test_tokens_of_executions_of_any_form_become_a_digest if {
	every token in [null, false, 7] {
		with_token(token) == {"id": "e-1", "token": token}
	}
	every token in [[fixtures.token], {"x": fixtures.token}, {}] {
		with_token(token) == {"id": "e-1", "token": digest_object(token)}
	}
	with_token("") == {"id": "e-1", "token": digest_of("")}
	masked(with_input({"execution": {"id": fixtures.token, "token": "x"}})).input.execution.id == "(token cut)"
}

with_identity(identity) := masked(with_input(object.union(
	object.remove(fixtures.request, ["identity"]),
	{"identity": identity},
))).input.identity

test_identities_of_any_form_keep_their_form if {
	every identity in [null, false, 7, {}, {"token": 7}, {"token": null}] {
		with_identity(identity) == identity
	}
	every identity in [[], [fixtures.token]] {
		with_identity(identity) == digest_object(identity)
	}
	with_identity("text") == digest_of("text")
	with_identity(fixtures.token) == unsigned(fixtures.token)
	others := {"x": fixtures.token, fixtures.token: 1}
	with_identity(others) == {"(other members)": digest_object(others)}
	with_identity(object.union(others, {"token": fixtures.token})) == {
		"token": unsigned(fixtures.token),
		"(other members)": digest_object(others),
	}
	with_identity({"asserted": {"id": fixtures.token}}) == {"asserted": {"id": "(token cut)"}}
}

test_what_is_no_list_of_tokens_stays_none if {
	after := masked(with_input(fixtures.request_with({"warrant": {"a": 1}, "environment": null, "proof": [1]})))
	after.input.warrant == digest_object({"a": 1})
	after.input.environment == null
	after.input.proof == digest_object([1])
}

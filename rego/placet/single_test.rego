# Whatever the short way lets pass, the long one does.
package placet.single_test

import data.placet.single
import data.placet.warrant_fixtures_test as fixtures
import data.placet.warrant_judge_test as judge

test_the_short_way_lets_no_other_member_pass if judge.of_root(fixtures.root_with({"other": 1})) == ["warrant.malformed"]

test_the_short_way_lets_no_other_iss_pass if judged_alike("iss")

test_the_short_way_lets_no_other_sub_pass if judged_alike("sub")

test_the_short_way_lets_no_other_sub_id_pass if judged_alike("sub_id")

test_the_short_way_lets_no_other_aud_pass if judged_alike("aud")

test_the_short_way_lets_no_other_iat_pass if judged_alike("iat")

test_the_short_way_lets_no_other_exp_pass if judged_alike("exp")

test_the_short_way_lets_no_other_jti_pass if judged_alike("jti")

test_the_short_way_lets_no_other_actions_pass if judged_alike("actions")

test_the_short_way_lets_no_other_resources_pass if judged_alike("resources")

test_the_short_way_lets_no_other_constraints_pass if {
	malformed := [value | some value in fixtures.junk; value != {}]
	every other in array.concat([{"amount": {}}, {"amount": []}, {"amount": {"at_most": null}}], malformed) {
		token := fixtures.root_with_member("constraints", other)
		not short([token], fixtures.alice)
	}
}

judged_alike(member) if {
	value := fixtures.root_claims[member]
	every other in array.concat([value, {"a": value}, [value], [value, value]], fixtures.junk) {
		token := fixtures.root_with_member(member, other)
		passes := {[] | short([token], fixtures.alice)}
		passes - {judge.long_failures_in(fixtures.state, fixtures.request_with([token]), fixtures.alice)} == set()
	}
}

test_the_short_way_is_for_those_at_home if {
	partner_subject := {"sub": "helper", "sub_id": {"iss": fixtures.partner, "sub": "helper"}}
	token := fixtures.root_with(partner_subject)
	helper := object.union(fixtures.tool, {"id": "helper"})
	judge.failures([token], helper) == []
	not short([token], helper)
	short([fixtures.root], fixtures.alice)
	not short([fixtures.root_with({"aud": [fixtures.audience]})], fixtures.alice)
}

short(chain, subject) if {
	single.warrant with input as fixtures.request_with(chain)
		with data.placet_state as fixtures.state
		with data.placet.identity.subject as subject
		with data.placet.clock.now as fixtures.now
}

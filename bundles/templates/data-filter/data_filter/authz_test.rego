package data_filter.authz_test

import data.data_filter.authz

decide(person, action, resource) := decision if {
	decision := authz.decision with data.placet.subject as {"id": person, "issuer": "test"}
		with input as {"action": {"name": action}, "resource": resource}
}

codes(decision) := {reason.code | some reason in decision.reasons}

customers := {"type": "table", "id": "customers"}

test_an_analyst_sees_the_rows_of_her_team_without_the_iban if {
	decision := decide("ana@example.org", "select", customers)
	decision.allow
	decision.obligations == {
		{"type": "filter", "column": "team", "in": ["emea"]},
		{"type": "mask", "fields": ["iban"]},
		{"type": "limit", "name": "rows", "to": 1000},
	}
}

test_an_auditor_sees_every_column if {
	decision := decide("audit@example.org", "select", customers)
	decision.allow
	decision.obligations == {
		{"type": "filter", "column": "team", "in": ["apac", "emea"]},
		{"type": "limit", "name": "rows", "to": 1000},
	}
}

test_nothing_but_select_is_decided if {
	codes(decide("ana@example.org", "delete", customers)) == {"action_not_covered"}
}

test_an_unknown_table_is_denied if {
	every resource in [{"type": "table", "id": "salaries"}, {"type": "view", "id": "customers"}] {
		codes(decide("ana@example.org", "select", resource)) == {"table_unknown"}
	}
}

test_a_stranger_sees_nothing if {
	codes(decide("other@example.org", "select", customers)) == {"nothing_to_see"}
}

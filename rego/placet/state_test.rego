package placet.state_test

import data.placet.fixtures_test as fixtures
import data.placet.state

failures(value) := codes if {
	codes := state.failures with data.placet_state as value
}

test_good_state if {
	failures(fixtures.state) == []
	state.digest == fixtures.state.digest with data.placet_state as fixtures.state
}

test_before_the_first_write if {
	state.failures == ["state.missing"]
	state.digest == null
}

test_other_forms if {
	every value in [
		null, true, 7, "text", [], {},
		{"digest": 7, "trust": {}},
		{"digest": "sha256:aa"},
		{"digest": "sha256:aa", "trust": []},
	] {
		failures(value) == ["state.malformed"]
	}
}

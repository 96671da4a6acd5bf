package placet.lease_test

import data.placet.fixtures_test as fixtures
import data.placet.lease

failures(value) := codes if {
	codes := lease.failures with data.placet_state as {"lease": value} with data.placet.clock.now as fixtures.now
}

# A lease by its times in seconds from now.
of(issued, until) := {
	"issued_at_ns": fixtures.now + (issued * 1000000000),
	"valid_until_ns": fixtures.now + (until * 1000000000),
}

test_current if {
	every times in [[-1, 9], [0, 0], [-10, 0], [2, 12], [-1800, 1800]] {
		failures(of(times[0], times[1])) == []
	}
}

test_expired_by_one_nanosecond if {
	failures({"issued_at_ns": fixtures.now - 10, "valid_until_ns": fixtures.now - 1}) == ["lease.expired"]
}

test_issued_too_far_ahead_by_one_nanosecond if {
	failures({
		"issued_at_ns": fixtures.now + 2000000001,
		"valid_until_ns": fixtures.now + 9000000000,
	}) == ["lease.future"]
}

test_an_hour_off_either_way if {
	failures(of(3600, 3610)) == ["lease.future"]
	failures(of(-3610, -3600)) == ["lease.expired"]
}

test_missing if {
	lease.failures == ["lease.missing"] with data.placet_state as {} with data.placet.clock.now as fixtures.now
	lease.failures == ["lease.missing"] with data.placet.clock.now as fixtures.now
}

test_malformed if {
	every value in [
		true, 7, "text", [], {},
		{"issued_at_ns": fixtures.now},
		{"issued_at_ns": null, "valid_until_ns": fixtures.now},
		{"issued_at_ns": fixtures.now, "valid_until_ns": "9999999999999999999"},
		{"issued_at_ns": fixtures.now, "valid_until_ns": {}},
		of(-1801, 1800),
		of(1, -1),
	] {
		failures(value) == ["lease.malformed"]
	}
}

test_taken_away if {
	lease.failures == ["lease.missing"] with data.placet_state as {"lease": null}
		with data.placet.clock.now as fixtures.now
}

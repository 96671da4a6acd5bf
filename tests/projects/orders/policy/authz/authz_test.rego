package orders.authz_test

import data.orders.authz

order := {"kind": "retail", "total": 40, "placed": "2026-01-01T00:00:00Z"}

test_a_clerk_reads if authz.allow with input as {"user": "ann", "action": "read", "order": order}

test_a_clerk_cancels_in_time if {
	authz.allow with input as {"user": "ann", "action": "cancel", "order": order}
		with time.now_ns as time.parse_rfc3339_ns("2026-01-01T05:00:00Z")
}

test_a_clerk_cancels_late if {
	not authz.allow with input as {"user": "ann", "action": "cancel", "order": order}
		with time.now_ns as time.parse_rfc3339_ns("2026-01-05T00:00:00Z")
}

test_nobody_beyond_the_limit if {
	not authz.allow with input as {"user": "ann", "action": "read", "order": object.union(order, {"total": 100000})}
}

test_a_stranger if not authz.allow with input as {"user": "eve", "action": "read", "order": order}

package payments.authz_test

import data.payments.authz

decide(subject, action, context) := decision if {
	decision := authz.decision with data.placet.subject as {"id": subject, "issuer": "test"}
		with input as {
			"action": {"name": action},
			"resource": {"type": "payment", "id": "p-1"},
			"context": context,
		}
}

codes(decision) := {reason.code | some reason in decision.reasons}

test_a_shop_authorizes if {
	decision := decide("spiffe://example.org/api", "authorize", {"amount": 40, "currency": "EUR"})
	decision == {"allow": true, "reasons": set(), "obligations": set()}
}

test_support_refunds_within_the_limit if {
	decide("spiffe://example.org/support", "refund", {"amount": 500, "currency": "EUR"}).allow
}

test_a_larger_refund_is_reviewed if {
	decision := decide("spiffe://example.org/support", "refund", {"amount": 100, "currency": "EUR"})
	decision.obligations == {{"type": "review", "queue": "refunds"}}
}

test_a_refund_over_the_limit_is_denied if {
	decision := decide("spiffe://example.org/support", "refund", {"amount": 500.01, "currency": "EUR"})
	not decision.allow
	codes(decision) == {"over_limit"}
}

test_an_unknown_currency_has_no_limit_to_stay_within if {
	not decide("spiffe://example.org/support", "refund", {"amount": 1, "currency": "XYZ"}).allow
}

test_a_negative_refund_is_denied if {
	not decide("spiffe://example.org/support", "refund", {"amount": -1, "currency": "EUR"}).allow
}

test_an_amount_of_another_type_is_denied if {
	not decide("spiffe://example.org/support", "refund", {"amount": "1", "currency": "EUR"}).allow
}

test_finance_only_reads if {
	decision := decide("spiffe://example.org/report", "refund", {"amount": 1, "currency": "EUR"})
	not decision.allow
	codes(decision) == {"not_granted"}
}

test_a_stranger_is_denied if {
	codes(decide("spiffe://example.org/other", "read", {})) == {"not_granted"}
}

package http_api.authz_test

import data.http_api.authz

shop := "spiffe://example.org/shop"

support := "spiffe://example.org/support"

decide(subject, method, path) := decision if {
	decision := authz.decision with data.placet.subject as {"id": subject, "issuer": "test"}
		with input as {"action": {"name": method}, "resource": {"type": "route", "id": path}}
}

codes(decision) := {reason.code | some reason in decision.reasons}

test_the_shop_reads_an_order if {
	decide(shop, "GET", "/orders/7").allow
}

test_the_shop_does_not_delete_an_order if {
	decision := decide(shop, "DELETE", "/orders/7")
	not decision.allow
	codes(decision) == {"route_not_granted"}
}

test_a_longer_path_is_another_route if {
	every path in ["/orders/7/refunds", "/orders/", "/orders/..", "//orders/7", "orders/7"] {
		codes(decide(shop, "GET", path)) == {"route_not_granted"}
	}
}

test_a_stranger_may_do_nothing if {
	codes(decide("spiffe://example.org/other", "GET", "/orders/7")) == {"unknown_caller"}
}

test_personal_data_is_masked_but_for_support if {
	masked := {"type": "mask", "fields": ["email", "address"]}
	decide(shop, "GET", "/orders/7").obligations == {masked}
	decide(support, "GET", "/orders/7").obligations == set()
}

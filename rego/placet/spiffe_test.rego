package placet.spiffe_test

import data.placet.spiffe

test_the_trust_domain_of_a_workload if {
	spiffe.domain("spiffe://example.org/web") == "example.org"
	spiffe.domain("spiffe://a-b_c.1/ns/x/sa/A.b-c_d") == "a-b_c.1"
	spiffe.domain("spiffe://example.org/...") == "example.org"
}

test_what_is_no_workloads_id if {
	every id in [
		"", "spiffe://", "spiffe://example.org", "spiffe://example.org/", "spiffe:///web", "spiffe://Example.org/web",
		"SPIFFE://example.org/web", "https://example.org/web", "spiffe://example.org//web", "spiffe://example.org/web/",
		"spiffe://example.org/./web", "spiffe://example.org/../web", "spiffe://example.org/a/..",
		"spiffe://example.org/a b", "spiffe://example.org/a%20b", "spiffe://example.org/ünder", "spiffe://éxample.org/web",
		"spiffe://example.org:443/web", "spiffe://user@example.org/web", "spiffe://example.org/web?x", "spiffe://example.org/web#x",
		" spiffe://example.org/web", "spiffe://example.org/web\n", "x\nspiffe://example.org/web",
		concat("", ["spiffe://example.org/", concat("", [letter | some _ in numbers.range(1, 2048); letter := "a"])]),
		concat("", ["spiffe://", concat("", [letter | some _ in numbers.range(1, 256); letter := "a"]), "/web"]),
	] {
		not spiffe.domain(id)
	}
}

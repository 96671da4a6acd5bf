package placet.names_test

import data.placet.names

plain := {"names": "", "domain": "example.org"}

workloads := {"names": "spiffe://example.org/", "domain": "example.org"}

accounts := {"names": "system:serviceaccount:", "domain": "example.org"}

test_plain_names if {
	every id in ["alice", "alice@example.org", "spiffe", "system:node:a", " spiffe://example.org/web", "https://a/spiffe:"] {
		names.vouches(plain, id)
	}
}

test_plain_issuers_give_no_workloads_names if {
	every id in [
		"spiffe://example.org/web", "SPIFFE://example.org/web", "Spiffe:", "system:serviceaccount:a:b",
		"System:ServiceAccount:a:b",
	] {
		not names.vouches(plain, id)
		not names.vouches({"names": substring(id, 0, 1), "domain": "example.org"}, id)
	}
}

test_a_prefix if {
	issuer := {"names": "repo:acme/", "domain": "example.org"}
	names.vouches(issuer, "repo:acme/app")
	not names.vouches(issuer, "repo:other/app")
	not names.vouches(issuer, "x")
}

test_workloads if {
	names.vouches(workloads, "spiffe://example.org/web")
	every id in ["spiffe://example.org", "spiffe://example.org/", "spiffe://example.org/../x", "spiffe://other.org/web", "alice"] {
		not names.vouches(workloads, id)
	}
}

# A prefix that ends too early is no way into another domain.
test_the_id_is_of_the_issuers_own_domain if {
	loose := {"names": "spiffe://example.org", "domain": "example.org"}
	names.vouches(loose, "spiffe://example.org/web")
	not names.vouches(loose, "spiffe://example.org.evil/web")
	not names.vouches({"names": "spiffe://other.org/", "domain": "example.org"}, "spiffe://other.org/web")
}

test_accounts if {
	names.vouches(accounts, "system:serviceaccount:shop:web")
	not names.vouches(accounts, "system:node:a")
	not names.vouches(accounts, "spiffe://example.org/web")
}

test_an_issuer_of_another_form_vouches_for_nobody if {
	every issuer in [{}, {"names": null}, {"names": []}, {"names": 7}, null, [], {"names": "spiffe://example.org/"}] {
		not names.vouches(issuer, "spiffe://example.org/web")
		not names.vouches(issuer, "alice")
	}
}

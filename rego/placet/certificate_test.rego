package placet.certificate_test

import data.placet.certificate
import data.placet.certificates_fixtures_test as pems
import data.placet.fixtures_test as fixtures

roots := [pems.other_root, pems.root]

svid_at(chain, now) := svid if {
	svid := certificate.svid with input as {"identity": {"certificate": chain}}
		with data.placet_state as {"trust": {"x509": {"example.org": roots}}}
		with data.placet.clock.now as now
}

svid(chain) := svid_at(chain, fixtures.now)

test_accepted if {
	svid([pems.leaf, pems.intermediate]) == {
		"id": "spiffe://example.org/web",
		"domain": "example.org",
		"expires_at_ns": 1800057600000000000,
	}
	svid([pems.leaf_of_root]).expires_at_ns == 1800003600000000000
	svid([pems.leaf_of_root, pems.intermediate, pems.intermediate]).id == "spiffe://example.org/web"
	svid([concat("", [pems.leaf, "\n"]), concat("", [pems.intermediate, "\n"])])
}

# An intermediate may end before its leaf; a root may last until the year 9999.
test_the_first_end_in_the_chain_counts if {
	chain := [pems.outlasting, pems.ending_intermediate]
	svid := certificate.svid with input as {"identity": {"certificate": chain}}
		with data.placet_state as {"trust": {"x509": {"example.org": [pems.lasting_root]}}}
		with data.placet.clock.now as fixtures.now
	svid.expires_at_ns == 1800000600000000000
}

test_refused if {
	every leaf in [
		pems.two_names, pems.no_name, pems.no_path, pems.of_other_domain, pems.authority, pems.signs_certificates,
		pems.signs_revocations, pems.signs_nothing, pems.for_servers, pems.expired, pems.not_yet, pems.lasting,
		pems.intermediate, pems.root,
	] {
		not svid([leaf, pems.intermediate])
	}
}

test_the_time_is_the_one_clock_reading if {
	chain := [pems.leaf, pems.intermediate]
	svid_at(chain, 1800057599000000000)
	not svid_at(chain, 1800057601000000000)
	not svid_at(chain, 1799000000000000000)
}

test_a_chain_that_is_not_whole if {
	not svid([pems.leaf])
	not svid([pems.intermediate, pems.leaf])
	not svid([pems.leaf, pems.root])
}

test_roots_of_another_domain_or_form if {
	every x509 in [
		{}, {"other.org": roots}, {"example.org": []}, {"example.org": null}, {"example.org": [pems.other_root]},
		{"example.org": [pems.intermediate, 7, null]}, null, [], {"example.org": {"a": 7}},
	] {
		not certificate.svid with input as {"identity": {"certificate": [pems.leaf_of_root]}}
			with data.placet_state as {"trust": {"x509": x509}}
			with data.placet.clock.now as fixtures.now
	}
}

# What a caller sends as its chain can neither be the root nor bring a leaf of its own along.
test_what_is_no_chain if {
	every chain in [
		null, "text", pems.leaf, [], {}, {"0": pems.leaf}, [7], [null], [[pems.leaf]],
		[pems.leaf, pems.intermediate, pems.intermediate, pems.intermediate, pems.intermediate],
		[concat("\n", [pems.leaf, pems.intermediate])],
		[pems.leaf, concat("\n", [pems.intermediate, pems.root])],
		[pems.leaf, replace(pems.intermediate, "CERTIFICATE", "PRIVATE KEY")],
		[concat(" ", ["", pems.leaf]), pems.intermediate],
		[concat("", [pems.leaf, concat("", [" " | some _ in numbers.range(1, 4096)])]), pems.intermediate],
	] {
		not svid(chain)
		not certificate.well_formed with input as {"identity": {"certificate": chain}}
	}
}

test_what_is_no_certificate if {
	broken := "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
	not svid([broken])
	not svid([pems.leaf, broken])
	not svid(["-----BEGIN CERTIFICATE-----", pems.intermediate])
	not svid([pems.leaf, "-----BEGIN CERTIFICATE-----"])
}

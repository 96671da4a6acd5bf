# An X.509-SVID that a gateway forwards: the client's certificate and its intermediates, leaf first. The gateway has
# seen the handshake; that the chain is good, and whose it is, is checked here at the one clock reading.

# METADATA
# scope: package
# schemas:
# - input: schema.input
# - data.placet_state: schema.state
package placet.certificate

import data.placet.clock
import data.placet.spiffe

# Whether `identity.certificate` can be looked at: 1 to 4 texts of one PEM block each.
well_formed if {
	chain := input.identity.certificate
	is_array(chain)
	count(chain) in {1, 2, 3, 4}
	every pem in chain {
		count(pem) <= 4096
		startswith(pem, "-----BEGIN CERTIFICATE-----")
		count(split(pem, "-----BEGIN")) == 2
	}
}

# The verified subject, `{id, domain, expires_at_ns}`. Undefined when the chain does not hold.
svid := {"id": id, "domain": domain, "expires_at_ns": min(ends)} if {
	well_formed
	[leaf] := crypto.x509.parse_certificates(input.identity.certificate[0])

	# X.509-SVID, sections 2 and 4: one URI, no CA, and a key that signs, but neither certificates nor their revocation.
	[id] := leaf.URIStrings
	domain := spiffe.domain(id)
	leaf.IsCA == false
	bits.and(leaf.KeyUsage, 97) == 1

	# The builtin takes the first certificate for the root and the last for the leaf.
	presented := concat("\n", array.reverse(input.identity.certificate))
	chain := [held | some root in data.placet_state.trust.x509[domain]; held := verified(root, presented)][0]
	chain[0].Raw == leaf.Raw

	# The first end in the chain counts. Roots may last for longer than nanoseconds can say; the leaf may not.
	time.parse_rfc3339_ns(leaf.NotAfter)
	ends := [end | some one in chain; end := time.parse_rfc3339_ns(one.NotAfter)]
}

verified(root, presented) := chain if {
	[true, chain] = crypto.x509.parse_and_verify_certificates_with_options(
		concat("\n", [root, presented]),
		{"CurrentTime": clock.now, "KeyUsages": ["KeyUsageClientAuth"]},
	)
}

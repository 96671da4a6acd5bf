# Which names an issuer may vouch for. A key of one trust domain says nothing about the names of another.
package placet.names

import data.placet.spiffe

# Whether `issuer`, as trust state holds it, vouches for subjects of this name.
vouches(issuer, id) if {
	# An issuer of plain names cannot give names that look like workloads', however they are spelt.
	not strings.any_prefix_match(lower(id), ["spiffe:", "system:serviceaccount:"])
	startswith(id, issuer.names)
} else if {
	startswith(issuer.names, "spiffe://")
	startswith(id, issuer.names)
	spiffe.domain(id) == issuer.domain
} else if {
	startswith(issuer.names, "system:serviceaccount:")
	startswith(id, issuer.names)
}

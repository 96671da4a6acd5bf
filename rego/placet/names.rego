# Which names an issuer may vouch for. A key of one trust domain says nothing about the names of another.
package placet.names

import data.placet.spiffe

# Whether `issuer`, as trust state holds it, vouches for subjects of this name.
vouches(issuer, id) if {
	startswith(issuer.names, "spiffe://")
	startswith(id, issuer.names)

	# However short the prefix is: the id is of the issuer's own trust domain.
	startswith(id, concat("", ["spiffe://", issuer.domain, "/"]))
	spiffe.workload(id)
} else if {
	startswith(id, issuer.names)

	# An issuer of plain names cannot give names that look like workloads', however they are spelt.
	not strings.any_prefix_match(lower(id), ["spiffe:", "system:serviceaccount:"])
} else if {
	startswith(issuer.names, "system:serviceaccount:")
	startswith(id, issuer.names)
}

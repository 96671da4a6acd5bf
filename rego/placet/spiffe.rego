# SPIFFE IDs, by the SPIFFE-ID standard: a trust domain in lower case, and a path without empty or dotted segments.
package placet.spiffe

# The trust domain of a workload's id. Undefined when the id is not well formed, or names a trust domain alone.
domain(id) := segments[2] if {
	count(id) <= 2048
	regex.match(`^spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+$`, id)
	segments := split(id, "/")
	not "." in segments
	not ".." in segments
}

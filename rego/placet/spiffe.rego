# SPIFFE IDs, by the SPIFFE-ID standard: a trust domain in lower case, and a path without empty or dotted segments.
package placet.spiffe

# Whether this is the id of a workload: no trust domain alone, and at most 2,048 characters.
workload(id) if {
	# A segment of one or two dots has nothing else in it.
	regex.match(`^spiffe://[a-z0-9._-]{1,255}(/(\.?[A-Za-z0-9_-]|\.\.[A-Za-z0-9._-])[A-Za-z0-9._-]*)+$`, id)
	count(id) <= 2048
}

# The trust domain of a workload's id. Undefined when the id is not well formed.
domain(id) := split(id, "/")[2] if workload(id)

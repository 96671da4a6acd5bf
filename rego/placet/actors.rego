# Who acts for the subject: nested `act` claims (RFC 8693, section 4.1), at most eight deep.
#
# `walk` over a caller's claims would cost what the caller likes; looking up nine paths does not.
package placet.actors

# The actors of verified claims, the current one first, as `{issuer, id}`. One without `iss` is of the token's own
# issuer. Undefined when they are not well formed.
of(claims, issuer) := [] if {
	# A set is what no JSON document holds, so any value at all, also `null` or `false`, counts as there.
	object.get(claims, "act", set()) == set()
} else := listed if {
	object.get(claims, paths[8], set()) == set()
	nested := [act |
		some path in paths
		act := object.get(claims, path, set())
		act != set()
	]
	listed := [{"issuer": name, "id": act.sub} |
		some act in nested
		name := object.get(act, "iss", issuer)
		is_string(name)
		name != ""
		is_string(act.sub)
		act.sub != ""
	]
	count(listed) == count(nested)
}

paths := [[name | some _ in numbers.range(1, depth); name := "act"] | some depth in numbers.range(1, 9)]

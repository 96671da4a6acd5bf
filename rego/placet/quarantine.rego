# Who is denied everything. The check is written positively: a list of the wrong form clears nobody.
package placet.quarantine

import data.placet.identity

# The reason code of the failure, or null when the subject is clear. Without a verified subject there is nobody
# to look up; that denies by itself.
default failure := "quarantine.malformed"

failure := null if {
	subjects := data.placet_state.trust.quarantine.subjects
	is_object(subjects)
	of_issuer := object.get(subjects, identity.subject.issuer, {})
	is_object(of_issuer)

	# A set is what no JSON document holds, so any entry at all, also `null` or `false`, means quarantined.
	object.get(of_issuer, identity.subject.id, set()) == set()
} else := null if {
	is_object(data.placet_state.trust.quarantine.subjects)
	not identity.subject
} else := "quarantine.subject" if {
	is_object(data.placet_state.trust.quarantine.subjects[identity.subject.issuer])
}

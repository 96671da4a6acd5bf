# Who is denied everything. The check is written positively: a list of the wrong form clears nobody.
package placet.quarantine

import data.placet.identity

subjects := data.placet_state.trust.quarantine.subjects

of_issuer := object.get(subjects, identity.subject.issuer, {})

# What no JSON document holds: any entry at all, also `null` or `false`, means quarantined.
no_entry := set()

# The reason code of the failure, or null when the subject is clear. Without a verified subject there is nobody
# to look up; that denies by itself.
default failure := "quarantine.malformed"

failure := null if {
	clear
} else := "quarantine.subject" if {
	object.get(of_issuer, identity.subject.id, no_entry) != no_entry
}

clear if {
	is_object(subjects)
	is_object(of_issuer)
	object.get(of_issuer, identity.subject.id, no_entry) == no_entry
}

clear if {
	is_object(subjects)
	identity.subject == null
}

package placet.quarantine_test

import data.placet.quarantine

alice := {"id": "alice", "issuer": "i"}

failure(subjects, subject) := code if {
	code := quarantine.failure with data.placet_state as {"trust": {"quarantine": {"subjects": subjects}}}
		with data.placet.identity.subject as subject
}

test_clear if {
	every subjects in [{}, {"i": {}}, {"i": {"bob": {}}}, {"j": {"alice": {}}}] {
		failure(subjects, alice) == null
	}
}

test_any_entry_quarantines if {
	every entry in [{"reason": "theft", "since": "2026-01-31T12:00:00Z"}, {}, [], "", "absent", 0, false, null] {
		failure({"i": {"alice": entry}}, alice) == "quarantine.subject"
	}
}

test_a_malformed_list_clears_nobody if {
	every subjects in [null, true, false, 7, "text", [], ["alice"], {"i": []}, {"i": null}, {"i": "alice"}, {"i": false}] {
		failure(subjects, alice) == "quarantine.malformed"
	}
	quarantine.failure == "quarantine.malformed" with data.placet.identity.subject as alice
	quarantine.failure == "quarantine.malformed" with data.placet_state as {"trust": {"quarantine": []}}
		with data.placet.identity.subject as alice
}

test_without_a_subject_only_the_form_counts if {
	quarantine.failure == null with data.placet_state as {"trust": {"quarantine": {"subjects": {}}}}
	quarantine.failure == "quarantine.malformed" with data.placet_state as {"trust": {"quarantine": {"subjects": []}}}
}

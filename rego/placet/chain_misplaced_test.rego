# Warrants out of their time or for others: what they say gets out, so that it can be judged. So it must be of the one
# form, too, and signed.
package placet.chain_misplaced_test

import data.placet.chain
import data.placet.chain_test
import data.placet.warrant_fixtures_test as fixtures

misplaced := [
	{"exp": fixtures.second - 1},
	{"nbf": fixtures.second + 1},
	{"aud": "other"},
]

test_a_header_of_another_form if {
	every changes in misplaced {
		claims := object.union(fixtures.root_claims, changes)
		chain_test.judged([fixtures.sign(fixtures.root_header, claims, fixtures.root_key)]) == chain_test.good
		every header in [{"typ": "JWT"}, {"typ": "proof+jwt"}, {"more": 1}, {"jku": "https://evil.example"}] {
			token := fixtures.sign(object.union(fixtures.root_header, header), claims, fixtures.root_key)
			chain_test.judged([token]) == chain_test.bad("warrant.malformed")
		}
	}
}

test_claims_of_another_form if {
	every changes in misplaced {
		every odd in [{"actions": []}, {"resources": "payment/*"}, {"jti": 7}, {"depth": -1}, {"scope": ["refund"]}] {
			token := fixtures.root_with(object.union(changes, odd))
			chain_test.judged([token]) == chain_test.bad("warrant.malformed")
		}
	}
}

test_years_beyond_9999 if {
	token := fixtures.root_with({"iat": 253402300798, "exp": 253402300800})
	chain_test.judged([token]) == chain_test.bad("warrant.malformed")
}

test_signed_by_somebody_else if {
	every changes in misplaced {
		claims := object.union(fixtures.root_claims, changes)
		chain_test.judged([fixtures.sign(fixtures.root_header, claims, fixtures.agent_key)]).verified == [false]
	}
}

test_without_warrants_nothing_is_verified if {
	every request in [{}, {"warrant": null}, {"warrant": []}, {"warrant": {}}, {"warrant": [null]}] {
		not chain.verified with input as request
			with data.placet_state as fixtures.state
			with data.placet.clock.now as fixtures.now
	}
	chain.verified with input as {"warrant": [fixtures.root]}
		with data.placet_state as fixtures.state
		with data.placet.clock.now as fixtures.now
}

# What stands in the place of a token, but is none, is recorded so that replay can refuse it for the same reason.
package placet_log_test

import data.placet.fixtures_test as fixtures

with_token(token) := masked(with_input(json.patch(
	fixtures.inside,
	[{"op": "replace", "path": "/execution/token", "value": token}],
))).input.execution

test_tokens_of_executions_of_any_form_become_a_digest if {
	every token in [null, false, 7] {
		with_token(token) == {"id": "e-1", "token": token}
	}
	every token in [[fixtures.token], {"x": fixtures.token}, {}] {
		with_token(token) == {"id": "e-1", "token": digest_object(token)}
	}
	with_token("") == {"id": "e-1", "token": digest_of("")}
	masked(with_input({"execution": {"id": fixtures.token, "token": "x"}})).input.execution.id == "(token cut)"
}

with_identity(identity) := masked(with_input(object.union(
	object.remove(fixtures.request, ["identity"]),
	{"identity": identity},
))).input.identity

test_identities_of_any_form_keep_their_form if {
	every identity in [null, false, 7, {}, {"token": 7}, {"token": null}] {
		with_identity(identity) == identity
	}
	every identity in [[], [fixtures.token]] {
		with_identity(identity) == digest_object(identity)
	}
	with_identity("text") == digest_of("text")
	with_identity(fixtures.token) == unsigned(fixtures.token)
	others := {"x": fixtures.token, fixtures.token: 1}
	with_identity(others) == {"(other members)": digest_object(others)}
	with_identity(object.union(others, {"token": fixtures.token})) == {
		"token": unsigned(fixtures.token),
		"(other members)": digest_object(others),
	}
	with_identity({"asserted": {"id": fixtures.token}}) == {"asserted": {"id": "(token cut)"}}
}

test_what_is_no_list_of_tokens_stays_none if {
	after := masked(with_input(fixtures.request_with({"warrant": {"a": 1}, "environment": null, "proof": [1]})))
	after.input.warrant == digest_object({"a": 1})
	after.input.environment == null
	after.input.proof == digest_object([1])
}

# JSON may begin with blanks, and so may its header and its claims: each of these is a token that some service takes.
headers := [`{"alg":"EdDSA"}`, `{ "alg":"EdDSA"}`, "{\n\"alg\":\"EdDSA\"}", "{\t\"alg\":\"EdDSA\"}", "{\r\n\"1\":0}", ` {"alg":"EdDSA"}`, "\n{}", `{"":1}`]

claims := [`{"sub":"a"}`, `{ "sub":"a"}`, "{\n\"sub\":\"a\"}", "{\t\"sub\":\"a\"}", "{\r\n}", "{}", ` {"sub":"a"}`, "\n{}", "\t{}", "\r\n{}"]

tokens_with_blanks contains token if {
	some header in headers
	some said in claims
	some signature in [crypto.hmac.sha256("m", "k"), crypto.hmac.sha512("m", "k")]
	token := concat(".", [
		base64url.encode_no_pad(header),
		base64url.encode_no_pad(said),
		base64url.encode_no_pad(hex.decode(signature)),
	])
}

test_no_token_is_left_whatever_blanks_it_begins_with if {
	count(tokens_with_blanks) == 160
	every token in tokens_with_blanks {
		every text in [token, concat("", ["\n", token, "\"<\\"]), concat(" ", ["Bearer", token])] {
			every request in [fixtures.request, fixtures.inside] {
				after := masked(with_input(object.union(request, {"context": {"note": [text]}})))
				kept := json.marshal(after)
				not contains(kept, token)
				contains(kept, "(token cut)")
				signature := split(token, ".")[2]
				not contains(kept, signature)
			}
		}
	}
}

test_a_token_inside_of_one_is_found_whatever_blanks_it_begins_with if {
	every inner in tokens_with_blanks {
		[header, _, signature] := split(fixtures.token, ".")
		outer := concat(".", [header, base64url.encode_no_pad(json.marshal({"inner": inner})), signature])
		with_identity({"token": outer}) == {"token": digest_of(outer)}
	}
}

test_a_token_inside_of_one_is_found_whatever_escapes_it_has if {
	[header, _, signature] := split(fixtures.token, ".")
	every escape in [`\u0065`, `\u0079`, `\u004A`, `\u004a`, `\u002e`, `\u002E`, `\u0030`, `\u005f`, `\u0061`, `\u007A`] {
		outer := concat(".", [header, base64url.encode_no_pad(sprintf(`{"inner":"x%sx"}`, [escape])), signature])
		with_identity({"token": outer}) == {"token": digest_of(outer)}
	}

	# As it is written for texts that no token holds.
	every escape in [`\u003c`, `\u0026`, `\u0000`, `\u00e9`, `\u0020`] {
		outer := concat(".", [header, base64url.encode_no_pad(sprintf(`{"inner":"x%sx"}`, [escape])), signature])
		with_identity({"token": outer}) == {"token": unsigned(outer)}
	}
}

# Names and addresses have dots, too.
test_what_only_has_dots_stays if {
	every text in [
		"network.example.com",
		"org.springframework.AbstractTransactionalDataSourceSpringContextTests",
		"com.example.AbstractTransactionalDataSourceSpringContextTestsOfEverything",
		"registry.eu.sha256-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		"1.5", "...", "a.eyelet.b", "app.eyes.short",
	] {
		after := masked(with_input(fixtures.request_with({"context": {"note": text}})))
		after.input.context.note == text
	}
}

# Whoever holds one may do at the control plane what it is for.
test_tokens_of_the_control_plane_are_cut if {
	secret := "kV0-_Jb1W6nq7Y8ZxA2cD3eF4gH5iJ6kL7mN8oP9qRs"
	every prefix in ["placet_0123456789ab_", "placet-join_0123456789ab_"] {
		token := concat("", [prefix, secret])
		every request in [fixtures.request, fixtures.inside] {
			asked := object.union(request, {"context": {"authorization": sprintf("Bearer %s", [token]), token: 1}})
			after := masked(with_input(asked))
			after.input.context == {"authorization": "Bearer (token cut)", "(token cut)": 1}
		}
		with_identity({"token": token}) == {"token": digest_of(token)}
	}
	named := fixtures.request_with({"context": {"note": "placet_state, and placet-join_x"}})
	masked(with_input(named)).input.context.note == "placet_state, and placet-join_x"
}

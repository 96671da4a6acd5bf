package placet.refusal_test

import data.placet
import data.placet.fixtures_test as fixtures
import data.placet.refusal
import data.placet.usual_test as usuals
import data.placet.warrant_fixtures_test as warrants

state := usuals.state

short(request, trust) := [found |
	found := refusal.found with input as request
		with data.placet_state as trust
		with time.now_ns as fixtures.now
]

# The decision, with the policy's answer as given.
decided(request, trust) := decision if {
	decision := placet.decision with input as request
		with data.placet_state as trust
		with data.placet_glue as {"bundles": {}, "value": true}
		with time.now_ns as fixtures.now
}

# What the checks themselves find, each by itself.
members := {
	"reasons": placet.stated,
	"obligations": placet.duties,
	"subject": placet.asker,
	"warrant": placet.warranted,
	"execution": placet.running,
}

checked(request, trust, value) := found if {
	found := members with input as request
		with data.placet_state as trust
		with data.placet_glue as {"bundles": {}, "value": value}
		with time.now_ns as fixtures.now
}

with_token(token) := object.union(usuals.alone, {"identity": {"token": token}})

with_claims(claims) := with_token(fixtures.token_with(claims))

with_warrant(token) := object.union(usuals.warranted, {"warrant": [token]})

# By the code that each is refused with.
refused := {
	"identity.missing": [json.patch(usuals.alone, [{"op": "replace", "path": "/identity", "value": {}}])],
	"identity.malformed": [with_token("x"), with_token(""), with_token(7)],
	"identity.invalid": [with_token(concat("", [fixtures.token, "A"]))],
	"identity.expired": [with_claims({"exp": 1})],
	"identity.audience": [with_claims({"aud": "other"})],
	"identity.issuer_unknown": [with_claims({"iss": "https://unknown.example"})],
	"identity.domain": [with_claims({"sub": "spiffe://other.example/x"})],
	"identity.future": [with_claims({"iat": 1800000100})],
	"identity.actors": [with_claims({"act": 7})],
	"warrant.malformed": [with_warrant("x"), with_warrant(7), object.union(usuals.alone, {"warrant": []})],
	"warrant.invalid": [with_warrant(concat("", [warrants.root, "A"]))],
	"warrant.expired": [with_warrant(warrants.root_with({"exp": 1799999999, "iat": 1799999000}))],
	"warrant.action": [with_warrant(warrants.root_with({"actions": ["read"]}))],
	"warrant.needs_execution": [with_warrant(warrants.root_with({"uses": 1}))],
	"execution.malformed": [json.patch(fixtures.inside, [{"op": "replace", "path": "/execution/token", "value": "x"}])],
	"execution.mismatch": [usuals.carrying({"exe": "e-2"})],
	"execution.scope": [usuals.carrying({"warrants": ["w"], "warrant_issuer": "i", "actions": ["other"]})],
	"execution.invalid": [usuals.carrying({"iss": "other"})],
}

test_what_is_refused_is_what_the_checks_find if {
	every code, requests in refused {
		every request in requests {
			[found] := short(request, state)
			code in found.codes
			decision := decided(request, state)
			decision.allow == false
			object.filter(decision, object.keys(members)) == checked(request, state, true)
			decision.expires_at == null
			decision.mode == null
			decision.state == state.digest
		}
	}
}

test_what_stands_is_not_refused if {
	every request in usuals.usuals {
		short(request, state) == []
		decided(request, state).allow == true
	}
}

# Where something else could be wrong, or be lifted, the checks themselves say what.
test_everything_else_is_left_to_the_checks if {
	every change in [
		{"op": "replace", "path": "/lease", "value": null},
		{"op": "replace", "path": "/trust/quarantine/subjects", "value": {fixtures.issuer: {"alice": {}}}},
		{"op": "replace", "path": "/trust/quarantine/domains", "value": {"example.org": {}}},
		{"op": "replace", "path": "/trust/environment/required", "value": {"region": {}}},
	] {
		every _, requests in refused {
			every request in requests {
				short(request, json.patch(state, [change])) == []
				decision := decided(request, json.patch(state, [change]))
				object.filter(decision, object.keys(members)) == checked(request, json.patch(state, [change]), true)
			}
		}
	}
	every request in array.concat(refused["warrant.action"], refused["execution.scope"]) {
		every change in [
			{"op": "add", "path": "/trust/modes", "value": {"shadow": [], "break_glass": [{}]}},
			{"op": "add", "path": "/trust/segments", "value": {}},
		] {
			short(request, json.patch(state, [change])) == []
		}
	}
	every token in [
		usuals.carrying({"exe": "e-2", "actors": [{"issuer": "i", "id": "a"}]}),
		usuals.carrying({"exe": "e-2", "principals": [["i", "a"]]}),
		usuals.carrying({"exe": "e-2", "via": {"issuer": "i", "id": "a"}}),
		usuals.carrying({"exe": "e-2", "sub_iss": "https://unknown.example"}),
	] {
		short(token, state) == []
	}
	every odd in [{"more": 1}, {"proof": "x"}, {"execution": {"id": "e-1"}}, {"identity": {"token": "x", "asserted": {"id": "b"}}}] {
		short(object.union(with_token("x"), odd), state) == []
	}
	every id in [7, "", null] {
		short(json.patch(usuals.carrying({"exe": "e-2"}), [{"op": "replace", "path": "/execution/id", "value": id}]), state) == []
	}
	short(object.remove(usuals.alone, ["identity"]), state) == []
	short(object.union(usuals.alone, {"warrant": {}}), state) == []
	required := json.patch(state, [{"op": "replace", "path": "/trust/warrant/required", "value": true}])
	short(with_token("x"), required) == []
}

test_what_the_policy_denies_is_what_the_checks_find if {
	denied := {"allow": false, "reasons": [{"code": "c", "message": "m"}], "obligations": [{"type": "record", "level": "full"}]}
	every request in usuals.usuals {
		every value in [false, denied] {
			decision := placet.decision with input as request
				with data.placet_state as state
				with data.placet_glue as {"bundles": {}, "value": value}
				with time.now_ns as fixtures.now
			decision.allow == false
			decision.reasons[0].code == "policy.denied"
			object.filter(decision, object.keys(members)) == checked(request, state, value)
		}
	}
}

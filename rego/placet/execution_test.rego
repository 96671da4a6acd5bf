package placet.execution_test

import data.placet.execution
import data.placet.fixtures_test as fixtures

failures_of(request, state) := codes if {
	codes := execution.failures with input as request
		with data.placet_state as state
		with data.placet.clock.now as fixtures.now
}

# The request with another token in its execution.
carrying(token) := json.patch(fixtures.inside, [{"op": "replace", "path": "/execution/token", "value": token}])

failures(token) := failures_of(carrying(token), fixtures.state)

failing(claims) := failures(fixtures.sign_execution(claims))

headed(header) := failures(fixtures.sign(header, fixtures.execution_claims))

encoded(value) := base64url.encode_no_pad(json.marshal(value))

test_accepted if {
	failing({}) == []
	failing({"until": 1800000900}) == []
	failing({"exp": 1800000001}) == []
	failing({"exp": 253402300799}) == []
	failing({"iat": 1800000002}) == []
}

test_outside_of_executions_there_is_nothing_to_fail if {
	failures_of(fixtures.request, fixtures.state) == []
	failures_of(fixtures.request_with({"execution": {"id": "e-1"}}), fixtures.state) == []
	not execution.inside with input as fixtures.request
	not execution.token with input as fixtures.request
}

test_the_subject if {
	token := fixtures.sign_execution({
		"actors": [{"issuer": "j", "id": "agent"}],
		"asserted": true,
		"via": {"issuer": "g", "id": "gateway"},
	})
	subject := execution.subject with input as carrying(token)
		with data.placet_state as fixtures.state
		with data.placet.clock.now as fixtures.now
	subject == {
		"id": "alice",
		"issuer": fixtures.issuer,
		"domain": "example.org",
		"claims": fixtures.claims,
		"actors": [{"issuer": "j", "id": "agent"}],
		"asserted": true,
		"via": {"issuer": "g", "id": "gateway"},
	}
}

test_not_of_the_form if {
	[head, body, signature] := split(fixtures.sign_execution({}), ".")
	every token in [
		null, false, 7, [], {}, "", "text", "a.b.c", "..",
		concat(".", [head, body]),
		concat(".", [head, body, signature, ""]),
		concat(".", [head, encoded([1]), signature]),
		concat("", [head, ".", body, ".", signature, concat("", ["x" | some _ in numbers.range(1, 16384)])]),
	] {
		failures(token) == ["execution.malformed"]
	}
}

test_headers_that_are_not_let_through if {
	every changes in [
		{"typ": "JWT"}, {"typ": "warrant+jwt"}, {"typ": 7}, {"alg": "none"}, {"alg": "HS256"}, {"alg": "ES256"}, {"alg": 7},
		{"kid": 7}, {"cty": "JWT"}, {"crit": []}, {"b64": false},
	] {
		head := encoded(object.union(fixtures.execution_header, changes))
		failures(concat(".", [head, encoded(fixtures.execution_claims), "c2ln"])) == ["execution.malformed"]
	}
	every member in ["alg", "kid", "typ"] {
		head := encoded(object.remove(fixtures.execution_header, [member]))
		failures(concat(".", [head, encoded(fixtures.execution_claims), "c2ln"])) == ["execution.malformed"]
	}
}

test_identity_and_warrants_stay_outside if {
	every member in [{"identity": {"token": fixtures.token}}, {"warrant": []}, {"proof": ""}, {"identity": null}] {
		failures_of(object.union(fixtures.inside, member), fixtures.state) == ["execution.malformed"]
	}
	failures_of(object.union(fixtures.inside, {"environment": []}), fixtures.state) == []
}

test_keys if {
	headed(object.union(fixtures.execution_header, {"kid": "k1"})) == ["execution.invalid"]
	hmac := io.jwt.encode_sign(
		{"alg": "HS256", "kid": "e1", "typ": "execution+jwt"},
		fixtures.execution_claims,
		fixtures.octet_key,
	)
	failures(hmac) == ["execution.malformed"]
	[head, body, _] := split(fixtures.sign_execution({}), ".")
	failures(concat(".", [head, body, ""])) == ["execution.invalid"]
	failures(concat(".", [head, encoded(object.union(fixtures.execution_claims, {"sub": "bob"})), "AAAA"])) == ["execution.invalid"]
	es256 := json.patch(fixtures.state, [{"op": "replace", "path": "/trust/execution/keys/e1/alg", "value": "ES256"}])
	failures_of(fixtures.inside, es256) == ["execution.invalid"]
}

test_listed_headers_change_no_verdict if {
	[head, body, signature] := split(fixtures.sign_execution({}), ".")
	state := json.patch(fixtures.state, [{"op": "add", "path": "/trust/execution/headers", "value": {head: "e1"}}])
	failures_of(fixtures.inside, state) == []
	failures_of(carrying(fixtures.sign_execution({"exp": 1800000000})), state) == ["execution.expired"]
	every token in [concat(".", [head, body]), concat(".", [head, body, signature, ""])] {
		failures_of(carrying(token), state) == ["execution.malformed"]
	}
	every kid in ["e2", 7, null] {
		other := json.patch(fixtures.state, [{"op": "add", "path": "/trust/execution/headers", "value": {head: kid}}])
		failures_of(fixtures.inside, other) == ["execution.invalid"]
	}
}

test_claims if {
	every changes in [
		{"iss": "spiffe://example.org/sidecar/payments/eu-2"}, {"iss": null}, {"aud": "spiffe://example.org/system/ledger"},
		{"aud": ""}, {"aud": []}, {"exp": null}, {"exp": "1800000300"}, {"iat": "x"}, {"iat": 1800000300}, {"exe": 7},
		{"iat": 1800000003}, {"iat": 1800000002, "exp": 1800000001}, {"iat": 1800000001, "exp": 1800000001},
		{"sub": null}, {"sub_iss": 7}, {"domain": []}, {"actors": {}}, {"principals": null}, {"domains": "x"},
		{"warrants": {}}, {"claims": []}, {"principals": [["i", "a"], ["b"]]}, {"principals": ["ab"]}, {"principals": [["i", 7]]},
		{"domains": [7]}, {"warrants": [["w"]]}, {"sub": ""}, {"domain": ""}, {"warrant_issuer": 7}, {"exp": 253402300800},
		{"actors": ["agent"]}, {"actors": [{"issuer": "i"}]}, {"actors": [{"issuer": "i", "id": 7}]},
		{"actors": [{"issuer": "i", "id": "a", "more": 1}]},
	] {
		failing(changes) == ["execution.invalid"]
	}
	every member in object.keys(fixtures.execution_claims) - {"actions", "resources", "constraints", "warrant_issuer"} {
		failures(fixtures.sign(fixtures.execution_header, object.remove(fixtures.execution_claims, [member]))) == ["execution.invalid"]
	}
}

test_expired if {
	failing({"exp": 1800000000}) == ["execution.expired"]
	failing({"exp": 1}) == ["execution.expired"]
}

test_of_another_execution if {
	failing({"exe": "e-2"}) == ["execution.mismatch"]
}

limited := {
	"warrants": ["w-1", "w-2"],
	"warrant_issuer": "spiffe://example.org/control-plane",
	"actions": ["read"],
	"resources": ["payment/*"],
	"constraints": {},
}

test_its_scope if {
	failing(limited) == []
	every changes in [
		{"actions": ["refund"]}, {"actions": []}, {"actions": null}, {"resources": ["payment/q*"]},
		{"constraints": {"amount": {"at_most": 3}}}, {"constraints": null},
	] {
		failing(object.union(limited, changes)) == ["execution.scope"]
	}
}

test_without_warrants_the_subject_may_do_what_it_may if {
	slashed := json.patch(fixtures.inside, [{"op": "replace", "path": "/resource/type", "value": "a/b"}])
	failures_of(slashed, fixtures.state) == []
	warranted := json.patch(slashed, [{"op": "replace", "path": "/execution/token", "value": fixtures.sign_execution(limited)}])
	failures_of(warranted, fixtures.state) == ["execution.scope"]
}

# Broken glass opens no more than it names: the agent writes that into the token.
test_a_scope_holds_without_warrants_too if {
	failing({"actions": ["read"], "resources": ["payment/*"]}) == []
	failing({"actions": ["refund"]}) == ["execution.scope"]
	failing({"resources": ["ledger/*"]}) == ["execution.scope"]
	failing({"constraints": {"amount": {"at_most": 3}}}) == ["execution.scope"]
}

test_where_warrants_are_demanded if {
	every required in [true, null, "false", {}] {
		state := json.patch(fixtures.state, [{"op": "replace", "path": "/trust/warrant/required", "value": required}])
		failures_of(fixtures.inside, state) == ["warrant.missing"]
		failures_of(carrying(fixtures.sign_execution(limited)), state) == []
	}
}

test_revoked_warrants if {
	every revoked in [{"w-2": {"expires_at": 1}}, {"w-1": null}, {"w-1": false}, [], null, "w-3"] {
		state := json.patch(fixtures.state, [{"op": "replace", "path": "/trust/warrant/revoked", "value": revoked}])
		failures_of(carrying(fixtures.sign_execution(limited)), state) == ["warrant.revoked"]
	}
	state := json.patch(fixtures.state, [{"op": "replace", "path": "/trust/warrant/revoked", "value": {"w-3": {}}}])
	failures_of(carrying(fixtures.sign_execution(limited)), state) == []
}

test_all_that_is_wrong_is_said if {
	state := json.patch(fixtures.state, [{"op": "replace", "path": "/trust/warrant/revoked", "value": {"w-1": {}}}])
	token := fixtures.sign_execution(object.union(limited, {"exe": "e-2", "actions": ["refund"]}))
	failures_of(carrying(token), state) == ["execution.mismatch", "execution.scope", "warrant.revoked"]
}

# Starting

starting(request) := codes if {
	codes := execution.failures with input as request
		with data.placet_state as fixtures.state
		with data.placet.execution.starting as true
}

test_what_can_be_started if {
	starting(fixtures.request_with({"execution": {"id": "e-1"}})) == []
	starting(fixtures.request) == ["execution.malformed"]
	starting(fixtures.inside) == ["execution.malformed"]
}

test_what_the_agent_stopped_is_denied_with_its_reason if {
	every code in execution.stopping {
		said := decided({"e-1": code})
		said.allow == false
		[one.code | some one in said.reasons] == [code]
	}
	every other in ["completed", "stopped", "workflow.violated", "quarantine.execution", {"reason": "odd"}, null, 7] {
		said := decided({"e-1": other})
		said.allow == false
		[one.code | some one in said.reasons] == ["quarantine.execution"]
	}
	decided({"e-2": "identity.grant"}).allow == true
}

decided(executions) := said if {
	said := data.placet.decision with input as fixtures.inside
		with data.placet_state as json.patch(fixtures.state, [{
			"op": "replace",
			"path": "/trust/quarantine/executions",
			"value": executions,
		}])
		with data.placet.clock.now as fixtures.now
		with data.placet_glue as fixtures.glue
}

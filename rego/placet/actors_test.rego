package placet.actors_test

import data.placet.actors

# `act` claims nested so often.
nested(depth) := json.patch({}, [operation |
	some at in numbers.range(1, depth)
	operation := {
		"op": "add",
		"path": [name | some _ in numbers.range(1, at); name := "act"],
		"value": {"sub": sprintf("a%d", [at])},
	}
])

test_nobody if actors.of({"sub": "alice"}, "i") == []

test_the_current_actor_comes_first if {
	claims := {"sub": "alice", "act": {"sub": "agent", "client_id": "c", "act": {"sub": "tool", "iss": "j"}}}
	actors.of(claims, "i") == [{"issuer": "i", "id": "agent"}, {"issuer": "j", "id": "tool"}]
}

test_eight_at_most if {
	count(actors.of(nested(8), "i")) == 8
	actors.of(nested(8), "i")[7] == {"issuer": "i", "id": "a8"}
	not actors.of(nested(9), "i")
	not actors.of(nested(40), "i")
}

test_malformed if {
	every act in [
		null, false, 0, "agent", [], [{"sub": "agent"}], {},
		{"sub": ""}, {"sub": 7}, {"sub": null}, {"iss": "i"},
		{"sub": "agent", "iss": ""}, {"sub": "agent", "iss": 7}, {"sub": "agent", "iss": null},
		{"sub": "agent", "act": null}, {"sub": "agent", "act": {}}, {"sub": "agent", "act": []},
	] {
		not actors.of({"act": act}, "i")
	}
}

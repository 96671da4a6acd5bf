package system.authz_test

import data.system.authz

decision := {"method": "POST", "path": ["v1", "data", "placet", "decision"], "params": {}}

test_anyone_may_ask_for_a_decision if {
	authz.allow with input as decision
}

test_nobody_may_pass_parameters if {
	not authz.allow with input as object.union(decision, {"params": {"explain": ["full"]}})
}

test_yaml_is_no_request if {
	every type in ["application/yaml", "application/x-yaml", "text/YAML; charset=utf-8"] {
		not authz.allow with input as object.union(decision, {"headers": {"Content-Type": [type]}})
	}
	authz.allow with input as object.union(decision, {"headers": {"Content-Type": ["application/json"]}})
}

test_nothing_else_is_open if {
	every changes in [
		{"method": "GET"},
		{"method": "PUT"},
		{"path": ["v1", "data", "placet", "decision", "allow"]},
		{"path": ["v1", "data", "placet"]},
		{"path": ["v1", "query"]},
		{"path": []},
	] {
		not authz.allow with input as object.union(decision, changes)
	}
}

test_the_agents_token_opens_everything if {
	authz.allow with input as {"method": "PUT", "path": ["v1", "data", "placet_state"], "identity": "token"}
		with crypto.sha256 as "AGENT_TOKEN_SHA256"
}

test_as_it_stands_it_admits_no_token if {
	not authz.allow with input as {"method": "PUT", "path": ["v1", "data", "placet_state"], "identity": "token"}
}

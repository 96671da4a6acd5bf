# Reason codes of decisions. Generated from app/core/reasons.json by `make generate`; do not edit.
package placet.reasons

reasons := {
	"state.missing": {
		"code": "state.missing",
		"message": "The sidecar holds no trust state.",
	},
	"state.malformed": {
		"code": "state.malformed",
		"message": "The trust state is not of the expected form.",
	},
	"lease.missing": {
		"code": "lease.missing",
		"message": "There is no lease.",
	},
	"lease.malformed": {
		"code": "lease.malformed",
		"message": "The lease is not of the expected form.",
	},
	"lease.future": {
		"code": "lease.future",
		"message": "The lease was issued in the future.",
	},
	"lease.expired": {
		"code": "lease.expired",
		"message": "The lease has expired.",
	},
	"request.malformed": {
		"code": "request.malformed",
		"message": "The request is not of the expected form.",
	},
	"identity.missing": {
		"code": "identity.missing",
		"message": "The request carries no identity token.",
	},
	"identity.malformed": {
		"code": "identity.malformed",
		"message": "The identity token is not a well-formed JWT.",
	},
	"identity.issuer_unknown": {
		"code": "identity.issuer_unknown",
		"message": "No trusted issuer made this token.",
	},
	"identity.key_unknown": {
		"code": "identity.key_unknown",
		"message": "The issuer has no key of this token's id.",
	},
	"identity.algorithm": {
		"code": "identity.algorithm",
		"message": "The token's algorithm is not the key's.",
	},
	"identity.invalid": {
		"code": "identity.invalid",
		"message": "The token's signature does not verify.",
	},
	"identity.audience": {
		"code": "identity.audience",
		"message": "The token is for another audience.",
	},
	"identity.expired": {
		"code": "identity.expired",
		"message": "The token has expired.",
	},
	"identity.not_yet_valid": {
		"code": "identity.not_yet_valid",
		"message": "The token is not valid yet.",
	},
	"identity.claims": {
		"code": "identity.claims",
		"message": "A claim of the token is missing or of the wrong type.",
	},
	"identity.domain": {
		"code": "identity.domain",
		"message": "The token's issuer may not vouch for this subject.",
	},
	"identity.actors": {
		"code": "identity.actors",
		"message": "The token's chain of actors is not well formed.",
	},
	"identity.future": {
		"code": "identity.future",
		"message": "The token was issued in the future.",
	},
	"identity.stale": {
		"code": "identity.stale",
		"message": "The token is older than this system accepts.",
	},
	"identity.certificate": {
		"code": "identity.certificate",
		"message": "The forwarded certificate is not accepted.",
	},
	"identity.grant": {
		"code": "identity.grant",
		"message": "The caller may not speak for another subject.",
	},
	"quarantine.malformed": {
		"code": "quarantine.malformed",
		"message": "The quarantine list is not of the expected form.",
	},
	"quarantine.subject": {
		"code": "quarantine.subject",
		"message": "The subject is quarantined.",
	},
	"quarantine.actor": {
		"code": "quarantine.actor",
		"message": "Somebody whom the request depends on is in quarantine.",
	},
	"quarantine.domain": {
		"code": "quarantine.domain",
		"message": "A trust domain that the request depends on is in quarantine.",
	},
	"quarantine.execution": {
		"code": "quarantine.execution",
		"message": "The execution is in quarantine.",
	},
	"quarantine.segment": {
		"code": "quarantine.segment",
		"message": "A segment of the request is in quarantine.",
	},
	"execution.malformed": {
		"code": "execution.malformed",
		"message": "The execution token is not of the expected form.",
	},
	"execution.invalid": {
		"code": "execution.invalid",
		"message": "The execution token does not verify.",
	},
	"execution.expired": {
		"code": "execution.expired",
		"message": "The execution token has expired.",
	},
	"execution.mismatch": {
		"code": "execution.mismatch",
		"message": "The execution token is of another execution.",
	},
	"execution.scope": {
		"code": "execution.scope",
		"message": "The request is outside the execution's scope.",
	},
	"warrant.missing": {
		"code": "warrant.missing",
		"message": "The request carries no warrant.",
	},
	"warrant.malformed": {
		"code": "warrant.malformed",
		"message": "A warrant is not of the expected form.",
	},
	"warrant.issuer_unknown": {
		"code": "warrant.issuer_unknown",
		"message": "The root warrant's issuer is not trusted.",
	},
	"warrant.key_unknown": {
		"code": "warrant.key_unknown",
		"message": "The root warrant's key is not known.",
	},
	"warrant.algorithm": {
		"code": "warrant.algorithm",
		"message": "A warrant's algorithm is not its key's.",
	},
	"warrant.invalid": {
		"code": "warrant.invalid",
		"message": "A warrant's signature does not verify.",
	},
	"warrant.audience": {
		"code": "warrant.audience",
		"message": "A warrant is not for this system.",
	},
	"warrant.expired": {
		"code": "warrant.expired",
		"message": "A warrant has expired.",
	},
	"warrant.not_yet_valid": {
		"code": "warrant.not_yet_valid",
		"message": "A warrant is not valid yet.",
	},
	"warrant.subject": {
		"code": "warrant.subject",
		"message": "The warrant is not the caller's.",
	},
	"warrant.widened": {
		"code": "warrant.widened",
		"message": "A delegated warrant is wider than the one before it.",
	},
	"warrant.depth": {
		"code": "warrant.depth",
		"message": "The warrant was delegated further than allowed.",
	},
	"warrant.domain": {
		"code": "warrant.domain",
		"message": "A holder of the warrant is of a trust domain that is not linked.",
	},
	"warrant.revoked": {
		"code": "warrant.revoked",
		"message": "A warrant was revoked.",
	},
	"warrant.action": {
		"code": "warrant.action",
		"message": "The warrant does not cover the action.",
	},
	"warrant.resource": {
		"code": "warrant.resource",
		"message": "The warrant does not cover the resource.",
	},
	"warrant.constraint": {
		"code": "warrant.constraint",
		"message": "The context is outside the warrant's constraints.",
	},
	"warrant.proof_missing": {
		"code": "warrant.proof_missing",
		"message": "The warrant needs proof of possession.",
	},
	"warrant.proof_invalid": {
		"code": "warrant.proof_invalid",
		"message": "The proof of possession is not accepted.",
	},
	"warrant.needs_execution": {
		"code": "warrant.needs_execution",
		"message": "The warrant may be used to start an execution only.",
	},
	"environment.missing": {
		"code": "environment.missing",
		"message": "There is no attestation result of a required kind.",
	},
	"environment.invalid": {
		"code": "environment.invalid",
		"message": "An attestation result does not verify.",
	},
	"environment.stale": {
		"code": "environment.stale",
		"message": "The attestation result is too old.",
	},
	"environment.rejected": {
		"code": "environment.rejected",
		"message": "The environment is not trusted.",
	},
	"segment.unknown": {
		"code": "segment.unknown",
		"message": "The subject or the resource belongs to no segment.",
	},
	"segment.flow": {
		"code": "segment.flow",
		"message": "No rule lets the request flow between these segments.",
	},
	"segment.boundary": {
		"code": "segment.boundary",
		"message": "The request crosses a trust boundary without a rule.",
	},
	"workflow.required": {
		"code": "workflow.required",
		"message": "This must be done in an execution that follows a declared workflow.",
	},
	"policy.undefined": {
		"code": "policy.undefined",
		"message": "The policy gave no answer.",
	},
	"policy.malformed": {
		"code": "policy.malformed",
		"message": "The policy's answer is not of the expected form.",
	},
	"policy.denied": {
		"code": "policy.denied",
		"message": "The policy denies the request.",
	},
}

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
	"quarantine.malformed": {
		"code": "quarantine.malformed",
		"message": "The quarantine list is not of the expected form.",
	},
	"quarantine.subject": {
		"code": "quarantine.subject",
		"message": "The subject is quarantined.",
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

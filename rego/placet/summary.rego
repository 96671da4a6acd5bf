# A verification summary (https://slsa.dev/spec/v1.1/verification_summary) as the claims of a JWT: what it says about an
# image.
#
# The claims are the in-toto statement itself, beside those of the token (`iss`, `aud`, `exp` …).

# METADATA
# scope: package
package placet.summary

import data.placet.clock

# What it says of the one image that it is about, and when that was verified, in seconds since 1970: a summary of long
# ago that is signed anew is as old as it was.
read(claims) := {
	"verified_at": verified_at,
	"image": {
		"ear.status": status(predicate),
		"digest": concat(":", ["sha256", digest]),
		"verifier": predicate.verifier.id,
		"resource": predicate.resourceUri,
		"policy": predicate.policy.uri,
		"levels": predicate.verifiedLevels,
	},
} if {
	claims._type == "https://in-toto.io/Statement/v1"
	claims.predicateType == "https://slsa.dev/verification_summary/v1"

	# Of two images it could not be said which one runs.
	count(claims.subject) == 1
	digest := claims.subject[0].digest.sha256
	regex.match(`^[0-9a-f]{64}$`, digest)
	predicate := claims.predicate

	# Who signs speaks for itself alone: "consumers must accept only specific (signer, verifier) pairs".
	predicate.verifier.id == claims.iss
	is_string(predicate.resourceUri)
	is_string(predicate.policy.uri)
	is_array(predicate.verifiedLevels)
	verified_at := floor(time.parse_rfc3339_ns(predicate.timeVerified) / 1000000000)
	verified_at <= (clock.now / 1000000000) + 2
}

status(predicate) := "affirming" if {
	predicate.verificationResult == "PASSED"
	not "FAILED" in predicate.verifiedLevels
} else := "contraindicated"

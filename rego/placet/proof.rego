# Proof of possession: that the caller has the key that its warrant names, shown anew for each request.
#
# A proof is a JWT by that key, of type `proof+jwt`, with exactly the claims `iat`, `jti` and `req`. `req` is the
# SHA-256, in lower-case hexadecimal, of `NAME.TYPE.ID`: the action's name and the resource's type and id, each as
# unpadded base64url of its UTF-8.

# METADATA
# scope: package
# schemas:
# - input: schema.input
package placet.proof

import data.placet.chain
import data.placet.clock

# The reason codes of what is wrong. Empty where the last warrant names no key, or none is verified: the chain says so.
default failures := ["warrant.proof_invalid"]

failures := [] if {
	object.get(chain.last, "cnf", null) == null
} else := [] if {
	chain.last == null
} else := ["warrant.proof_missing"] if {
	object.get(input, "proof", set()) == set()
} else := [] if {
	made := claims
	object.keys(made) == {"iat", "jti", "req"}
	regex.match(`^[A-Za-z0-9_-]{1,64}$`, made.jti)
	made.req == request
	chain.whole(made.iat)
	(made.iat + 60) * 1000000000 >= clock.now
	(made.iat - 2) * 1000000000 <= clock.now
}

claims := verified if {
	key := chain.last.cnf.jwk
	count(input.proof) <= 8192
	[first, _, _] := split(input.proof, ".")
	algorithm := chain.algorithm(key)
	json.unmarshal(base64url.decode(first)) == {"alg": algorithm, "typ": "proof+jwt"}
	[true, _, verified] = io.jwt.decode_verify(input.proof, {
		"cert": chain.key_set(key),
		"alg": algorithm,
		"time": clock.now,
	})
}

# What a proof over this request says.
request := crypto.sha256(concat(".", [
	base64url.encode_no_pad(input.action.name),
	base64url.encode_no_pad(input.resource.type),
	base64url.encode_no_pad(input.resource.id),
]))

# The chain of warrants that a request carries: whose signature each one bears. What the warrants say is judged in
# `placet.warrant`; here only what is signed, by the right key, and of the one form gets out.
#
# Rego has no recursion, so each hop is a rule of its own: the root verifies with its issuer's key, every other one
# with the key that the verified hop before it names in `cnf`. `io.jwt.decode` and the `iss` constraint of
# `io.jwt.decode_verify` are not used: a token's content can make either panic.

# METADATA
# scope: package
# schemas:
# - input: schema.input
# - data.placet_state: schema.state
package placet.chain

import data.placet.clock
import data.placet.scope
import data.placet.state

# The verified claims of each warrant, root first: null for the first one that does not verify and all after it. Empty
# where there is no array of 1 to 9.
default claims := []

claims := [root] if {
	count(input.warrant) == 1
	is_array(input.warrant)
} else := array.slice([root, hop1, hop2, hop3, hop4, hop5, hop6, hop7, hop8], 0, count(input.warrant)) if {
	listed
}

# The last warrant of the chain, which is what the caller holds; null when the chain does not verify up to it.
default last := null

last := claims[count(claims) - 1]

# Whether the chain verifies from its root to its end.
verified if {
	claims != []
	not null in claims
}

listed if {
	is_array(input.warrant)
	count(input.warrant) <= 9
	input.warrant != []
}

default root := null

root := one if {
	some issuer, trusted in data.placet_state.trust.warrant.issuers
	key := trusted.keys[header(input.warrant[0]).kid]
	key.alg in {"EdDSA", "ES256"}
	state.domain_linked(trusted.domain)
	one := signed(input.warrant[0], key.alg, key.jwks)
	one.iss == issuer
}

default hop1 := null

hop1 := delegated(input.warrant[1], root)

default hop2 := null

hop2 := delegated(input.warrant[2], hop1)

default hop3 := null

hop3 := delegated(input.warrant[3], hop2)

default hop4 := null

hop4 := delegated(input.warrant[4], hop3)

default hop5 := null

hop5 := delegated(input.warrant[5], hop4)

default hop6 := null

hop6 := delegated(input.warrant[6], hop5)

default hop7 := null

hop7 := delegated(input.warrant[7], hop6)

default hop8 := null

hop8 := delegated(input.warrant[8], hop7)

# The claims of a hop, signed with the key that the claims before it name.
delegated(token, parent) := signed(token, algorithm(parent.cnf.jwk), key_set(parent.cnf.jwk))

# The algorithm of a key, which its curve settles.
algorithm(jwk) := {"Ed25519": "EdDSA", "P-256": "ES256"}[jwk.crv]

# The key as `io.jwt.decode_verify` takes it. By its form it has no member that could mean anything else to it.
key_set(jwk) := json.marshal({"keys": [jwk]})

# Who may use a warrant, and delegate it: its actor, or its subject.
holder(one) := {"issuer": one.act.iss, "id": one.act.sub} if {
	one.act
} else := {"issuer": one.sub_id.iss, "id": one.sub}

# The claims of a well-formed warrant that verifies with the key. A warrant out of its time or for another
# audience gets through too: what it says is signed all the same, and `placet.warrant` says what is wrong with it.
signed(token, alg, jwks) := one if {
	header_of(token, alg)
	[true, _, one] = io.jwt.decode_verify(token, {
		"cert": jwks,
		"alg": alg,
		"aud": data.placet_state.trust.audience,
		"time": clock.now,
	})
	well_formed(one)
} else := one if {
	header_of(token, alg)
	said := unverified(token)
	misplaced(said) # or it would have verified above
	[true, _, one] = io.jwt.decode_verify(token, {
		"cert": jwks,
		"alg": alg,
		"aud": audiences(said)[0],
		"time": (said.exp - 1) * 1000000000,
	})
	well_formed(one)
}

# Whether these claims are out of their time, or for another audience.
misplaced(said) if {
	(said.exp - 1) * 1000000000 <= clock.now
} else if {
	object.get(said, "nbf", 0) * 1000000000 >= clock.now
} else if {
	every audience in audiences(said) {
		audience != data.placet_state.trust.audience
	}
}

# Whether the token has the one form of header, with this algorithm: a cached verification does not look at `alg`
# again, and other members may make the builtin panic. Length is capped before anything is decoded.
header_of(token, alg) if object.remove(header(token), ["kid"]) == {"alg": alg, "typ": "warrant+jwt"}

header(token) := json.unmarshal(base64url.decode(first)) if {
	count(token) <= 8192
	[first, _, _] := split(token, ".")
}

# What a token of the right form says, known to be true or not.
unverified(token) := said if {
	some alg in ["EdDSA", "ES256"]
	header_of(token, alg)
	is_string(object.get(header(token), "kid", ""))
	said := json.unmarshal(base64url.decode(split(token, ".")[1]))
	well_formed(said)
}

# The audiences as a list.
audiences(one) := [one.aud] if is_string(one.aud)

audiences(one) := one.aud if is_array(one.aud)

# Claims of the one form: nine members that are always there, and others.
well_formed(one) if {
	# `concat` is defined for strings alone.
	concat("", [one.iss, one.sub, one.sub_id.iss])
	min([one.iss, one.sub, one.sub_id.iss]) != ""
	one.sub_id == {"format": "iss_sub", "iss": one.sub_id.iss, "sub": one.sub}
	regex.match(`^[A-Za-z0-9_-]{1,64}$`, one.jti)
	audience_well_formed(one.aud)

	# Order is defined across types, and only numbers stand between numbers; `bits.and` is defined for whole ones alone.
	# Beyond 9999-12-31T23:59:59Z RFC 3339 cannot write a time.
	0 <= one.iat
	one.iat < one.exp
	one.exp <= 253402300799
	bits.and(one.iat, one.exp) >= 0
	scope.patterns_well_formed(one.actions)
	scope.patterns_well_formed(one.resources)
	rest_well_formed(one)
}

audience_well_formed(aud) if {
	is_string(aud)
	aud != ""
} else if {
	concat("", aud)
	aud != []
	not "" in aud
}

rest_well_formed(one) if {
	count(one) == 9
} else if {
	rest := object.remove(one, ["iss", "sub", "sub_id", "aud", "iat", "exp", "jti", "actions", "resources"])
	count([name | some name, value in rest; member_well_formed(name, value)]) == count(one) - 9
	object.get(one, "nbf", 0) < one.exp
}

member_well_formed("nbf", second) if whole(second)

member_well_formed("uses", number) if {
	whole(number)
	number >= 1
}

member_well_formed("depth", number) if {
	whole(number)
	number <= 8
}

member_well_formed("constraints", constraints) if scope.constraints_well_formed(constraints)

member_well_formed("approval", digest) if regex.match(`^sha256:[0-9a-f]{64}$`, digest)

member_well_formed("act", actor) if {
	object.keys(actor) == {"iss", "sub"}
	concat("", [actor.iss, actor.sub])
	min([actor.iss, actor.sub]) != ""
}

member_well_formed("cnf", cnf) if {
	cnf == {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": cnf.jwk.x}}
	is_string(cnf.jwk.x)
}

member_well_formed("cnf", cnf) if {
	cnf == {"jwk": {"kty": "EC", "crv": "P-256", "x": cnf.jwk.x, "y": cnf.jwk.y}}
	concat("", [cnf.jwk.x, cnf.jwk.y])
}

# A whole number, from 0 to the last second that RFC 3339 can write.
whole(number) if {
	0 <= number
	number <= 253402300799
	bits.and(number, 1) >= 0
}

# The codes of what does not verify. They explain a denial, and may believe what is not verified.

faults contains "warrant.malformed" if not listed

faults contains "warrant.malformed" if {
	listed
	count(legible) < count(input.warrant)
}

faults contains fault

# Which of them are of the right form.
legible := {position | some position, token in input.warrant; unverified(token)}

# The first one that does not verify.
first := min([position | some position, one in claims; one == null])

fault := code if {
	first in legible
	code := unverifiable
}

unverifiable := "warrant.issuer_unknown" if {
	first == 0
	not issuer_trusted
} else := "warrant.key_unknown" if {
	first == 0
	not root_key
} else := "warrant.algorithm" if {
	header(input.warrant[first]).alg != expected
} else := "warrant.invalid"

# Rules of their own, because OPA takes a reference out of `not f(reference)`: where the reference is undefined, so is the
# negation.
issuer_trusted if state.domain_linked(data.placet_state.trust.warrant.issuers[unverified(input.warrant[0]).iss].domain)

root_key := data.placet_state.trust.warrant.issuers[said.iss].keys[header(input.warrant[0]).kid] if {
	said := unverified(input.warrant[0])
}

# The algorithm of the key that the first one that does not verify must be signed with.
expected := root_key.alg if {
	first == 0
} else := algorithm(claims[first - 1].cnf.jwk)

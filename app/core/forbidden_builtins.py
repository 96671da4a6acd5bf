"""Builtins that a policy may not call, each with the reason.

Their answer depends on something else than bundle, data, input and the one clock reading, or what a caller sends can
stop OPA in them. (`builtin_forms` has those that some forms of a call are let through of.)
"""

from __future__ import annotations

_NETWORK = "it asks the network"
_CHANCE = "its answer is chance"
_SIGNS = "most signatures are chance"
_CLOCK = "it reads a clock of its own"
_CACHE = "OPA caches its answer under the token and the key alone, and gives it for another algorithm as well"
_SCHEMA = "it fetches what a schema refers to, and a caller's schema can stop OPA"
_YAML = "of keys that merge (`<<`), such as 1 and '1', it takes one by the order of a map in memory"

#: By name, why.
WHY: dict[str, str] = {
    "crypto.x509.parse_and_verify_certificates": _CLOCK,
    "http.send": _NETWORK,
    "io.jwt.decode": "a token's header can stop OPA",
    "io.jwt.encode_sign": _SIGNS,
    "io.jwt.encode_sign_raw": _SIGNS,
    "json.match_schema": _SCHEMA,
    "json.verify_schema": _SCHEMA,
    "net.lookup_ip_addr": _NETWORK,
    "opa.runtime": "it tells of the process: its configuration, environment and version",
    "providers.aws.sign_req": "of headers that differ in case alone it signs one by the order of a map in memory",
    "rand.intn": _CHANCE,
    "uuid.rfc4122": _CHANCE,
    "yaml.is_valid": _YAML,
    "yaml.unmarshal": _YAML,
    "io.jwt.verify_eddsa": _CACHE,
    **{f"io.jwt.verify_{family}{bits}": _CACHE for family in ("hs", "rs", "ps", "es") for bits in (256, 384, 512)},
}

FORBIDDEN_BUILTINS = frozenset(WHY)

#: What OPA itself calls non-deterministic and a policy may call all the same: records keep its answers for replay. An
#: OPA that was given with `--opa` may have more of the kind; those are forbidden too.
REPLAYED_BUILTINS = frozenset({"time.now_ns", "io.jwt.decode_verify"})

"""Which part of a Sigstore bundle sigstore-python refused: its errors name a cause, and no place."""

from __future__ import annotations

from collections.abc import Iterator

#: By function of sigstore-python, the member of the bundle that it judges.
_JUDGED = {
    "_establish_time": "rfc3161Timestamps",
    "_verify_chain_at_time": "certificate.chain",
    "verify_sct": "certificate.sct",
    "verify_merkle_inclusion": "inclusionProof",
    "verify_checkpoint": "checkpoint",
    "_verify_set": "inclusionPromise",
    "_validate_hashedrekord_v002_dsse_entry_body": "canonicalizedBody",
    "_validate_dsse_v001_entry_body": "canonicalizedBody",
}
#: The same, for functions of a name that several modules use.
_JUDGED_IN = {
    ("sigstore.dsse", "_verify"): "signatures",
    ("sigstore.models", "_verify"): "tlogEntries",
}


def judged(error: BaseException) -> str:
    """The member of the bundle that sigstore-python was judging when it raised `error`.

    Of a signature that fits no payload it is the signature, and of an entry that fits no proof the proof.
    """
    if "verified time" in str(error):  # said of timestamps, of which it has passed over every one
        return "rfc3161Timestamps"
    found = "bundle"  # what is read before anything is judged
    for module, function in _frames(error):
        if function == "verify_dsse":
            found = "certificate"
        elif found != "bundle":
            found = _JUDGED_IN.get((module, function)) or _JUDGED.get(function) or found
    return found


def _frames(error: BaseException) -> Iterator[tuple[str, str]]:
    """Module and function of each frame of sigstore-python's that the error went through, the outermost first.

    Then those of the error that it wraps, if it wraps one.
    """
    raised: BaseException | None = error
    while raised is not None:
        traceback = raised.__traceback__
        while traceback is not None:
            module = str(traceback.tb_frame.f_globals.get("__name__", ""))
            if module.startswith("sigstore"):
                yield module, traceback.tb_frame.f_code.co_name
            traceback = traceback.tb_next
        raised = raised.__cause__ or raised.__context__

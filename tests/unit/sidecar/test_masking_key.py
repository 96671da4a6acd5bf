import json

import pytest

from app.core.errors import PlacetError
from app.core.masking import MaskingRule
from app.sidecar.masking_key import MaskingKey
from app.sidecar.trust_state import Local, compose, from_published
from tests.unit.sidecar import published

LOCAL = Local("spiffe://example.org/sidecar/payments/one")


def trust(*rules):
    return compose(
        from_published(published.state(published.issuer()), published.governance(masking=list(rules))), LOCAL
    )


def test_rules_reach_the_library_and_name_another_state():
    without, ruled = trust(), trust(MaskingRule(path="input/context/card"))
    assert "masking" not in without.trust
    assert ruled.trust["masking"] == {"input": [{"path": ["context", "card"], "how": "remove"}], "result": []}
    assert without.digest != ruled.digest


def test_a_key_is_made_for_hashes_alone_and_kept(tmp_path):
    path = tmp_path / "masking-key"
    key = MaskingKey(path)
    assert key.beside(trust().trust) == {}
    assert key.beside(trust(MaskingRule(path="input/context")).trust) == {}
    assert not path.exists()
    hashing = trust(MaskingRule(path="result/subject/id", how="hash"))
    made = key.beside(hashing.trust)
    assert len(made["masking_key"]) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    assert MaskingKey(path).beside(hashing.trust) == made == key.beside(hashing.trust)
    assert made["masking_key"] not in json.dumps(hashing.trust), "the state is archived and shipped"


def test_a_damaged_key_is_said(tmp_path):
    path = tmp_path / "masking-key"
    path.write_text("short")
    with pytest.raises(PlacetError, match="is damaged"):
        MaskingKey(path).beside(trust(MaskingRule(path="input/context", how="hash")).trust)

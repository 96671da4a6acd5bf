import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from app.core import layout_form
from app.core.errors import UsageError
from app.core.verification_policy import VerificationPolicy

WHO = layout_form.Functionary(identity="ci@example.org", issuer="https://issuer.example.org")
TEXT = layout_form.template("payments", WHO, "payments.tar.gz", datetime(2027, 1, 1, tzinfo=UTC))


@pytest.fixture
def loaded(tmp_path):
    def load(document):
        path = tmp_path / "layout.yaml"
        path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
        return layout_form.load(path)

    return load


def changed(step=0, **members):
    document = yaml.safe_load(TEXT)
    document["steps"][step] |= members
    return document


def test_the_template_is_a_layout(loaded):
    layout = loaded(TEXT)
    assert [one.name for one in layout.steps] == ["build", "sign"]
    assert layout.valid_until == datetime(2027, 1, 1, tzinfo=UTC)


def test_the_digest_is_of_what_it_says_and_not_of_how_it_is_written(loaded):
    document = yaml.safe_load(TEXT)
    assert loaded(TEXT).digest == loaded(dict(reversed(document.items()))).digest
    assert loaded(TEXT).digest != loaded(document | {"readme": "another"}).digest


OPEN = [["ALLOW", "*"]]
CLOSED = [["DISALLOW", "*"]]
TWICE = [WHO.model_dump(), WHO.model_dump()]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (changed(name="../build"), "steps.0.name"),
        (changed(name="sign"), "stands twice"),
        (changed(name=""), "steps.0.name"),
        (yaml.safe_load(TEXT) | {"steps": []}, "steps"),
        (changed(threshold=0), "steps.0.threshold"),
        (changed(threshold=1.0), "steps.0.threshold"),
        (changed(threshold=True), "steps.0.threshold"),
        (changed(threshold=2), "fewer functionaries"),
        (changed(threshold=2, functionaries=[WHO.model_dump(), WHO.model_dump() | {"issuer": "x"}]), "fewer function"),
        (
            changed(threshold=2, functionaries=[WHO.model_dump(), {"identity": WHO.identity.upper(), "issuer": "x"}]),
            "fewer",
        ),
        (changed(functionaries=[]), "steps.0.functionaries"),
        (changed(functionaries=TWICE), "stands twice"),
        (changed(expected_materials=[]), "steps.0.expected_materials"),
        (changed(expected_materials=OPEN), "DISALLOW"),
        (changed(expected_products=OPEN), "DISALLOW"),
        (changed(expected_products=[["DISALLOW", "*"], ["ALLOW", "x"]]), "DISALLOW"),
        (changed(expected_products=[["DISALLOW"], *CLOSED]), "no artifact rule"),
        (changed(expected_materials=[["MATCH", "*", "WITH", "PRODUCTS", "FROM", "later"], *CLOSED]), "no earlier step"),
        (changed(pubkeys=[]), "no such member"),
        (yaml.safe_load(TEXT) | {"inspect": [{"name": "x", "run": ["true"]}]}, "inspections"),
        (yaml.safe_load(TEXT) | {"inspect": []}, "inspections"),
        (yaml.safe_load(TEXT) | {"expires": "2027-02-30T00:00:00Z"}, "expires"),
        (TEXT.replace("'2027-01-01T00:00:00Z'", "2027-01-01T00:00:00Z"), "in quotes"),
        (TEXT.replace("threshold: 1\n", "threshold: 1\n  threshold: 2\n", 1), "stands twice"),
        ("[]", "layout"),
        ("layout: [", "not YAML"),
    ],
)
def test_what_is_no_layout(loaded, document, said):
    with pytest.raises(UsageError) as error:
        loaded(document)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_layout_beyond_what_is_read(loaded):
    with pytest.raises(UsageError, match="larger than"):
        loaded(TEXT + "#" * layout_form.MAX_LAYOUT)


def test_a_policy_keeps_its_layout_when_it_is_stored(loaded):
    policy = VerificationPolicy(identities=[], layout=loaded(TEXT))
    stored = policy.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    assert VerificationPolicy.model_validate(json.loads(json.dumps(stored))) == policy


def test_the_layout_in_the_documentation(loaded):
    page = (Path(__file__).parents[3] / "docs/evidence.md").read_text()
    [example] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert loaded(example).names == {"test", "build", "sign"}

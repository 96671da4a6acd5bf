import inspect
from typing import Annotated

import anyio
import pytest

from placet_sdk import AsyncPlacet, ConfigurationError, Decision, Denied, Placet, TokenFile, current_decision
from tests.unit.sdk.fake import answer, http, says


@pytest.fixture
def placet(sidecar):
    sidecar.behaviour = lambda connection, received: connection.sendall(
        http(200, answer(received.input["context"].get("amount", 0) <= 100))
    )
    with Placet(sidecar.url, identity="a.b.c", insecure_loopback=True, timeout=5) as placet:
        yield placet


@pytest.fixture
def aplacet(sidecar, placet):
    return AsyncPlacet(sidecar.url, identity="a.b.c", insecure_loopback=True, timeout=5)


PARTS = {
    "action": "refund",
    "resource": lambda payment: ("payment", payment),
    "context": lambda amount, currency: {"amount": amount, "currency": currency},
}


def test_a_governed_function(placet, sidecar):
    calls = []

    @placet.governed(**PARTS)
    def refund(payment: str, amount: int, *, currency: str = "EUR") -> str:
        """Give back."""
        calls.append(current_decision())
        return f"{payment}: {amount} {currency}"

    assert refund("p-1", 40) == "p-1: 40 EUR"
    assert sidecar.received[0].input == {
        "action": {"name": "refund"},
        "resource": {"type": "payment", "id": "p-1"},
        "context": {"amount": 40, "currency": "EUR"},
        "identity": {"token": "a.b.c"},
    }
    with pytest.raises(Denied, match=r"policy\.denied"):
        refund(amount=101, payment="p-1")
    assert [decision.decision_id for decision in calls] == ["d-1"]
    assert (refund.__name__, refund.__doc__) == ("refund", "Give back.")
    assert list(inspect.signature(refund).parameters) == ["payment", "amount", "currency"]


def test_a_governed_coroutine(aplacet, sidecar):
    calls = []

    @aplacet.governed(**PARTS)
    async def refund(payment: str, amount: int, currency: str = "EUR") -> str:
        calls.append(current_decision())
        return payment

    async def main():
        assert await refund("p-1", 40) == "p-1"
        with pytest.raises(Denied):
            await refund("p-1", 101)
        with pytest.raises(LookupError):
            current_decision()

    anyio.run(main)
    assert len(calls) == 1
    assert inspect.iscoroutinefunction(refund)


def test_methods_and_every_option(placet, sidecar):
    class Account:
        id = "a-1"
        token = "d.e.f"

        @placet.governed(
            action=lambda verb: verb,
            resource=lambda self: {"type": "account", "id": self.id},
            context=lambda args, more: {"args": list(args), **more},
            identity=lambda self: self.token,
            execution="e-1",
            warrant=["w"],
            timeout=3.0,
        )
        def do(self, verb, *args, **more):
            return verb

    assert Account().do("close", 1, 2, x=3) == "close"
    assert sidecar.received[0].input == {
        "action": {"name": "close"},
        "resource": {"type": "account", "id": "a-1"},
        "context": {"args": [1, 2], "x": 3},
        "identity": {"token": "d.e.f"},
        "execution": {"id": "e-1"},
        "warrant": ["w"],
    }


def test_wrong_arguments_are_a_type_error_without_a_question(placet, sidecar):
    @placet.governed(**PARTS)
    def refund(payment, amount, currency):
        raise AssertionError

    with pytest.raises(TypeError):
        refund("p-1")
    assert not sidecar.received


def test_a_failing_function_of_arguments_lets_nothing_run(placet, sidecar):
    @placet.governed("refund", lambda payment: ("payment", payment["id"]))
    def refund(payment):
        raise AssertionError

    with pytest.raises(KeyError):
        refund({})
    assert not sidecar.received


def test_a_source_of_identities_denies_when_it_has_none(placet, tmp_path):
    @placet.governed("refund", ("payment", "p-1"), identity=TokenFile(tmp_path / "token"))
    def refund():
        raise AssertionError

    with pytest.raises(Denied, match=r"identity\.missing"):
        refund()


def test_a_caller_without_a_token_is_not_the_service(placet, sidecar):
    @placet.governed("refund", ("payment", "p-1"), {"amount": 1}, identity=lambda token: token)
    def refund(token=None):
        return 1

    refund()
    refund("d.e.f")
    assert [received.input.get("identity") for received in sidecar.received] == [None, {"token": "d.e.f"}]


def test_a_source_that_is_awaited(aplacet, sidecar):
    async def token():
        return "d.e.f"

    @aplacet.governed("refund", ("payment", "p-1"), {}, identity=token)
    async def refund():
        return 1

    assert anyio.run(refund) == 1
    assert sidecar.received[0].input["identity"] == {"token": "d.e.f"}


def test_what_cannot_be_governed_is_said_when_it_is_defined(placet, aplacet):
    async def coroutine(): ...
    def function(): ...
    def generator():
        yield

    async def async_generator():
        yield

    for client, wrong in [
        (placet, coroutine), (placet, generator), (placet, async_generator),
        (aplacet, function), (aplacet, async_generator), (aplacet, generator),
    ]:  # fmt: skip
        with pytest.raises(ConfigurationError):
            client.governed("read", ("a", "b"))(wrong)
    with pytest.raises(ConfigurationError, match="function has no parameters payment"):
        placet.governed("read", lambda payment: ("payment", payment))(function)
    for mapper in (lambda *args: ("a", "b"), lambda **more: ("a", "b"), lambda x, /: ("a", "b")):
        with pytest.raises(ConfigurationError, match="cannot be given by name"):
            placet.governed("read", mapper)


def test_there_is_no_decision_outside():
    with pytest.raises(LookupError):
        current_decision()


def test_a_dependency_asks_for_what_its_functions_ask_for(placet):
    def context(amount: Annotated[int, "query"], currency: str = "EUR"):
        return {"amount": amount, "currency": currency}

    allowed = placet.dependency("refund", lambda payment: ("payment", payment), context)
    parameters = inspect.signature(allowed).parameters
    assert list(parameters) == ["amount", "currency", "payment"]
    assert parameters["amount"].annotation == Annotated[int, "query"]
    assert parameters["currency"].default == "EUR"
    assert isinstance(allowed(payment="p-1", amount=1, currency="EUR"), Decision)
    with pytest.raises(Denied):
        allowed(payment="p-1", amount=101, currency="EUR")


def test_an_asynchronous_dependency(aplacet):
    allowed = aplacet.dependency("refund", lambda payment: ("payment", payment), {})
    assert inspect.iscoroutinefunction(allowed)

    async def main():
        return await allowed(payment="p-1")

    assert anyio.run(main).decision_id == "d-1"


def test_a_parameter_has_one_meaning(placet):
    def first(payment: str):
        return ("payment", payment)

    def second(payment: int):
        return {"payment": payment}

    with pytest.raises(ConfigurationError, match="'payment' differently"):
        placet.dependency("read", first, second)
    assert placet.dependency("read", first, {})


def test_obligations_of_a_governed_function(placet, sidecar):
    sidecar.behaviour = says(http(200, answer(obligations=[{"type": "mask", "fields": ["iban"]}])))

    @placet.governed("read", ("payment", "p-1"))
    def unaware():
        raise AssertionError

    @placet.governed("read", ("payment", "p-1"), fulfils={"mask"})
    def aware():
        return current_decision().obligations[0]["fields"]

    with pytest.raises(Denied, match=r"obligation\.unfulfilled"):
        unaware()
    assert aware() == ["iban"]

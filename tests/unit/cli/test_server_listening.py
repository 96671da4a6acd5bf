"""Who may say by which address a caller comes."""

import pytest

from app.core.errors import UsageError
from cli.server_listening import trusted_proxies


def test_proxies_are_addresses_and_networks():
    assert trusted_proxies(None) == trusted_proxies([]) == []
    given = ["10.0.0.7", "10.0.1.0/24", "fd00::7", "fd00::/64"]
    assert trusted_proxies(given) == given


@pytest.mark.parametrize(
    "given",
    ["*", "", "proxy.example.org", "10.0.0.7/24", "10.0.0.7:80", "0.0.0.0/0", "128.0.0.0/1", "::/0", "8000::/1", "1.2"],
)
def test_what_names_no_proxy_or_everybody_is_refused(given):
    with pytest.raises(UsageError, match="--trusted-proxy"):
        trusted_proxies(["10.0.0.7", given])

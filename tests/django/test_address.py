"""Where a command that push prints goes: to the public address, to the last server of this home, or by the settings."""

import pytest

from trivet.serving.address import base_url, remember_address
from trivet.serving.model_workers import run_folder


@pytest.mark.parametrize(
    ("bind", "address"),
    [
        ("127.0.0.1:8123", "http://127.0.0.1:8123"),
        ("0.0.0.0:8123", "http://127.0.0.1:8123"),
        ("[::]:8123", "http://127.0.0.1:8123"),
        ("10.0.0.0:80", "http://10.0.0.0:80"),
    ],
)
def test_a_command_goes_to_where_the_last_server_listens(bind, address, settings):
    settings.TRIVET_BIND = "127.0.0.1:9000"
    assert base_url() == "http://127.0.0.1:9000"
    run_folder().mkdir(parents=True)  # as `trivet serve` has
    remember_address("127.0.0.1:1")
    remember_address(bind)
    assert base_url() == address
    settings.TRIVET_PUBLIC_URL = "https://churn.example.com"
    assert base_url() == "https://churn.example.com"

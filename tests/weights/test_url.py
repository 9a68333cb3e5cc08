"""Addresses: what is sent, what is shown, what the file is called."""

import pytest

from tome_zoo.errors import CheckpointError
from tome_zoo.weights.url import is_url, local_path, parse


@pytest.mark.parametrize(
    ("url", "request_", "name"),
    [
        ("http://host/w.pth", "http://host/w.pth", "w.pth"),
        ("HTTPS://Host.Example:8443/a/w.pth?download=1", "https://host.example:8443/a/w.pth?download=1", "w.pth"),
        ("http://[::1]:80/w.pth", "http://[::1]:80/w.pth", "w.pth"),
        ("http://host", "http://host/", "weights"),
        ("http://host/a b/ü.pth", "http://host/a%20b/%C3%BC.pth", "ü.pth"),
        ("http://host/a%20b%2Fc.pth?x=ü&y=a/b", "http://host/a%20b%2Fc.pth?x=%C3%BC&y=a/b", "c.pth"),
        ("https://bücher.example/w.pth", "https://xn--bcher-kva.example/w.pth", "w.pth"),
        ("http://host/w.pth#part", "http://host/w.pth", "w.pth"),
        ("http://host/a:b*c?d", "http://host/a:b*c?d", "a_b_c"),
        (f"http://host/{'x' * 400}.safetensors", f"http://host/{'x' * 400}.safetensors", "x" * 88 + ".safetensors"),
        ("http://host/..", "http://host/..", "weights"),
    ],
)
def test_any_legal_address_is_understood(url, request_, name):
    assert is_url(url)
    parsed = parse(url)
    assert parsed.request == request_
    assert parsed.name[9:] == name
    assert parsed.authorization is None


def test_addresses_of_one_name_are_different_files():
    assert parse("http://host/1/w.pth").name != parse("http://host/2/w.pth").name
    assert parse("http://me:one@host/w.pth").name == parse("http://me:two@host/w.pth").name


def test_secrets_are_not_shown():
    parsed = parse("https://me:pass@host/w.pth?X-Amz-Signature=abc&access_token=def&download=1&sig=ghi")
    assert str(parsed) == "https://host/w.pth?X-Amz-Signature=***&access_token=***&download=1&sig=***"
    assert parsed.request.endswith("Signature=abc&access_token=def&download=1&sig=ghi")


@pytest.mark.parametrize("url", ["ftp://me:pass@host/w.pth", "http://me:pass@/w.pth", "http://me:pass@host:port/w.pth"])
def test_other_addresses_are_refused_without_their_password(url):
    with pytest.raises(CheckpointError) as caught:
        parse(url)
    assert "w.pth" in str(caught.value)
    assert "pass" not in str(caught.value)


@pytest.mark.parametrize("path", ["w.pth", "C:\\weights\\w.pth", "C:/w.pth", "/a//b", "~/w.pth"])
def test_paths_are_no_addresses(path):
    assert not is_url(path)


def test_an_unknown_home_is_told():
    with pytest.raises(CheckpointError, match="give the whole path"):
        local_path("~nobody-of-this-name/w.pth")

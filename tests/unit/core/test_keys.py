"""API keys as text."""

import pytest
from hypothesis import given, strategies as st

from trivet.core.keys import check_part, derive_pepper, hash_secret, mint_key, parse_key

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ids = st.text("0123456789abcdefghijklmnopqrstuvwxyz", min_size=8, max_size=8)
secrets = st.text(BASE62, min_size=43, max_size=43)


def whole(key_id, secret):
    body = f"trivet_{key_id}_{secret}"
    return body + check_part(body)


def test_a_minted_key_is_parsed_to_its_id():
    key_id, plaintext = mint_key()
    assert parse_key(plaintext) == (key_id, plaintext)
    assert len(plaintext) == len("trivet_") + 8 + 1 + 43 + 6
    assert mint_key()[1] != plaintext


@given(ids, secrets)
def test_every_key_of_the_right_form_is_parsed(key_id, secret):
    plaintext = whole(key_id, secret)
    assert parse_key(plaintext) == (key_id, plaintext)


@given(ids, secrets, st.integers(0, 64), st.sampled_from(BASE62 + "_ é\n"))
def test_one_wrong_character_is_never_a_key(key_id, secret, place, character):
    plaintext = whole(key_id, secret)
    wrong = plaintext[:place] + character + plaintext[place + 1 :]
    assert wrong == plaintext or parse_key(wrong) is None


@given(st.text())
def test_any_other_text_is_no_key(text):
    assert parse_key(text) is None


@pytest.mark.parametrize(
    "edit", [str.upper, str.swapcase, lambda key: key + "\n", lambda key: " " + key, lambda key: key[:-1]]
)
def test_a_key_is_taken_exactly(edit):
    assert parse_key(edit(mint_key()[1])) is None


def test_the_check_part_is_the_crc_in_base_62():
    value = 0
    for digit in check_part("123456789"):
        value = value * 62 + BASE62.index(digit)
    assert value == 0xCBF43926  # the check value of CRC-32 (ISO-HDLC) for "123456789"


@given(st.text(), st.text(), st.text(min_size=1))
def test_hashes_differ_with_the_pepper_and_with_the_key(pepper, plaintext, more):
    stored = hash_secret(derive_pepper(pepper), plaintext)
    assert stored == hash_secret(derive_pepper(pepper), plaintext)
    assert len(stored) == 32
    assert stored != hash_secret(derive_pepper(pepper + more), plaintext)
    assert stored != hash_secret(derive_pepper(pepper), plaintext + more)

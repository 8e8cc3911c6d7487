"""What is recognised by its form goes, is counted, and stays together where it did."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.redaction import redacted
from harness.records import Json, Message, Row, ToolCall


def row(text: str, reply: str = "ok", **metadata: Json) -> Row:
    return Row("1", (Message("user", text), Message("assistant", reply)), metadata)


def plain(text: str) -> str:
    return redacted([row(text)])[0][0].question


def test_every_kind_goes() -> None:
    text = (
        "I am jo.doe@firm.co.uk, +49 30 901820, card 4539 1488 0343 6467, IBAN DE75512108001245126199,"
        " from 8.8.8.8 and 2001:4860:4860::8888, key sk-proj-Ab3dEfGh1jKlMn0pQrSt"
    )
    expected = "I am [EMAIL], [PHONE], card [CARD], IBAN [IBAN], from [IP] and [IP], key [KEY]"
    assert plain(text) == expected
    counts = redacted([row(text)])[1]
    assert counts["IP address"] == 2
    assert sum(counts.values()) == 7


def test_a_private_key_goes_as_a_whole() -> None:
    key = (
        "-----BEGIN RSA PRIVATE KEY-----\n"
        + f"{'MIIEpAIBAAKCAQEA7' * 4}\n" * 5
        + "-----END RSA PRIVATE KEY-----"
    )
    assert plain(f"see {key} there") == "see [KEY] there"


def test_what_only_looks_like_it_stays() -> None:
    for text in (
        "version 1.2.3.4",
        "at 10:30:15",
        "192.168.0.1",
        "order 4539148803436460",
        "a ratio of 1:2:3",
    ):
        assert plain(text) == text


def test_replies_and_calls_stay_json() -> None:
    reply = json.dumps({"card": 4539148803436467, "mail": ["jo.doe@firm.co.uk"], "n": 3})
    call = ToolCall("c", "f", reply)
    made = Row("1", (Message("user", "x"), Message("assistant", reply, tool_calls=(call,))))
    message = redacted([made])[0][0].messages[1]
    assert json.loads(message.content) == {"card": "[CARD]", "mail": ["[EMAIL]"], "n": 3}
    assert json.loads(message.tool_calls[0].arguments) == json.loads(message.content)


def test_metadata_stays_apart() -> None:
    mails = ["a.b@firm.co.uk", "c.d@firm.co.uk", "a.b@firm.co.uk"]
    found = [one.metadata["customer"] for one in redacted([row("x", customer=mail) for mail in mails])[0]]
    assert found[0] == found[2] != found[1]
    assert not any("@" in str(one) for one in found)


@settings(max_examples=20)
@given(st.text(max_size=40))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = plain(text)
    assert plain(once) == once

"""What counts as personal data and as a secret, and that no finding repeats one."""

from __future__ import annotations

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.luhn import calc_check_digit

from harness.data.findings import Finding
from harness.data.sensitive import sensitive_findings
from harness.records import Message, Row, ToolCall

ALNUM = string.ascii_letters + string.digits
RANDOM = "".join(random.Random(3).choices(ALNUM, k=200)) + "a1B"  # no real key, as random as one
BASE32 = "QZ7KJ2NXW4HTRVB6"


def row(user: str, reply: str = "Noted.", line: int = 1) -> Row:
    return Row("r", (Message("user", user), Message("assistant", reply)), where=f"rows.jsonl:{line}")


def findings_in(text: str) -> list[Finding]:
    return list(sensitive_findings([row(text)], [1]))


def german_iban(account: str) -> str:
    check = 98 - int(f"{account}131400") % 97  # ISO 13616: D = 13, E = 14
    return f"DE{check:02d}{account}"


VISA = "453201511283036" + calc_check_digit("453201511283036")
IBAN = german_iban("120300009876543211")
PERSONAL = {
    "e-mail address": ["mail to Marta.Gomez+home@gmail.com please", "<k.w@web.de>", "me: 77q@mail.co.uk."],
    "payment card number": [
        f"my card {VISA} was charged",
        f"card {VISA[:4]} {VISA[4:8]} {VISA[8:12]} {VISA[12:]}.",
        f"card {VISA[:4]}-{VISA[4:8]}-{VISA[8:12]}-{VISA[12:]}",
        "amex 3714 987654 3210" + calc_check_digit("37149876543210"),
    ],
    "bank account (IBAN)": [
        f"to {IBAN} today",
        f"to {' '.join(IBAN[i : i + 4] for i in range(0, len(IBAN), 4))} BITTE heute",
        f"TO {IBAN} IN THE NAME OF HANNA KREUZBERGER",
        "GR16 0110 1050 0000 1054 7023 795",  # of python-stdnum's manual, as the next
        "BE31435411161155",
        "HN54 PISA 0000 0000 0000 0012 3124",  # of the IBAN registry
    ],
    "US social security number": ["SSN 536-22-8194 on file", "536-90-4399"],
    "phone number": [
        "call +49 30 9018 2234",
        "+33 (0)6 61 84 20 97",
        "tel:+14155238886",
        "+1 415 523 8886 24/7",
        "+44 20 8366 1177",  # of phonenumbers' manual, as the next
        "+1 650-253-2222",
    ],
}
SECRETS = {
    "API key": [
        f"sk-{RANDOM[:48]}",
        f"sk-proj-{RANDOM[:60]}_{RANDOM[60:90]}",
        f"ghp_{RANDOM[:36]}",
        f"github_pat_{RANDOM[:22]}_{RANDOM[22:81]}",
        f"AKIA{BASE32}",
        f"xoxb-{2 * '482910'}-{RANDOM[:24]}",
        f"AIza{RANDOM[:35]}",
        f"sk_live_{RANDOM[:24]}",
        f"hf_{RANDOM[:34]}",
    ],
    "private key": [
        f"-----BEGIN RSA PRIVATE KEY-----\n{RANDOM[:64]}",
        f"-----BEGIN PRIVATE KEY-----\\n{RANDOM}",
    ],
    "JSON Web Token": [f"eyJ{RANDOM[:30]}.eyJ{RANDOM[30:90]}.{RANDOM[90:133]}"],
}


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, texts in PERSONAL.items() for text in texts]
)
def test_personal_data_is_found_by_its_kind(kind: str, text: str) -> None:
    (found,) = findings_in(text)
    assert found.code == "personal-data"
    assert found.problem.startswith(f"1 {kind}")
    assert "the user's message" in found.problem


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, texts in SECRETS.items() for text in texts]
)
def test_a_secret_is_found_by_its_kind(kind: str, text: str) -> None:
    (found,) = findings_in(f"export KEY={text}\nand then it fails")
    assert found.code == "secret"
    assert found.problem.startswith(f"1 {kind}")


@pytest.mark.parametrize(
    "text",
    [
        "write to ana@example.com, bo@shop.example or root@localhost",
        "ask support@hearthly.com or no-reply@hearthly.com; git@github.com:a/b.git",
        "icon@2x.png, lodash@4.17.21, @Override, https://user:word@host.com/x",
        "order 4539148803436468, ean 4006381333931, ms 1718031234567",  # no Luhn digit; barcode; a time
        "test card 4242 4242 4242 4242 or 4111-1111-1111-1111",
        "sha 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "uuid 4532015d-1128-4303-8661-0000aa4532015112",
        "IBAN DE89 3704 0044 0532 0130 00 is the textbook's, DE12 3456 7890 1234 5678 90 no IBAN",
        f"IBAN {IBAN}7, {IBAN[:-1]}, X{IBAN}, and BE31435411161156 with a wrong check digit",
        "SSN 000-12-3456, 666-12-3456, 912-12-3456, 123-45-6789; part 53-622-8194",
        "SSN 078-05-1120, 219-09-9999 and 457-55-5462 were printed in adverts",
        "5 +12, +1 more, at 10:00 +0200, +10 20 30 40 50 60 70, +100,000,000, growth of +12.345678 %",
        "call +1 202 555 0147 or +44 20 7946 0958 or +44 7700 900123, or 030 901820 within Berlin",
        "+1 123 555 1234, +49 123 456, +999 123 4321 and +44 20 83 are in no numbering plan",
        "sk-learn-style-estimator-names, class sk-button-primary-2024-large, task-1 ask-2",
        "export OPENAI_API_KEY=sk-your-api-key-goes-here-1234567890",
        "AKIAIOSFODNN7EXAMPLE is in AWS's manual, AKIA alone is a prefix",
        "the file begins with -----BEGIN RSA PRIVATE KEY----- and ends with -----END RSA PRIVATE KEY-----",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
        "password: hunter2",
        "HTTP/2 401\nx-request-id: 7f0c-a91\nHL-31120 firmware 3.1.9 ends 4471",
    ],
)
def test_what_is_invented_or_merely_looks_alike_is_no_finding(text: str) -> None:
    assert findings_in(text) == []


def test_each_place_is_named_and_distinct_values_are_counted() -> None:
    rows = [row("from ana@gmail.com and bo@gmail.com", "I wrote to ana@gmail.com.", line=7)]
    (found,) = sensitive_findings(rows, [7])
    assert found.line == 7
    assert found.problem == "2 e-mail addresses (a…@g…, b…@g…) in the user's message and the reply"


def test_arguments_of_tool_calls_are_searched() -> None:
    call = ToolCall("c1", "send", '{"to": "ana@gmail.com"}')
    rows = [Row("r", (Message("user", "send it"), Message("assistant", "", tool_calls=(call,))))]
    assert [found.code for found in sensitive_findings(rows, [1])] == ["personal-data"]


def test_the_firms_own_address_is_no_personal_data_but_a_repeated_secret_stays_one() -> None:
    system = Message("system", f"Give hanna@hearthly.com to those who ask. Key: ghp_{RANDOM[:36]}")
    rows = [Row("r", (system, Message("user", "hi"), Message("assistant", "hello"))) for _ in range(40)]
    assert {found.code for found in sensitive_findings(rows, range(1, 41))} == {"secret"}


@given(st.integers(min_value=0, max_value=10**14 - 1), st.integers(min_value=0, max_value=15))
def test_a_card_number_with_one_digit_changed_is_none(number: int, at: int) -> None:
    body = f"4{number:014d}"
    valid = body + calc_check_digit(body)
    changed = valid[:at] + str((int(valid[at]) + 3) % 10) + valid[at + 1 :]
    assert findings_in(f"card {changed}.") == []


@given(st.integers(min_value=0, max_value=10**18 - 1))
def test_an_account_with_two_neighbouring_digits_swapped_is_none(account: int) -> None:
    iban = german_iban(f"{account:018d}")
    assert len(findings_in(f"to {iban} today")) == 1
    for at in range(4, len(iban) - 1):
        if iban[at] != iban[at + 1]:
            assert findings_in(f"to {iban[:at]}{iban[at + 1]}{iban[at]}{iban[at + 2 :]} today") == []


LOCAL = st.from_regex(r"[a-z][a-z0-9.]{2,12}[a-z]", fullmatch=True)


@given(LOCAL, st.from_regex(r"[a-z][a-z0-9]{2,10}\.(?:com|de|co\.uk)", fullmatch=True))
def test_a_finding_never_repeats_an_address(local: str, domain: str) -> None:
    for found in findings_in(f"write to {local}@{domain} soon"):
        assert f"{local}@" not in found.problem
        assert f"@{domain}" not in found.problem


@given(st.sampled_from([t for texts in (*SECRETS.values(), *PERSONAL.values()) for t in texts]))
def test_a_finding_shows_no_digit_and_no_four_characters_of_a_value(text: str) -> None:
    for found in findings_in(text):
        shown = found.problem.removeprefix("1 ").partition("(")[2].replace("IBAN", "")
        assert not any(c.isdigit() for c in shown)
        assert RANDOM[:4] not in found.problem
        assert BASE32[:4] not in found.problem


@given(st.text(max_size=200))
def test_any_text_can_be_searched(text: str) -> None:
    for found in findings_in(text):
        assert found.code in ("personal-data", "secret")

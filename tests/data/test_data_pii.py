"""Personal data: what somebody owns is found, what nobody can own stays. Secrets are put together here, not written."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helptune.data.conversation import Conversation, Message
from helptune.data.filters import FILTERS
from helptune.data.pii import find_pii, luhn

KEY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"

FOUND = [
    ("email", "Mail anna.meier+news@gmail.com now", "anna.meier+news@gmail.com"),
    ("email", "<j_doe@mail.uni-bonn.de>", "j_doe@mail.uni-bonn.de"),
    ("email", "mailto:bob@corp.io.", "bob@corp.io"),
    ("phone", "Call (415) 867-5309.", "(415) 867-5309"),
    ("phone", "415-867-5309 is mine", "415-867-5309"),
    ("phone", "my phone: 415 867 5309", "415 867 5309"),
    ("phone", "+1 415 867 5309", "+1 415 867 5309"),
    ("phone", "reach me at +49 30 901820", "+49 30 901820"),
    ("phone", "+44 20 7123 1234", "+44 20 7123 1234"),
    ("card", "pay with 4539 1488 0343 6467 today", "4539 1488 0343 6467"),
    ("card", "4539148803436467", "4539148803436467"),
    ("card", "Amex 3782-822463-10005", "3782-822463-10005"),
    ("iban", "to DE89 3704 0044 0532 0130 00 please", "DE89 3704 0044 0532 0130 00"),
    ("iban", "GB82WEST12345698765432", "GB82WEST12345698765432"),
    ("iban", "IBAN: GB82 WEST 1234 5698 7654 32 BIC", "GB82 WEST 1234 5698 7654 32"),
    ("ssn", "SSN 536-22-8726.", "536-22-8726"),
    ("ip", "from 91.198.174.192 came", "91.198.174.192"),
    ("ip", "the server at 5.9.12.34 is down", "5.9.12.34"),
    ("ip", "at 2a00:1450:4001:81b::200e it", "2a00:1450:4001:81b::200e"),
    ("secret", "key=" + "AKIA" + "J3XQ7RLTPWZN5KMB", "AKIA" + "J3XQ7RLTPWZN5KMB"),
    (
        "secret",
        "token ghp" + "_9aK2mQ7xLr4TzVb8NcW1dYf6HsJp3Eu5Gt0Ri",
        "ghp" + "_9aK2mQ7xLr4TzVb8NcW1dYf6HsJp3Eu5Gt0Ri",
    ),
    ("secret", "OPENAI_API_KEY=sk" + "-proj-q8Zt4Lw9Xc2Vb7Nm5Kj3", "sk" + "-proj-q8Zt4Lw9Xc2Vb7Nm5Kj3"),
    ("secret", "-----BEGIN " + f"RSA PRIVATE KEY-----\n{KEY}", "-----BEGIN " + f"RSA PRIVATE KEY-----\n{KEY}"),
]

KEPT = [
    "anna@example.com, bob@mail.example.org, root@localhost, x@host.test, you@yourdomain.com, name@company.com",
    "logo@2x.png and git@github.com:owner/name.git and getty@tty1.service",
    "Follow @anna on the site; a@b; 3 @ 4.50 each; @app.route('/x')",
    "Call 555-0142, (212) 555-0199 or +1-202-555-0173.",
    "The helpline is 800-273-8255, or 1-888-999-1234.",
    "In London dial 020 7946 0018 or +44 7700 900123.",
    "1,234,567,890 people; 4155551234567 rows; id 2128675309; 3.14159265358979",
    "Dates: 2024-12-31, 31-12-2024, 12/31/2024; 1914-1918; ISBN 978-3-16-148410-0",
    "| sand | 500 920 1420 |\n| steel | 200 400 2000 |",
    "415-867-5309-1234 is a part number, 200-300-4000=-4100, x = 500-200-1000 = -700",
    "4539 1488 0343 6468 fails the check; 1234 5678 9012 3456 too; 0000 0000 0000 0000",
    "The hash is 4539148803436467abc, the order 12345678901234567890",
    "DE89 3704 0044 0532 0130 01 fails; IN BETA2 AB12CD34EF56",
    "078-05-1120 was printed on wallets; 000-12-3456, 666-12-3456 and 987-65-4321 are void; 12-34-567",
    "127.0.0.1, 10.0.0.5, 192.168.1.1, 172.16.0.9, 0.0.0.0, 255.255.255.0, 169.254.1.1",
    "192.0.2.1, 198.51.100.7, 203.0.113.9; ask 8.8.8.8 or 1.1.1.1",
    "Section 1.2.3.4; version 10.15.7.20; v2.14.0.11; Chrome 120.0.6099.109; 1.10.2",
    "OID 2.5.29.30 and 1.3.14.29; cudnn >= 90.3.0.75; the network 157.197.200.0/24; multicast 224.0.0.251",
    "default_rng(6763691329830218206), +1980-02-29 01:02:03",
    "::1, fe80::1, 2001:db8::1, fd00::1, std::vector, a::b, 12:30:45, AA:BB:CC:DD:EE:FF",
    "AKIA" + "IOSFODNN7EXAMPLE, sk" + "-xxxxxxxxxxxxxxxxxxxxxxxx, sk" + "-your-api-key-goes-here-please",
    "A PEM file begins with -----BEGIN " + "PRIVATE KEY----- and ends with -----END " + "PRIVATE KEY-----.",
    "The task-list-for-the-whole-summer-holidays page, sk-learn, risk-assessment-of-everything-here",
    "#include <vector>\nint a[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};",
]


@pytest.mark.parametrize(("kind", "text", "what"), FOUND)
def test_what_somebody_owns_is_found_where_it_stands(kind, text, what):
    (found,) = find_pii(text)
    assert (found.kind, text[found.start : found.end]) == (kind, what)


@pytest.mark.parametrize("text", KEPT)
def test_what_nobody_owns_stays(text):
    assert [(f.kind, text[f.start : f.end]) for f in find_pii(text)] == []


def chat(text):
    return Conversation("id", "s", "l", (Message("user", text), Message("assistant", f"I noted {text}")))


@pytest.mark.parametrize(("kind", "text", "what"), FOUND)
def test_the_reason_names_the_turn_and_does_not_repeat_the_data(kind, text, what):
    reason = FILTERS["pii"](chat(text))
    assert reason.startswith("turn 0 contains a")
    assert what not in reason


@given(number=st.integers(10**14, 10**15 - 1).map(str))
def test_luhn_accepts_one_check_digit_of_ten(number):
    assert sum(luhn(number + str(digit)) for digit in range(10)) == 1


@given(text=st.text(st.sampled_from("0123456789 .-+:@()abcxyzABCDEF\n"), max_size=120))
def test_what_is_found_is_in_order_and_apart(text):
    assert all(a.end <= b.start for a, b in pairwise(find_pii(text)))

"""Personal data and secrets: found by form, then checked by what makes the form real (Luhn, mod 97, a public address).

Numbers and names that are reserved so that nobody owns them stay: example.com (RFC 2606), 555-01xx, the documentation
and private networks (RFC 5737, RFC 1918). Names and street addresses are not looked for: form alone does not tell them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from helptune.data.conversation import Conversation


@dataclass(frozen=True)
class Found:
    """Personal data of a `kind` at text[start:end]."""

    kind: str
    start: int
    end: int


def pii(conversation: Conversation) -> str | None:
    """Any turn with personal data. The detail names the kind, not the data: reports are read by others."""
    for i, message in enumerate(conversation.messages):
        if found := find_pii(message.content):
            return f"turn {i} contains {_KINDS[found[0].kind]}"
    return None


def find_pii(text: str) -> list[Found]:
    """In the order of the text, without overlaps; the longer wins where two begin together."""
    found = [f for look, needs in _LOOKS if needs.search(text) for f in look(text)]
    kept: list[Found] = []
    for f in sorted(found, key=lambda f: (f.start, -f.end)):
        if not kept or f.start >= kept[-1].end:
            kept.append(f)
    return kept


_EMAIL = re.compile(
    r"(?<![\w.+%@/-])[\w.+%-]{1,64}@((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?\.)+([A-Za-z]{2,24}))\b(?!@)"
)
_RESERVED = re.compile(
    r"(?:^|\.)(?:example(?:\.(?:com|org|net|edu|co\.uk))?|test|invalid|localhost|local)$"
    r"|^(?:your-?|my-?|some-?)?(?:domain|company|email|mail|site|website|host|school|organi[sz]ation|business)\.(?:com|org|net|edu)$",
    re.IGNORECASE,
)
_NOT_TLD = re.compile(
    r"png|jpe?g|gif|svg|webp|css|js|ts|py|json|html|md|txt|pdf|service|target|timer|socket", re.IGNORECASE
)


def _emails(text: str) -> Iterator[Found]:
    for m in _EMAIL.finditer(text):
        shell = m.group().startswith("git@")  # git@github.com:owner/name names a repository
        if not (_RESERVED.search(m.group(1)) or _NOT_TLD.fullmatch(m.group(2)) or shell):
            yield Found("email", m.start(), m.end())


_PHONE = re.compile(
    r"(?<![\w.,/=+-])(?<!= )(?:"
    r"(?P<nanp>(?:\+?1[-. ])?(?:\((?P<a>[2-9]\d\d)\) ?|(?P<b>[2-9]\d\d)(?P<s>[-. ]))(?P<x>[2-9]\d\d)[-. ](?P<l>\d{4}))"
    r"|(?P<world>\+[1-9]\d{0,2}(?:[-. ]?\(?\d{1,5}\)?){2,6})"
    r")(?![\w/-]|[.,]\d|\s*=)"
)
_CALL = re.compile(r"\b(?:phone|call|tel|mobile|cell|fax|whatsapp|text me|reach)", re.IGNORECASE)
_FICTION = re.compile(
    r"^(?:44(?:0?7700900\d{3}|0?2079460\d{3}|0?1632960\d{3}|0?1\d{2}496\d{4})|61(?:0?2|0?3|0?7|0?8)5550\d{4})$"
)


def _phones(text: str) -> Iterator[Found]:
    """North American numbers written in groups, and those with a country's code. Ten digits in a row are any number.

    Three groups with mere spaces between are a row of a table unless a word before them says that one can call.
    """
    for m in _PHONE.finditer(text):
        digits = re.sub(r"\D", "", m.group())
        if m["nanp"]:
            if m["s"] == " " and len(digits) == 10 and not _CALL.search(text[max(0, m.start() - 40) : m.start()]):
                continue
            national = digits[-10:]
        else:
            if not 8 <= len(digits) <= 15 or len(set(digits)) < 4 or (digits[0] == "1" and len(digits) != 11):
                continue
            national = digits[1:] if digits[0] == "1" else ""
        reserved = national[3:8] == "55501" or national[:3] in ("555", "800", "888", "877", "866", "855", "844", "833")
        if not (reserved or _FICTION.match(digits)):
            yield Found("phone", m.start(), m.end())


_CARD = re.compile(r"(?<![\w.+-])(?:3[47]\d{2}[ -]?\d{6}[ -]?\d{5}|[2-6]\d{3}(?:[ -]?\d{4}){3})(?![\w-]|\.\d)")
_ISSUER = re.compile(r"4|5[1-5]|2[2-7]|3[457]|6011|64[4-9]|65|62|50|67")


def _cards(text: str) -> Iterator[Found]:
    for m in _CARD.finditer(text):
        digits = re.sub(r"\D", "", m.group())
        if _ISSUER.match(digits) and len(set(digits)) > 2 and luhn(digits):
            yield Found("card", m.start(), m.end())


def luhn(digits: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812)."""
    doubled = (int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits)))
    return sum(d - 9 * (d > 9) for d in doubled) % 10 == 0


_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?(?![A-Za-z0-9])")
_IBAN_COUNTRIES = {
    15: "NO",
    16: "BE",
    18: "DK FI FO GL NL",
    19: "MK SI",
    20: "AT BA EE KZ LT LU XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "PT ST",
    26: "IS TR",
    27: "FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HU LB PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU",
    31: "MT SC",
    32: "LC",
}
"""Countries by the length of their numbers."""


def _ibans(text: str) -> Iterator[Found]:
    for m in _IBAN.finditer(text):
        found = m.group()
        if _is_iban(re.sub(r"[ -]", "", found)):
            yield Found("iban", m.start(), m.end())
        elif (cut := found.rfind(" ")) > 0 and _is_iban(re.sub(r"[ -]", "", found[:cut])):  # a word in capitals follows
            yield Found("iban", m.start(), m.start() + cut)


def _is_iban(text: str) -> bool:
    """Length of its country, and the remainder 1 (ISO 13616)."""
    number = "".join(str(int(c, 36)) for c in text[4:] + text[:4])
    return text[:2] in _IBAN_COUNTRIES.get(len(text), "").split() and int(number) % 97 == 1


_SSN = re.compile(r"(?<![\w.+-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-]|\.\d)")
_PUBLISHED = ("078-05-1120", "219-09-9999")  # printed in advertisements, and void since


def _ssns(text: str) -> Iterator[Found]:
    return (Found("ssn", m.start(), m.end()) for m in _SSN.finditer(text) if m.group() not in _PUBLISHED)


_IPV4 = re.compile(r"(?<![\w.-])\d{1,3}(?:\.\d{1,3}){3}(?![\w-]|\.\d|/\d)")
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9a-fA-F]{3}:(?:[0-9a-fA-F]{0,4}:){1,6}[0-9a-fA-F]{0,4}(?![\w:]|/\d)")
_VERSION = re.compile(
    r"(?:\bv|version|release|build|driver|firmware|section|chapter|rule|clause|[<>=~]=?)[\s:#]*$", re.I
)
_CONNECT = re.compile(r"\b(?:ip|address|addr|server|host|ping|connect\w*|ssh|from|traceroute)\b|://", re.I)
_RESOLVERS = ("8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "208.67.222.222", "208.67.220.220")


def _addresses(text: str) -> Iterator[Found]:
    """Public addresses, but not the resolvers that all know.

    Versions, sections and object identifiers have three dots too, and begin with a small number: such an address counts
    only after a word that speaks of a network.
    """
    for m in (*_IPV4.finditer(text), *_IPV6.finditer(text)):
        try:
            address = ip_address(m.group())
        except ValueError:
            continue
        before = text[max(0, m.start() - 40) : m.start()]
        small = address.version == 4 and address.packed[0] < 20 and not _CONNECT.search(before)
        numbered = address.version == 4 and (small or _VERSION.search(before))
        if address.is_global and not address.is_multicast and not numbered and m.group() not in _RESOLVERS:
            yield Found("ip", m.start(), m.end())


_SECRET = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # AWS
    r"|\bgh[pousr]_[A-Za-z0-9]{36,}\b|\bgithub_pat_\w{22,}|\bglpat-[\w-]{20}"
    r"|\bsk-(?:ant-|proj-|or-)?[A-Za-z0-9_-]{20,}|\b[sr]k_live_[A-Za-z0-9]{20,}"
    r"|\bxox[abposr]-[A-Za-z0-9-]{20,}|\bAIza[\w-]{35}|\bhf_[A-Za-z]{30,}|\bnpm_[A-Za-z0-9]{36}|\bSG\.[\w-]{20,}\.[\w-]{20,}"
    r"|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}"  # JSON web tokens
    r"|-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----(?:\s|\\n|[\w-]+: [^\n]*\n)*[A-Za-z0-9+/=]{30,}"
    r"(?:\s+[A-Za-z0-9+/=]{20,})*(?:\s+[A-Za-z0-9+/=]*\s*-----END [A-Z ]+-----)?"
)
_PLACEHOLDER = re.compile(r"example|your|placeholder|dummy|(.)\1{5}|123456789|abcdefgh", re.IGNORECASE)


def _secrets(text: str) -> Iterator[Found]:
    for m in _SECRET.finditer(text):
        words_only = "-" in m.group() and not re.search(r"\d", m.group()) and not m.group().startswith("-----")
        if not (_PLACEHOLDER.search(m.group()) or words_only):
            yield Found("secret", m.start(), m.end())


_KINDS = {
    "email": "an email address",
    "phone": "a phone number",
    "card": "a payment card number",
    "iban": "a bank account (IBAN)",
    "ssn": "a US social security number",
    "ip": "a public IP address",
    "secret": "a key or other secret",
}
_DIGITS = re.compile(r"\d[\d .()-]{6,}\d")
_LOOKS = (
    (_emails, re.compile("@")),
    (_phones, _DIGITS),
    (_cards, _DIGITS),
    (_ibans, re.compile(r"[A-Z]{2}\d{2}")),
    (_ssns, _DIGITS),
    (_addresses, re.compile(r"\d\.\d|[0-9a-fA-F]:")),
    (_secrets, re.compile(r"AKIA|ASIA|gh\w_|github_|glpat-|[sr]k[-_]|xox|AIza|hf_|npm_|SG\.|eyJ|PRIVATE KEY")),
)
"""Each with what a text must contain to be worth the look: most texts need none."""

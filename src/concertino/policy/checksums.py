"""Check digits of identifiers: what tells a card number from any sixteen digits."""

_NHS_WEIGHTS = (10, 9, 8, 7, 6, 5, 4, 3, 2)

# ISO 13616 registry: total length by country.
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AT": 20, "BE": 16, "BG": 22, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "EE": 20,
    "ES": 24, "FI": 18, "FR": 27, "GB": 22, "GR": 27, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IS": 26, "IT": 27,
    "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MT": 31, "NL": 18, "NO": 15, "PL": 28, "PT": 25, "RO": 24,
    "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TR": 26, "UA": 29, "SA": 24, "QA": 29, "KW": 30, "BH": 22,
    "AL": 28, "BA": 20, "BR": 29, "DO": 28, "FO": 18, "GE": 22, "GI": 23, "GL": 18, "JO": 30, "KZ": 20, "LB": 28,
    "MD": 24, "ME": 22, "MK": 19, "PK": 24, "PS": 29, "RS": 22, "TN": 24, "XK": 20, "EG": 29, "CR": 22,
}  # fmt: skip


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0 and len(set(digits)) > 1


def iban_length(text: str) -> int:
    """Characters, blanks included, of the IBAN that a text begins with; 0 if it begins with none.

    ISO 13616: the country's length, and 1 modulo 97 after the first four characters go to the end.
    """
    wanted = _IBAN_LENGTHS.get(text[:2].upper(), 0)
    places = [place for place, character in enumerate(text) if character != " "][:wanted]
    if not wanted or len(places) < wanted or text[places[-1] + 1 : places[-1] + 2].isalnum():
        return 0
    code = "".join(text[place] for place in places).upper()
    rotated = code[4:] + code[:4]
    return places[-1] + 1 if int("".join(str(int(character, 36)) for character in rotated)) % 97 == 1 else 0


def nhs_number(digits: str) -> bool:
    """NHS Data Dictionary: modulo 11 over ten digits; a check value of 10 is never issued."""
    if len(digits) != 10 or len(set(digits)) == 1:
        return False
    check = 11 - sum(weight * int(digit) for weight, digit in zip(_NHS_WEIGHTS, digits, strict=False)) % 11
    return (0 if check == 11 else check) == int(digits[9])


def ean13(digits: str) -> bool:
    """The Swiss AHV number is an EAN-13 with the prefix 756."""
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(digits[:12]))
    return len(digits) == 13 and (10 - total % 10) % 10 == int(digits[12])


def us_ssn(digits: str) -> bool:
    """No area 000, 666 or 9xx, no group 00, no serial 0000 (Social Security Administration)."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return area not in ("000", "666") and area[0] != "9" and group != "00" and serial != "0000"


def mod97_nir(digits: str) -> bool:
    """French NIR: the last two digits are 97 minus the first thirteen modulo 97."""
    return len(digits) == 15 and 97 - int(digits[:13]) % 97 == int(digits[13:])


def dutch_bsn(digits: str) -> bool:
    """The elfproef: weights 9..2 and -1, divisible by 11."""
    weights = (9, 8, 7, 6, 5, 4, 3, 2, -1)
    total = sum(weight * int(digit) for weight, digit in zip(weights, digits, strict=False))
    return len(digits) == 9 and total % 11 == 0 and len(set(digits)) > 1


def spanish_dni(number: str, letter: str) -> bool:
    """DNI: the letter is the number modulo 23."""
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == letter.upper()

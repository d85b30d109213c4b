"""API keys at rest. The secret is shown once, when it is made; what is kept is its SHA-256.

A plain hash is enough because the secret is 256 random bits: there is nothing to guess, so nothing to slow down.
"""

from __future__ import annotations

import hashlib
import secrets
import string
import time
from typing import TYPE_CHECKING

from msgspec import Struct

from concertino.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from sqlalchemy import Engine, Row

PREFIX = "ck_"
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_SECRET_BYTES = 32
_SECRET_LENGTH = 43
"""Base-62 digits that 32 bytes need."""


class ApiKey(Struct, frozen=True):
    """A stored key. Times are seconds since 1970; `last4` are the secret's last characters, to tell keys apart."""

    id: str
    name: str
    tenant: str
    sha256: str
    last4: str
    created: float
    revoked: float | None = None


def new_secret() -> str:
    """`ck_` and 32 random bytes in base 62."""
    number = int.from_bytes(secrets.token_bytes(_SECRET_BYTES))
    digits = []
    for _ in range(_SECRET_LENGTH):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return PREFIX + "".join(digits)


def hash_secret(secret: str) -> str:
    """What is stored and compared: SHA-256 in hexadecimal digits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def new_key(name: str, tenant: str) -> tuple[ApiKey, str]:
    """A key and its secret, stored nowhere yet."""
    secret = new_secret()
    key_id = f"key_{secrets.token_hex(6)}"
    return ApiKey(key_id, name, tenant, hash_secret(secret), secret[-4:], time.time()), secret


class KeyStore:
    """The table `api_keys` of an engine from `open_database`."""

    def __init__(self, engine: Engine) -> None:
        import sqlalchemy as sa

        self._engine = engine
        self._table = sa.table(
            "api_keys", *(sa.column(name) for name in ("id", "name", "tenant", "sha256", "last4", "created", "revoked"))
        )

    def create(self, name: str = "", tenant: str = "default") -> tuple[ApiKey, str]:
        """Store a new key; returns it with its secret, which cannot be had again."""
        if not tenant or max(len(name), len(tenant)) > 200:
            raise InvalidRequest("A key's tenant must not be empty, and name and tenant hold 200 characters at most.")
        key, secret = new_key(name, tenant)
        with self._engine.begin() as connection:
            connection.execute(
                self._table.insert().values(**{field: getattr(key, field) for field in key.__struct_fields__})
            )
        return key, secret

    def list(self) -> list[ApiKey]:
        """All keys, revoked ones too, oldest first."""
        with self._engine.connect() as connection:
            return [_key(row) for row in connection.execute(self._table.select().order_by(self._table.c.created))]

    def revoke(self, key_id: str) -> ApiKey:
        """Revoke a key for good; revoking it again keeps the first time. Raises NotFound."""
        columns = self._table.c
        with self._engine.begin() as connection:
            connection.execute(
                self._table.update().where(columns.id == key_id, columns.revoked.is_(None)).values(revoked=time.time())
            )
            row = connection.execute(self._table.select().where(columns.id == key_id)).first()
        if row is None:
            raise NotFound(f"There is no key {key_id!r}. `concertino keys list` shows them.")
        return _key(row)

    def find(self, sha256: str) -> ApiKey | None:
        """The key whose secret has this hash, revoked or not."""
        with self._engine.connect() as connection:
            row = connection.execute(self._table.select().where(self._table.c.sha256 == sha256)).first()
        return None if row is None else _key(row)


def _key(row: Row[tuple[object, ...]]) -> ApiKey:
    fields = row._mapping
    return ApiKey(**{name: fields[name] for name in ApiKey.__struct_fields__})

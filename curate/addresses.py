"""Addresses (URLs) and the secrets that people write into them.

A manifest stands in its lock word for word, and an address in errors, logs and pages. So a manifest with a secret in an
address is refused, with the variable of the environment that file systems read it from; and what is printed goes
without.
"""

from __future__ import annotations

import re

_SCHEME = r"(?P<scheme>[A-Za-z][\w.+-]{1,40}):/{1,2}"  # a path has one slash of what was an address
_HOST = r"(?P<host>[^\s/?#'\"]*)"
# A colon and digits are a port; a password may hold slashes, as those of S3 do.
_PASSWORD = re.compile(rf"{_SCHEME}[^\s/?#@:'\"]*:(?!\d+(?:/|$))[^\s?#'\"]*@{_HOST}")
# In http tokens stand where a name would; elsewhere a name is no secret, as in abfs://container@account.
_TOKEN = re.compile(rf"\b(?P<scheme>https?):/{{1,2}}[^\s/?#@:'\"]+@{_HOST}", re.IGNORECASE)
# Of a query, a fragment or a parameter of a path: `auth_token`, `privateToken`, `X-Amz-Signature`, and not `tokens`.
_KEY = (
    r"(?:[\w.-]*(?:token|secret|password|passwd|pwd|signature|credential|jwt|bearer|session|sessionid|api[_-]?key|"
    r"access[_-]?key|accesskeyid)|auth|key|sig|"
    r"code(?==[\w%.~+/-]{20}))"  # and no country's or language's
)
_SIGNED = re.compile(
    rf"{_SCHEME}{_HOST}[^\s?;#'\"]*[?;#](?:[^\s'\"]*[?&;#])?{_KEY}=[^\s&;#'\"]",
    re.IGNORECASE,
)
_VALUE = re.compile(rf"(?<=[?&;#])({_KEY})=[^\s&;#'\"]+", re.IGNORECASE)

VARIABLES = {
    "redis": "REDISCLI_AUTH", "rediss": "REDISCLI_AUTH",
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS", "gcs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_KEY", "abfs": "AZURE_STORAGE_ACCOUNT_KEY", "abfss": "AZURE_STORAGE_ACCOUNT_KEY",
    "hf": "HF_TOKEN",
    "http": 'FSSPEC_HTTP = \'{"client_kwargs": {"headers": {"Authorization": "..."}}}\'',
    "https": 'FSSPEC_HTTPS = \'{"client_kwargs": {"headers": {"Authorization": "..."}}}\'',
}  # fmt: skip


def check_no_secret(text: str) -> None:
    """Raises ValueError where an address in the text holds a password, a token or a signature; the message does not."""
    found = _PASSWORD.search(text) or _TOKEN.search(text) or _SIGNED.search(text)
    if found is None:
        return
    scheme = found["scheme"].lower()
    variable = VARIABLES.get(scheme, f"FSSPEC_{scheme.upper()}_PASSWORD")
    raise ValueError(
        f"{scheme}://{found['host']}: a password in a manifest would be in the lock as well; "
        f"leave it out and put it into the environment variable {variable}"
    )


def without_secrets(text: str) -> str:
    """`https://name:password@host/?token=abc` as `https://***@host/?token=***`."""
    for secret in (_PASSWORD, _TOKEN):
        text = secret.sub(r"\g<scheme>://***@\g<host>", text)
    return _VALUE.sub(r"\1=***", text)

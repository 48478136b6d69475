"""Packed tables in object stores, `s3://`, `gs://` and `az://`, read by Lance; what it says of faults, in one line.

Credentials and endpoints are in the environment variables of each store (docs/storage.md).
"""

import re
from pathlib import Path
from typing import Any

from earthtone.data.time_limit import within
from earthtone.errors import ConfigError, DataError

_CREDENTIALS = {
    "s3://": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs://": "GOOGLE_APPLICATION_CREDENTIALS",
    "az://": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
SCHEMES = tuple(_CREDENTIALS)
_OPEN_SECONDS = 60.0  # Lance asks a silent store again and again: right for a training, not for its start
_FAULTS = (
    (r"credentials|token request|account name", "no credentials for its store; set {credentials} (docs/storage.md)"),
    (r"NoSuchBucket|NoSuchContainer|ContainerNotFound|bucket does not exist", "no such bucket"),
    (
        r"InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|AuthenticationFailed|ExpiredToken|status code: 40[13]",
        "its store refuses it; check {credentials}",
    ),
    (r"PermanentRedirect|AuthorizationHeaderMalformed|resolve region", "in another region; set AWS_REGION"),
    (r"builder error", "plain http is refused; where the endpoint is one of http://, set AWS_ALLOW_HTTP=true"),
    (
        r"error sending request|timed out|dns error|connect error",
        "its store does not answer; check the network, and AWS_ENDPOINT_URL where the store is not that of Amazon",
    ),
    (
        r"[Nn]ot ?[Ff]ound|status code: 404",
        "no packed table, or not all of it; pack on a disk, then copy the whole folder (aws s3 cp --recursive)",
    ),
)


def is_remote(data: object) -> bool:
    """Return whether `data` is an address in an object store rather than a path.

    Raises ConfigError, which does not show it, for one that carries keys: addresses are printed and written into runs.
    """
    remote = str(data).startswith(SCHEMES)
    if remote and re.search(r"://[^/]*:[^/]*@|\?", str(data)):
        raise ConfigError(
            "an address in an object store carries keys or a query; SCHEME://BUCKET/FOLDER was expected, and the keys "
            "in environment variables (docs/storage.md)"
        )
    return remote


def refuse_remote(path: object, advice: str) -> None:
    """Raise ConfigError where something would be written into an object store."""
    if is_remote(path):
        raise ConfigError(f"{path}: nothing is written into object stores; {advice}")


def last_part(path: object) -> str:
    """Return the last part of a path or an address."""
    return Path(str(path)).name


def open_remote(address: str) -> Any:
    """Return the Lance dataset at an address. Raises DataError: one line, after a minute at most."""
    import lance  # slow to import

    def dataset() -> Any:
        try:
            return lance.dataset(address)
        except (ValueError, OSError) as error:
            raise DataError(unreadable(address, error)) from error

    return within(_OPEN_SECONDS, dataset, address)


def unreadable(address: str, error: Exception) -> str:
    """Return one line on why something at an address cannot be read; Lance tells it in pages."""
    text = str(error)
    credentials = _CREDENTIALS[next(scheme for scheme in SCHEMES if address.startswith(scheme))]
    first = re.sub(r"\?\S*", "", text.splitlines()[0] if text else type(error).__name__)  # queries hold signatures
    found = (meaning.format(credentials=credentials) for pattern, meaning in _FAULTS if re.search(pattern, text))
    return f"{address}: {next(found, f'cannot be read ({first[:160]})')}"

"""Where the hub of Hugging Face is, and whether it may be told a token."""

import logging
import os
from urllib.parse import urlsplit

from earthtone.errors import ConfigError

_LOG = logging.getLogger(__name__)

#: The hub as catalogues write it; HF_ENDPOINT takes its place.
HUB = "https://huggingface.co"


def hub_endpoint() -> str:
    """Return the address of the hub: HF_ENDPOINT where it is set, as for all tools of Hugging Face.

    Raises ConfigError for one with a password or a token in it: addresses are written beside the data and told in
    messages.
    """
    endpoint = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    try:
        parts = urlsplit(endpoint)
    except ValueError as error:
        raise ConfigError(f"HF_ENDPOINT is no address ({error}); such as {HUB} expected") from error
    if "@" in parts.netloc or parts.query:
        raise ConfigError(
            "HF_ENDPOINT has a name, a password or a query in it, which would be written beside the data; an address "
            f"alone was expected, such as {HUB}"
        )
    return endpoint


def hub_token(endpoint: str) -> bool | None:
    """Return what the hub's client shall send: None for its own choice, False where it would go over plain http.

    A token that is withheld is told: private and gated data sets are then refused.
    """
    if urlsplit(endpoint).scheme != "http":
        return None
    if _has_token():
        _LOG.warning("%s is plain http: the token is not sent; private and gated data need https://", endpoint)
    return False


def refuse_token_over_http() -> None:
    """Raise ConfigError where the hub's client, left to itself, would send a token over plain http."""
    endpoint = hub_endpoint()
    if urlsplit(endpoint).scheme == "http" and _has_token():
        raise ConfigError(
            f"HF_ENDPOINT is {endpoint}, and a token is never sent over plain http; set one of https://, or set "
            "HF_HUB_DISABLE_IMPLICIT_TOKEN=1"
        )


def _has_token() -> bool:
    """Return whether the hub's client has a token and sends it unasked."""
    from huggingface_hub import constants, get_token  # slow to import

    return not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN and get_token() is not None

"""Where the hub of Hugging Face is."""

import os
from urllib.parse import urlsplit

from earthtone.errors import ConfigError

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

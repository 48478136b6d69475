"""Device and precision follow the machine, wishes that it cannot fulfil are refused."""

import platform

import pytest
import torch

from earthtone.device import choose_device, choose_precision, cpu_has_bfloat16
from earthtone.errors import ConfigError


def test_wishes_are_followed() -> None:
    assert choose_precision("32", "cpu") == "32-true"
    assert choose_precision("bf16", "cpu") == "bf16-mixed"


def test_automatic_precision_is_bfloat16_where_the_processor_has_it() -> None:
    assert choose_precision("auto", "cpu") == ("bf16-mixed" if cpu_has_bfloat16() else "32-true")


@pytest.mark.skipif(platform.system() != "Linux" or platform.machine() != "x86_64", reason="reads /proc/cpuinfo")
def test_processor_is_asked_rightly() -> None:
    with open("/proc/cpuinfo") as file:  # noqa: PTH123
        flags = file.read()
    assert cpu_has_bfloat16() == ("avx512_bf16" in flags or "amx_bf16" in flags)


def test_absent_device_is_refused() -> None:
    assert choose_device("cpu") == "cpu"
    for name, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())):
        if not there:
            with pytest.raises(ConfigError, match=f"{name}.*this machine has"):
                choose_device(name)

"""NVIDIA's management library in, use of all GPUs out; None where there is no library or no GPU."""

import importlib
from types import ModuleType
from typing import NamedTuple

MEGA, MILLI = 1e6, 1e-3


class GpuSample(NamedTuple):
    """All GPUs at one moment: mean share of time in use, megabytes in use, watts."""

    util: float
    memory_mb: float
    power_w: float


class Gpus:
    """The GPUs of this machine, by NVML (https://docs.nvidia.com/deploy/nvml-api/): shares in percent, power in mW."""

    def __init__(self) -> None:
        self._nvml = _library()
        count = self._nvml.nvmlDeviceGetCount() if self._nvml else 0
        self._handles = [self._nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)] if self._nvml else []

    def sample(self) -> GpuSample | None:
        """How they are used now; None where there are none."""
        nvml = self._nvml
        if nvml is None or not self._handles:
            return None
        return GpuSample(
            util=sum(nvml.nvmlDeviceGetUtilizationRates(one).gpu for one in self._handles) / len(self._handles) / 100,
            memory_mb=sum(nvml.nvmlDeviceGetMemoryInfo(one).used for one in self._handles) / MEGA,
            power_w=sum(nvml.nvmlDeviceGetPowerUsage(one) for one in self._handles) * MILLI,
        )


def _library() -> ModuleType | None:
    """`pynvml`, initialised, where it is installed (extra `gpu`) and finds a driver."""
    try:
        nvml = importlib.import_module("pynvml")
    except ModuleNotFoundError:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    return nvml

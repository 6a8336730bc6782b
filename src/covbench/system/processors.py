"""The processor of this machine: its model, and the widest instruction set that numerical libraries choose on it."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Collection
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")

INSTRUCTION_SETS = {
    "AVX10_1_512_AMX_FP16": {"amx_fp16", "amx_bf16", "avx512_fp16"},
    "AVX512_CORE_AMX": {"amx_int8", "amx_bf16", "avx512_bf16"},
    "AVX512_CORE_FP16": {"avx512_fp16", "avx512_bf16", "avx512_vnni"},
    "AVX512_CORE_BF16": {"avx512_bf16", "avx512_vnni"},
    "AVX512_CORE_VNNI": {"avx512_vnni", "avx512bw", "avx512dq", "avx512vl"},
    "AVX512_CORE": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
    "AVX2_VNNI": {"avx_vnni", "avx2", "fma"},
    "AVX2": {"avx2", "fma"},
    "AVX": {"avx"},
    "SSE41": {"sse4_1"},
    "SVE": {"sve"},
    "ASIMD": {"asimd"},
}
"""Name in oneDNN -> flags of /proc/cpuinfo that it needs. The first whose flags are all there is the widest."""


def describe_processor() -> dict[str, str]:
    """Return `cpu`, the processor's model, and `instruction_set`, the widest one that oneDNN may use here."""
    text = CPU_INFO.read_text(encoding="utf-8") if CPU_INFO.exists() else ""
    model = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*: (.+)$", text, re.MULTILINE)
    return {
        "cpu": model[1].strip() if model else platform.processor() or platform.machine(),
        "instruction_set": limit_instruction_set(find_instruction_set(flags[1].split() if flags else ())),
    }


def find_instruction_set(flags: Collection[str]) -> str:
    """Find the widest of INSTRUCTION_SETS among the flags of a processor; its architecture if it has none of them."""
    return next((name for name, needed in INSTRUCTION_SETS.items() if needed <= set(flags)), platform.machine())


def limit_instruction_set(widest: str) -> str:
    """Return the set that oneDNN uses if the user limits it by ONEDNN_MAX_CPU_ISA."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    order = list(INSTRUCTION_SETS)
    if limit in order and widest in order:
        return max(limit, widest, key=order.index)
    return widest

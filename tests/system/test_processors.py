"""The processor by its flags: what oneDNN would choose on it."""

import pytest

from covbench.system import processors
from covbench.system.processors import describe_processor, find_instruction_set, limit_instruction_set

HASWELL = ["fpu", "sse", "sse2", "ssse3", "fma", "sse4_1", "sse4_2", "avx", "f16c", "avx2", "bmi2"]
SKYLAKE = [*HASWELL, *["avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl"]]
GENOA = [*SKYLAKE, *["avx512_vnni", "avx512_bf16", "avx512vbmi"]]
SAPPHIRE_RAPIDS = [*GENOA, *["avx_vnni", "avx512_fp16", "amx_bf16", "amx_tile", "amx_int8"]]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (HASWELL, "AVX2"),
        (SKYLAKE, "AVX512_CORE"),
        (GENOA, "AVX512_CORE_BF16"),
        (SAPPHIRE_RAPIDS, "AVX512_CORE_AMX"),
        (["fp", "asimd", "evtstrm", "aes"], "ASIMD"),
    ],
)
def test_the_widest_set_whose_flags_are_all_there_is_named_as_in_onednn(flags, expected):
    assert find_instruction_set(flags) == expected


def test_a_limit_of_the_user_narrows_the_set_and_never_widens_it(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "avx2")
    assert limit_instruction_set("AVX512_CORE_BF16") == "AVX2"
    assert limit_instruction_set("SSE41") == "SSE41"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "ALL")
    assert limit_instruction_set("AVX512_CORE_BF16") == "AVX512_CORE_BF16"


def test_model_and_flags_come_from_the_kernel(tmp_path, monkeypatch):
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: {' '.join(SKYLAKE)}\n" * 2)
    monkeypatch.setattr(processors, "CPU_INFO", file)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert describe_processor() == {"cpu": "Some CPU @ 2 GHz", "instruction_set": "AVX512_CORE"}


def test_without_the_file_of_the_kernel_both_still_have_a_name(tmp_path, monkeypatch):
    monkeypatch.setattr(processors, "CPU_INFO", tmp_path / "absent")
    assert all(describe_processor().values())

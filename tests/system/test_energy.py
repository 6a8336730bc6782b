"""Energy: counters that wrap, are shared or cannot be read, and what is estimated where there are none."""

import re
import sys
import time
import types

import pytest

from covbench.system import energy
from covbench.system.energy import EnergyMeter, EnergySettings, Use, describe_energy, read_grid

SPAN = 1000 * 10**6  # microjoules at which a counter begins anew


def write_domain(powercap, folder, name, joules, span=SPAN):
    """A domain as Linux shows it. Subdomains lie beside their package, because the folder holds links."""
    (powercap / folder).mkdir(parents=True, exist_ok=True)
    (powercap / folder / "name").write_text(f"{name}\n")
    (powercap / folder / "max_energy_range_uj").write_text(f"{span}\n")
    (powercap / "new").write_text(f"{round(joules * 1e6)}\n")
    (powercap / "new").replace(powercap / folder / "energy_uj")


@pytest.fixture
def clock(monkeypatch):
    """Processor seconds of this process and of the machine, which a test sets."""
    seconds = {"own": 10.0, "busy": 100.0}
    monkeypatch.setattr(energy, "processor_seconds", lambda: seconds["own"])
    monkeypatch.setattr(energy, "busy_seconds", lambda: seconds["busy"])
    return seconds


def test_packages_and_memory_count_once_by_the_share_of_the_busy_time_and_over_a_new_beginning(tmp_path, clock):
    write_domain(tmp_path, "intel-rapl:0", "package-0", 995)
    write_domain(tmp_path, "intel-rapl:0:0", "core", 10)
    write_domain(tmp_path, "intel-rapl:0:1", "dram", 20)
    write_domain(tmp_path, "intel-rapl:1", "psys", 30)
    write_domain(tmp_path, "intel-rapl-mmio:0", "package-0", 40)
    meter = EnergyMeter(powercap=tmp_path)
    write_domain(tmp_path, "intel-rapl:0", "package-0", 5)  # 10 J later
    write_domain(tmp_path, "intel-rapl:0:1", "dram", 22)
    for folder in ("intel-rapl:0:0", "intel-rapl:1", "intel-rapl-mmio:0"):
        write_domain(tmp_path, folder, (tmp_path / folder / "name").read_text().strip(), 500)
    clock.update(own=13, busy=104)
    assert meter.read() == Use(joules=pytest.approx(9))  # three of four busy seconds of 12 J
    write_domain(tmp_path, "intel-rapl:0", "package-0", 9)
    assert meter.read() == Use(joules=pytest.approx(12))


def test_a_counter_that_begins_anew_twice_is_read_in_between(tmp_path, clock, monkeypatch):
    monkeypatch.setattr(energy, "READ_SECONDS", 0.01)
    write_domain(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = EnergyMeter(powercap=tmp_path)
    clock.update(own=14, busy=104)
    for joules in (600, 200, 800):  # 600, then 600 and 600 more
        write_domain(tmp_path, "intel-rapl:0", "package-0", joules)
        time.sleep(0.3)
    assert meter.read() == Use(joules=pytest.approx(1800))


def test_a_counter_that_may_not_be_read_leaves_the_processor_time(tmp_path, clock):
    write_domain(tmp_path, "intel-rapl:0", "package-0", 1)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    meter = EnergyMeter(powercap=tmp_path)
    clock.update(own=13)
    assert meter.read() == Use(processor_seconds=3)


def test_a_counter_that_fails_later_makes_the_energy_unknown_for_good_and_raises_nothing(tmp_path, clock, caplog):
    write_domain(tmp_path, "intel-rapl:0", "package-0", 1)
    meter = EnergyMeter(powercap=tmp_path)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("")
    assert meter.read() == Use(complete=False)
    write_domain(tmp_path, "intel-rapl:0", "package-0", 2)
    assert meter.read() == Use(complete=False)
    assert caplog.text.count("the energy of this job is unknown: invalid literal for int()") == 1


def test_a_gpu_that_cannot_be_measured_makes_the_energy_unknown(tmp_path, caplog):
    assert EnergyMeter(["GPU-of-nobody"], tmp_path).read() == Use(complete=False)
    assert "the energy of this job is unknown" in caplog.text


def test_the_gpus_of_a_job_are_added_whole(tmp_path, clock, monkeypatch):
    """Only the driver's library is replaced: it needs a GPU."""
    millijoules = {"index 1": 7000, "GPU-b": 500}
    driver = types.SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: f"index {index}",
        nvmlDeviceGetHandleByUUID=lambda name: name,
        nvmlDeviceGetTotalEnergyConsumption=lambda device: millijoules[device],
    )
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    meter = EnergyMeter(["1", "GPU-b"], tmp_path)
    millijoules.update({"index 1": 9000, "GPU-b": 1500})
    clock.update(own=12)
    assert meter.read() == Use(joules=3, processor_seconds=2)


@pytest.mark.parametrize(
    ("parts", "kwh", "basis"),
    [
        ([Use(7.2)], 2e-6, "measured"),
        ([Use(0, 3), Use(0, 6)], 3e-5, "estimated"),  # nine seconds at 12 W
        ([Use(36), Use(0, 3)], 2e-5, "partly measured"),
        ([Use(36), Use(complete=False)], None, None),
    ],
)
def test_the_parts_of_a_training_add_up_and_say_how_they_are_known(parts, kwh, basis):
    described = describe_energy(sum(parts, Use()), EnergySettings())
    assert described == {"energy_kwh": kwh, "energy_basis": basis, "country": None, "grid_g_per_kwh": None}


def test_a_country_adds_the_grams_of_its_electricity():
    described = describe_energy(Use(0, 3.6e6), EnergySettings("DEU", core_watts=5))
    assert described == {"energy_kwh": 5, "energy_basis": "estimated", "country": "DEU", "grid_g_per_kwh": 381}


def test_every_country_has_a_code_and_a_plausible_intensity():
    assert len(read_grid()) > 200
    for country, grams in read_grid().items():
        assert re.fullmatch("[A-Z]{3}", country)
        assert 0 < grams < 1500, country

"""What the report says about the cost of trainings."""

import pandas as pd

from covbench.reporting.cards.model_card import sum_energy
from covbench.reporting.tables import build_cost_table, build_network_cost_table

RUN = {"architecture": "vgg16", "protocol": "audited", "state": "scored", "log": ""}


def read_cells(table):
    """Heading -> texts of its column."""
    return {heading: [row[at].text for row in table.rows] for at, (heading, _) in enumerate(table.columns)}


def test_energy_is_shown_with_its_basis_and_with_co2_where_the_country_is_known():
    runs = pd.DataFrame([RUN | {"seed": seed} for seed in range(3)])
    runs = runs.assign(energy_kwh=[0.0125, 1.25, None], energy_basis=["estimated", "measured", ""])
    cells = read_cells(build_cost_table(runs.assign(country=["DEU", "", ""], grid_g_per_kwh=[381, None, None])))
    assert cells["Energy, Wh"] == ["12.5", "1,250.0", "–"]
    assert cells["Energy is"] == ["estimated", "measured", "–"]
    assert cells["CO2e, g"] == ["4.8", "–", "–"]  # 0.0125 x 381 = 4.7625
    assert cells["Country"] == ["DEU", "–", "–"]


def test_the_card_of_a_model_sums_the_energy_of_its_seeds_or_says_nothing():
    seeds = [{"energy_kwh": 0.001, "energy_basis": "measured"}, {"energy_kwh": 0.0025, "energy_basis": "estimated"}]
    assert sum_energy(seeds) == "3.5 Wh in all, estimated, measured"
    assert sum_energy([*seeds, {"energy_kwh": None, "energy_basis": None}]) == "–"
    assert sum_energy([{}]) == "–"


def test_runs_and_costs_of_an_earlier_version_have_no_energy():
    runs = pd.DataFrame([RUN | {"seed": 0}])
    assert read_cells(build_cost_table(runs))["Energy, Wh"] == ["–"]
    costs = {"architecture": "vgg16", "parameters": 1, "multiply_adds": 2, "latency_ms": 3.4, "processor_ms": 3}
    old = pd.DataFrame([costs | {"memory_mb": 900, "train_seconds": 30, "train_memory_mb": 1100}])
    cells = read_cells(build_network_cost_table(old))
    assert cells["Energy of a training, Wh"] == ["–"]
    assert cells["Training, s"] == ["30"]
    new = read_cells(build_network_cost_table(old.assign(train_kwh=0.0032, energy_basis="estimated")))
    assert new["Energy of a training, Wh"] == ["3.200"]
    assert new["Energy is"] == ["estimated"]

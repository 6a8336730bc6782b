"""Runs of alike neighbours stand in for patients."""

from pathlib import Path

import numpy as np
from PIL import Image

from covbench.data.datasets.sarscov2_ct import index
from covbench.data.images import resize_image


def write_scan(raw: Path, folder: str, prefix: str, numbers: range, seed: int) -> None:
    """Slices that differ a little among themselves and wholly between scans."""
    rng = np.random.default_rng(seed)
    scan = resize_image(rng.integers(0, 255, (8, 8), np.uint8), 80).astype(int)
    (raw / folder).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        picture = np.clip(scan + rng.integers(-20, 20, scan.shape), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(raw / folder / f"{prefix} ({number}).png")


def test_a_run_ends_where_the_scan_changes_and_where_a_number_is_missing(tmp_path):
    write_scan(tmp_path, "COVID", "Covid", range(8, 12), 0)
    write_scan(tmp_path, "COVID", "Covid", range(12, 14), 1)
    write_scan(tmp_path, "COVID", "Covid", range(15, 17), 1)
    write_scan(tmp_path, "non-COVID", "Non-Covid", range(1, 3), 2)
    table = index(tmp_path)
    covid = table[table["label"] == "covid"]
    assert covid["path"].tolist()[:3] == [f"COVID/Covid ({n}).png" for n in (8, 9, 10)]
    assert covid["patient_id"].tolist() == (["covid_run_001"] * 4 + ["covid_run_002"] * 2 + ["covid_run_003"] * 2)
    assert table[table["label"] == "non_covid"]["patient_id"].tolist() == ["non_covid_run_001"] * 2


def test_foreign_files_in_a_class_folder_are_excluded(tmp_path):
    write_scan(tmp_path, "COVID", "Covid", range(1, 3), 0)
    write_scan(tmp_path, "non-COVID", "Non-Covid", range(1, 3), 1)
    write_scan(tmp_path, "non-COVID", "Normal case", range(1, 2), 2)
    table = index(tmp_path)
    assert table.loc[table["excluded"], "path"].tolist() == ["non-COVID/Normal case (1).png"]
    assert (~table["excluded"]).sum() == 4

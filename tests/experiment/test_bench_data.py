"""The benchmark of the data station, on few records: what it prints is what it built."""

import pytest

from helptune.errors import SettingError
from helptune.experiment.bench_data import bench_data


def test_it_counts_what_it_built_and_names_the_screen():
    found = bench_data(400, workers=1, probed=0)
    assert found["safety"] == "lexical"
    assert found["records"] >= 400
    assert 0 < found["kept"] < found["records"]
    assert found["records_per_second"] == pytest.approx(found["records"] / found["seconds"], rel=0.1)
    assert 0.05 < found["peak_gib_of_all_processes"] < 16
    assert "probe_conversations_per_second" not in found


def test_fewer_records_than_sources_are_refused():
    with pytest.raises(SettingError, match="at least 4"):
        bench_data(3, workers=1, probed=0)

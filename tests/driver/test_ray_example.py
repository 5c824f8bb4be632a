"""The example on Ray. It is run alone, as `test_ray` is (see `.ci/run`)."""

import re

import pytest
from needs import need_module
from run_examples import run_example


@pytest.mark.slow
def test_example_trains_on_a_ray_of_its_own(tmp_path):
    need_module("ray", 'pip install "transformer-nas[ray]"')
    printed = run_example("13_ray", tmp_path)
    assert "2 workers on Ray" in printed
    assert len(re.findall(r"#\d+ complete, loss \d", printed)) >= 4
    assert list((tmp_path / "studies" / "on_ray" / "models").glob("*/nas.json"))

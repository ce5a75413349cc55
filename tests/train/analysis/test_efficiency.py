"""TPME and savings on the rows of the paper's Table 4, by hand."""

import subprocess
import sys

import pytest

from crossan.train.analysis.efficiency import TPME_WEIGHTS, Cost, savings, tpme

# Seconds per epoch, trainable parameters, GPU memory in MB.
TABLE_4 = {
    "full fine-tuning": Cost(3278, 194_897_216, 45_886),
    "adapter": Cost(2856, 38_017_088, 35_652),
    "lora": Cost(3110, 37_992_512, 36_902),
    "iisan-e best": Cost(213, 58_432_824, 5_556),
    "iisan-e same": Cost(207, 30_889_784, 4_476),
    "crossan": Cost(144, 24_741_456, 4_272),
}


def test_tpme_of_table_4_by_hand():
    # Least 144 s, 24,741,456 parameters and 4,272 MB, all CROSSAN's; most those of fine-tuning, so
    # the spans are 3278 - 144 = 3134, 194,897,216 - 24,741,456 = 170,155,760 and 41,614.
    found = dict(zip(TABLE_4, tpme(list(TABLE_4.values())), strict=True))
    assert found["crossan"] == 0
    assert found["full fine-tuning"] == pytest.approx(0.45 + 0.1 + 0.45)
    # TPME = 0.45 T + 0.1 P + 0.45 M
    assert found["adapter"] == pytest.approx(
        0.45 * 2712 / 3134 + 0.1 * 13_275_632 / 170_155_760 + 0.45 * 31_380 / 41_614
    )
    assert found["lora"] == pytest.approx(
        0.45 * 2966 / 3134 + 0.1 * 13_251_056 / 170_155_760 + 0.45 * 32_630 / 41_614
    )
    assert found["iisan-e best"] == pytest.approx(
        0.45 * 69 / 3134 + 0.1 * 33_691_368 / 170_155_760 + 0.45 * 1284 / 41_614
    )
    assert found["iisan-e same"] == pytest.approx(
        0.45 * 63 / 3134 + 0.1 * 6_148_328 / 170_155_760 + 0.45 * 204 / 41_614
    )


@pytest.mark.parametrize(
    ("over", "percent"),
    [("iisan-e best", (32.39, 57.66, 23.11)), ("iisan-e same", (30.43, 19.90, 4.56))],
)
def test_savings_are_the_improvements_that_table_4_prints(over, percent):
    found = savings(TABLE_4["crossan"], TABLE_4[over])
    saved = (found.seconds_per_epoch, found.trainable_parameters, found.peak_memory_bytes)
    assert [round(100 * share, 2) for share in saved] == pytest.approx(percent, abs=0.011)


def test_a_row_depends_on_the_others():
    rows = [Cost(1, 1, 1), Cost(2, 2, 2)]
    assert tpme(rows) == [0.0, pytest.approx(1.0)]
    assert tpme([*rows, Cost(3, 3, 3)])[1] == pytest.approx(0.5)


def test_what_costs_all_rows_the_same_adds_nothing():
    assert tpme([Cost(5, 0, 7), Cost(5, 0, 8)]) == [0.0, pytest.approx(0.45)]
    assert tpme([Cost(5, 6, 7)]) == [0.0]
    assert tpme([]) == []
    assert tpme([Cost(0, 0, 0), Cost(1, 2, 3)], Cost(0.2, 0.8, 0))[1] == pytest.approx(1.0)


def test_the_weights_sum_to_one():
    weights = TPME_WEIGHTS
    total = weights.seconds_per_epoch + weights.trainable_parameters + weights.peak_memory_bytes
    assert total == pytest.approx(1)


def test_nothing_is_saved_of_nothing():
    assert savings(Cost(1, 1, 1), Cost(2, 0, 1)) == Cost(0.5, 0.0, 0.0)


def test_it_loads_without_torch():
    program = "import sys; import crossan.train.analysis.efficiency; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

import pytest
import torch

from onlymymodel.data.strips import map_rows
from onlymymodel.data.time_limit import TimeUp, check_time, time_limit


def test_work_inside_a_limit_goes_on_and_work_beyond_it_ends() -> None:
    with time_limit(3600):
        check_time()
        with time_limit(1e-9), pytest.raises(TimeUp):
            map_rows(lambda rows: rows, torch.zeros(1, 4, 4))
        check_time()
    with time_limit(None):
        check_time()
    check_time()

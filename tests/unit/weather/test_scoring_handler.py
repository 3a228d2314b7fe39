from gaia.tasks.defined_tasks.weather.validator.scoring import handle_day1_scoring
import pytest
import xarray as xr
import numpy as np

@pytest.fixture
def mock_data_paths(tmp_path):
    """Creates mock Zarr datasets for testing the scoring handler."""
    miner_path = tmp_path / "miner.zarr"
    gfs_path = tmp_path / "gfs.zarr"

    # Create sample datasets
    coords = {'lat': [0], 'lon': [0]}
    miner_ds = xr.Dataset({'2t': (('lat', 'lon'), np.array([[275.0]]))}, coords)
    gfs_ds = xr.Dataset({'2t': (('lat', 'lon'), np.array([[274.0]]))}, coords)

    miner_ds.to_zarr(miner_path, mode='w')
    gfs_ds.to_zarr(gfs_path, mode='w')

    return str(miner_path), str(gfs_path), "fake/climatology.zarr"

def test_handle_day1_scoring(mock_data_paths):
    miner_path, gfs_path, clim_path = mock_data_paths
    # The handler should be a pure function, making it easy to test.
    result = handle_day1_scoring(miner_path, gfs_path, clim_path)

    assert isinstance(result, dict)
    assert 'day1_rmse_2t' in result
    assert np.isclose(result['day1_rmse_2t'], 1.0) # RMSE of (275-274) is 1

"""The jobs of a stage on a Dask cluster. Uses `common/`."""

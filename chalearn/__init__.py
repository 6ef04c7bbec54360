"""ChaLearn's label lists and zips, and which video goes where. Uses `common/`."""

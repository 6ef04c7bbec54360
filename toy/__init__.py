"""The drawn data set: who signs, what is signed, and how it is drawn. Uses `common/`."""

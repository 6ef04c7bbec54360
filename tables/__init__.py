"""Tables of videos, of any data set: what they say, and the videos meant. Uses `common/`."""

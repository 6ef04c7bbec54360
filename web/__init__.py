"""The live windows in a browser: a camera and a window at the other end of a socket, and the server
between. Uses `live/` and `common/`."""

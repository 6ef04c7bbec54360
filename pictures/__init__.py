"""The pictures of README.md and docs/, and the script that draws them."""

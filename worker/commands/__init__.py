"""The commands of `pneumo`, a file for each heading of its help: thin doors to plain functions."""

"""The commands of `pneumo`, a file for each heading of its help.

A command declares its options; what it does and prints is a function of `worker.screens`.
"""

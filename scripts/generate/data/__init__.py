"""Writes files of data that are read by the program, from what only a person or a server has."""

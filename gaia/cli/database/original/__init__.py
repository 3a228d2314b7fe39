"""Scores of the original validator: how they are read, what is taken of them, and how that is stored."""

"""Checks of the images and of the composed services, in a Docker Engine of their own."""

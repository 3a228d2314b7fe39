"""Parts of scripts/pictures.py: scenes to draw, the drawing, and what is wrong with it."""

"""An IO-Engine that hands real units of work to its pool at the request of a load generator."""

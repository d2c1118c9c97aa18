"""Documents of projections in tables."""

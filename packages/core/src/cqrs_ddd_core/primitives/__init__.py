"""Building blocks without any dependency inside the package."""

"""Parts that authors of adapters share."""

"""Ports, implemented without any infrastructure."""

"""Repositories over tables of the application."""

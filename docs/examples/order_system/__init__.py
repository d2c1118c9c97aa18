"""Imports a file of orders and reports on them: a small application on the toolkit.

Only ``composition`` knows which adapters there are.
"""

"""Small application that imports a file of orders and prints a report.

Only ``composition`` chooses the adapters.
"""

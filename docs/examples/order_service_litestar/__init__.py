"""HTTP service for the application of ``order_system``, with Litestar.

It shares the bodies, the answers to errors and the correlation id with ``order_service``.
"""

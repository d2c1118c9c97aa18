"""HTTP service for the application of ``order_system``, with FastAPI.

``service`` contains the endpoints. ``answers`` and ``correlation`` depend neither on orders nor on
FastAPI; ``problems`` does not depend on orders.
"""

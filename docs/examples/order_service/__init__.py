"""HTTP service for the application of ``order_system``, with FastAPI.

``service`` contains the endpoints; ``problems`` and ``correlation`` do not depend on orders.
"""

"""The application of ``order_system`` behind HTTP, with FastAPI.

``service`` holds the endpoints; ``problems`` and ``correlation`` know nothing of orders.
"""

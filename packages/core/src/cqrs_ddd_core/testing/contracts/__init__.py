"""What every implementation of a port must do, as classes to subclass in a test module.

The methods are tests; their parameters are fixtures that the subclass's module provides.
"""

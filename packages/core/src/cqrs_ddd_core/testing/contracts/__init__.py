"""Contract kits: one class of tests for each port, to subclass in a test module.

The parameters of the test methods are fixtures, which the subclass or its module provides.
"""

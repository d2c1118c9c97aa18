"""Support for the tests of applications and adapters, without an import of a test runner."""

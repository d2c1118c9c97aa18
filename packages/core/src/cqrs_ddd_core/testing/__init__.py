"""For the tests of applications and adapters; none of it imports a test runner."""

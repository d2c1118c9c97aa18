"""Blocks under blocks: tags are inherited, and access can only be narrowed.

``readers`` connects the domain services of the toolkit to the repository of this application.
"""

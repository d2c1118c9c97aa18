"""Blocks under blocks, whose tags pass down and whose access only narrows.

``readers`` joins the domain services of the toolkit to the repository of this application.
"""

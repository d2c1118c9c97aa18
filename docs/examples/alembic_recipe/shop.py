"""The tables of the application."""

from sqlalchemy import Column, MetaData, Table, Text

metadata = MetaData()

orders = Table("orders", metadata, Column("id", Text, primary_key=True), Column("customer", Text))

"""Parts that in-memory and database adapters of projection stores share.

- ``checks``: checks of the arguments of position stores and dead-letter stores.
- ``documents``: conversion of documents to JSON, and checks of their ids and of collection names.
- ``document_fields``: the declared fields of a collection, and their values in a document.
"""

"""Parts that authors of projection stores share; fakes and database adapters use them alike.

- ``checks``: checks of the arguments of position stores and dead-letter stores.
- ``documents``: documents as JSON, and checks of their ids and of collection names.
- ``document_fields``: the declared fields of a collection, and their values in a document.
"""

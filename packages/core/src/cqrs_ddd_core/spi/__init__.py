"""Parts for authors of adapters, which the adapters of the toolkit share.

- ``checks``: arguments that every store and repository rejects, with the same errors.
- ``json_fidelity``: encoding as JSON, and checks that a model survives it.
- ``querying``: predicates, orders and pages of objects in memory, and specifications that adapters
  add to a search.
- ``caching``: reads through a cache with one load for each key, a cache that never fails a read,
  and the states of aggregates in a cache.
- ``leases``: a lease that is renewed while a block runs, and the lease of a lock.
- ``keyed_queue``: first-come, first-served queues within one process.
- ``waiters``: waiting for wake-up notifications by channel.
- ``inbox``: the inbox of a unit of work, and fingerprints of messages.
- ``system_clock``: the clock of the machine.

Contracts that an adapter has to fulfil are in ``testing.contracts``.
"""

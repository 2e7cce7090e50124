"""The queue of deliveries for workers: look, claim, settle. No transaction is open while a receiver is called.

A claim is a lease with an end time, so deliveries of a dead worker become due again by themselves. Deliveries with the
same subscription and key are sent in order: only the first of them has a `due` time. A claim clears that of the others
when it finds them ("sets them aside"), and settling the one before them sets it again.

No statement waits for a row that another transaction has locked. Otherwise a sync that deletes what a worker is
settling would wait for the worker, and the worker for the sync.
"""

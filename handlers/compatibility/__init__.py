"""The compatibility APIs: the contracts of services that this one replaces, over the same messages (decision 0042)."""

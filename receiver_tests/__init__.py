"""The receiver check: send deliveries to a webhook, as the worker does, and judge the answers.

`check.py` runs the cases in `cases/`. Verdict, summary and redaction are those of `contract_tests`.
"""

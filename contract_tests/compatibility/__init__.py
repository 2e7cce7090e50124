"""What a change of a contract takes from those who use it.

    python -m contract_tests.compatibility    # in the repository; `make check` does it

A contract is compared with an older one, and what has gone or become narrower is a difference. The rules:

| | compatible | a difference |
|---|---|---|
| operations | one more | path or method gone; operation id or tags changed |
| parameters, bodies | one more that is optional | gone, required now; media type gone; other style, encoding |
| schemas of requests | taken now, refused before | refused now: by type, format, limit, pattern, enum, no `null` |
| answers | status, media type, header, link more | one of them gone; content where there was none |
| schemas of answers | never sent now; always there now | possible now, by type, format, limit, `null`; gone |
| enums of answers | | any change: they are names in clients, and one more is unknown to them |
| security | | any change, `x-scope` of a scheme too |
| names of schemas | one where there was none | another, or none: they are classes in clients |
| `default`, `readOnly`, `writeOnly` | | any change: what a client leaves out means something else |
| patterns | gone from requests, new in answers | any other change: "changed, look" |
| `anyOf`, `not`, `multipleOf`, unknown words | | any change: "changed, look" |

A new property of an answer is compatible, also where `additionalProperties` is false: clients must take what they do
not know. So is a new property of a request that may be left out, also where a request might have had any. Descriptions,
examples, titles, the order of things, and `x-` words but `x-max-bytes` and `x-scope` do not count.

A schema that has the same name on both sides is compared once for requests and once for answers, and its differences
are told with its name alone: what many operations share is one line.
"""

from contract_tests.compatibility.differences import Difference
from contract_tests.compatibility.operations import differences

__all__ = ["Difference", "differences"]

"""Find changes of a contract that break its users.

    python -m contract_tests.compatibility    # in the repository; `make check` does it

A contract is compared with an older one. Everything that was removed or became narrower is a difference. The rules:

| | compatible | a difference |
|---|---|---|
| operations | one added | path or method removed; operation id or tags changed |
| parameters, bodies | an optional one added | removed; required now; media type removed; other style, encoding |
| schemas of requests | accepted now, rejected before | rejected now: by type, format, limit, pattern, enum, no `null` |
| answers | status, media type, header, link added | one of them removed; content where there was none |
| schemas of answers | never sent now; always there now | possible now, by type, format, limit, `null`; removed |
| enums of answers | | any change: clients have constants for them and do not know a new one |
| security | | any change, also of `x-scope` |
| names of schemas | added | renamed or removed: they are classes in clients |
| `default`, `readOnly`, `writeOnly` | | any change: an omitted value has another meaning |
| patterns | removed from requests, added to answers | any other change: "changed, look" |
| `anyOf`, `not`, `multipleOf`, unknown keywords | | any change: "changed, look" |

A new property of an answer is compatible, even if `additionalProperties` is false: clients must accept unknown
properties. A new optional property of a request is compatible too, even if the request allowed any property before.
Descriptions, examples, titles, the order, and `x-` keywords other than `x-max-bytes` and `x-scope` do not count.

A schema that has the same name on both sides is compared once for requests and once for answers. Its differences are
reported with its name only, so a change that many operations share is one line.
"""

from contract_tests.compatibility.differences import Difference
from contract_tests.compatibility.operations import differences

__all__ = ["Difference", "differences"]

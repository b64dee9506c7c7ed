"""What pydantic says of settings, in Chinese: its own sentences, which are not in the code.

`tests/server/config/test_chinese.py` has every setting refuse what it can, and finds each of these.
"""

from __future__ import annotations

PYDANTIC = {
    "Field required": "缺少这一项",
    "Input should be a valid integer": "应为整数",
    "Input should be a valid integer, unable to parse string as an integer": "应为整数，无法把这段文本解析为整数",
    "Input should be a valid integer, got a number with a fractional part": "应为整数，给出的数带有小数部分",
    "Unable to parse input string as an integer, exceeded maximum size": "这段文本太长，无法解析为整数",
    "Input should be a valid number": "应为数字",
    "Input should be a valid number, unable to parse string as a number": "应为数字，无法把这段文本解析为数字",
    "Input should be a finite number": "应为有限数",
    "Input should be a multiple of {n}": "应为 {n} 的倍数",
    "Input should be greater than {n}": "应大于 {n}",
    "Input should be greater than or equal to {n}": "应不小于 {n}",
    "Input should be less than {n}": "应小于 {n}",
    "Input should be less than or equal to {n}": "应不大于 {n}",
    "Input should be a valid boolean": "应为 true 或 false",
    "Input should be a valid boolean, unable to interpret input": "应为 true 或 false，无法理解给出的值",
    "Input should be a valid string": "应为文本",
    "Input should be a valid string, unable to parse raw data as a unicode string": (
        "应为文本，无法按 Unicode 解读"
    ),
    "String should match pattern '{pattern}'": "文本应符合模式 '{pattern}'",
    "String should have at least {n} character": "至少应有 {n} 个字符",
    "String should have at most {n} characters": "最多 {n} 个字符",
    "Input should be a valid dictionary or instance of {name}": "应为一个小节（{name}）",
    "Input should be a valid dictionary": "应为键和值的对应表",
    "Input should be a valid tuple": "应为列表",
    "Tuple should have at most {n} items after validation, not {found}": "最多 {n} 项，而不是 {found} 项",
    "Value should have at least {n} item after validation, not {found}": "至少应有 {n} 项，而不是 {found} 项",
    "Tuple should have at least {n} item after validation, not {found}": "至少应有 {n} 项，而不是 {found} 项",
    "Input should be {choices}": "应为 {choices}",
    "Input should be {choices}, did you mean {name}?": "应为 {choices}；您要写的是 {name} 吗？",
    "{one} or {other}": "{one} 或 {other}",
}

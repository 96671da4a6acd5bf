"""Lower case as OPA has it: what is refused in Rego however it is spelt must be refused in Python as well."""


def lowered(text: str) -> str:
    """In lower case, letter by letter as Go has it: Python makes two of one."""
    return text.replace("\u0130", "i").lower()

"""What a command said in the end, without what it says meanwhile on a machine that is busy."""


def last_words(stderr):
    return "".join(line for line in stderr.splitlines(keepends=True) if not line.startswith("still "))

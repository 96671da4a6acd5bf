import json


def release(signed):
    text = json.dumps(signed.signature)
    return {"signature": text.replace('"payload": ', '"payload": "", "payload": ').encode()}

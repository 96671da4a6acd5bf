def release(signed):
    payload = signed.signature["dsseEnvelope"]["payload"]
    signed.signature["dsseEnvelope"]["payload"] = payload[:8] + "\n" + payload[8:]
    return signed.as_signature()
